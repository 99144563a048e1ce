"""`erase-concept classify`: unlearning in image classifiers."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erase.errors import InputError
from ui.cli.display import Display
from ui.cli.flags import PROGRAM, Parser, add_flags

if TYPE_CHECKING:
    from erase.methods.spec import Entry
    from eval.classifiers.options import Classify

EXAMPLES = f"""examples:
  {PROGRAM} classify --dataset digits --train-samples 100 --forget random:10%        minutes on a CPU
  {PROGRAM} classify --dataset shapes --forget class:"red star" --methods scissorhands salun --seeds 3
  {PROGRAM} classify --dataset ./people --size 64 --forget ids:takedown.csv --methods scissorhands --export scissorhands
  {PROGRAM} classify --dataset digits --methods scissorhands:fraction=0.01 scissorhands:fraction=0.1,projected=false

A row is a method, or METHOD:option=value,... The same command resumes where it stopped; more methods and seeds may be added to a folder."""


@dataclass(frozen=True)
class TableOptions:
    """The options of the table and of the output, which no result depends on; None: the default."""

    methods: tuple[str, ...]
    preset: str | None
    ablation: bool
    tune: bool
    export: str | None
    json: bool
    gradcam_rows: tuple[str, ...]


def classify(arguments: list[str]) -> int:
    """Unlearn in image classifiers and compare every method with retraining, over several seeds, in one table."""
    from erase.methods.classifiers.released import CELEBA, DATASETS, dataset_of, preset_on
    from erase.methods.spec import BALANCED
    from eval.classifiers.options import ABLATION, Classify, entries

    values = vars(_parser(Classify).parse_args(arguments))
    several: dict[str, Any] = {name: tuple(values.pop(name)) for name in ("methods", "gradcam_rows")}
    options = TableOptions(**several, **{name: values.pop(name) for name in _TABLE_FLAGS})
    forget = tuple(values.pop("forget") or ("random:10%",))
    if values["recipe"] is None and dataset_of(options.preset or "") == CELEBA:
        values["recipe"] = CELEBA
    job = Classify(**{name: value for name, value in values.items() if value is not None}, forget=forget)
    usual = options.preset or (job.dataset if job.dataset in DATASETS else BALANCED)
    named = entries([*options.methods, *(ABLATION if options.ablation else ())], usual)
    if options.preset and options.preset not in {row.preset for row in named}:
        raise InputError(
            f"none of these methods has the --preset {options.preset!r}; `{PROGRAM} methods --classifiers` lists presets", option="preset"
        )
    rows = [replace(row, preset=preset_on(row.preset, job.dataset)) for row in named]
    labels = [row.label for row in rows]
    if options.export not in (None, *labels):
        raise InputError(f"--export {options.export} is not a row of this table; expected one of {', '.join(labels)}", option="export")
    shown = ("original", "retrain", *labels)
    if strange := next((label for label in options.gradcam_rows if label not in shown), None):
        raise InputError(f"--gradcam-rows {strange} is not a row of this table; expected some of {', '.join(shown)}", option="gradcam_rows")
    return _run(job, rows, options)


_TABLE_FLAGS = ("preset", "ablation", "tune", "export", "json")


def _parser(options: type[Classify]) -> Parser:
    from erase.classifiers import FORMS
    from erase.methods import CLASSIFIER_METHODS

    parser = Parser(
        prog=f"{PROGRAM} classify", description=classify.__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_flags(parser, options)
    forms = FORMS.replace("%", "%%")
    parser.add_argument(
        "--forget", action="append", help=f"forget request: {forms}; repeat the option for one request after another (default: random:10%%)"
    )
    parser.add_argument("--methods", nargs="+", default=["all"], help=f"all, or some of {', '.join(CLASSIFIER_METHODS)} (default: all)")
    parser.add_argument(
        "--preset",
        help="preset of every method that has it: balanced; paper or reference, the settings of the paper or of its script for this data "
        "set and share; or those of cifar10, cifar100, svhn or celeba (default: paper for cifar10, cifar100 and svhn, else balanced)",
    )
    parser.add_argument("--ablation", action="store_true", help="add Scissorhands with every initialisation, projected and not projected")
    parser.add_argument(
        "--tune", action="store_true", help="first choose every method's options on validation samples, from equally many settings"
    )
    parser.add_argument(
        "--export", metavar="ROW", help="row whose network is written to model.safetensors (default: the nearest to retrain)"
    )
    parser.add_argument(
        "--gradcam-rows",
        nargs="+",
        default=(),
        metavar="ROW",
        help="networks of gradcam.png: original, retrain, or rows of the table (default: these two, the nearest to retrain, scissorhands)",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


def _run(job: Classify, rows: Sequence[Entry], options: TableOptions) -> int:
    from erase.run import RUNS, next_run_folder
    from eval.classifiers.attention import attention_sheet
    from eval.classifiers.measure import measurement, ranked, report_of
    from eval.classifiers.report import table, write
    from eval.classifiers.run import export_model, unlearn_all

    job = replace(job, output=job.output or str(next_run_folder(RUNS, "classify", job.dataset, "-".join(job.forget))))
    facts: dict[str, Any] = {}
    with Display(libraries=False) as display:
        if options.tune:
            rows, facts["tuning"] = _tune(job, rows, display)
        folder = unlearn_all(job, rows, measurement(job.relearn, job.relearn_rate, job.references), display)
    report = report_of(folder, **facts)
    order = [str(row["label"]) for row in ranked(report["methods"])]
    rows_shown = options.gradcam_rows or tuple(dict.fromkeys(("original", "retrain", *order[:1], "scissorhands")))
    write(folder, report, attention_sheet(job, {label: label for label in rows_shown}, folder / "gradcam.png"))
    exported = options.export or next(iter(order), None)
    facts = {"report": [row for row in report["methods"] if row["label"] == exported]}
    model = export_model(job, exported, folder / "model.safetensors", facts) if exported else None
    if options.json:
        print(json.dumps(report, indent=1, ensure_ascii=False))
        return 0
    print(f"{table(report)}\n\nreport    {folder / 'report.html'}")
    print(f"model     {model} ({exported}, seed {job.first_seed})" if model else "every method diverged, so there is no model")
    return 0


def _tune(job: Classify, rows: Sequence[Entry], display: Display) -> tuple[list[Entry], dict[str, Any]]:
    """The rows with the settings that came nearest to retrain on validation samples, and a record of the tuning."""
    from eval.classifiers.measure import measurement, ranked, report_of
    from eval.classifiers.options import TUNING_SEED, TUNING_SEEDS, candidates
    from eval.classifiers.run import unlearn_all

    folder = Path(f"{job.output}-tuning")
    tuning = replace(job, output=str(folder), on="validation", first_seed=TUNING_SEED, seeds=TUNING_SEEDS, relearn=0, references=0)
    settings = {row.label: candidates(row) for row in rows}
    unlearn_all(tuning, [setting for tried in settings.values() for setting in tried], measurement(), display)
    ranks = {str(row["label"]): i for i, row in enumerate(ranked(report_of(folder)["methods"]))}
    best = {label: min(tried, key=lambda row: ranks.get(row.label, len(ranks))) for label, tried in settings.items()}
    facts = {
        "on": "validation samples",
        "seeds": list(range(TUNING_SEED, TUNING_SEED + TUNING_SEEDS)),
        "settings_a_method": max(map(len, settings.values())),
        "chosen": {label: dict(row.values) for label, row in best.items()},
    }
    return [replace(row, label=label) for label, row in best.items()], facts
