"""`erase-concept classify`: unlearning in classifiers."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from erase.errors import InputError
from ui.cli.display import Display
from ui.cli.flags import PROGRAM, Parser, add_flags


def classify(given: list[str]) -> int:
    """Unlearn in classifiers: every method beside retraining, over seeds, as one table."""
    from erase.classifiers.forget_sets import FORMS
    from erase.methods import CLASSIFIER_METHODS
    from eval.classifiers.options import ABLATION, Classify, entries

    examples = f"""examples:
  {PROGRAM} classify --dataset digits --train-samples 100 --forget random:10%        minutes on a CPU
  {PROGRAM} classify --dataset shapes --forget class:"red star" --methods scissorhands salun --seeds 3
  {PROGRAM} classify --dataset ./people --size 64 --forget ids:takedown.csv --methods scissorhands --export scissorhands
  {PROGRAM} classify --dataset digits --methods scissorhands:fraction=0.01 scissorhands:fraction=0.1,projected=false

A row is a method, or METHOD:option=value,... The same command goes on where it stopped; more methods and seeds may be added to a folder."""
    parser = Parser(
        prog=f"{PROGRAM} classify", description=classify.__doc__, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_flags(parser, Classify)
    parser.add_argument(
        "--forget",
        action="append",
        help=f"what to forget: {FORMS}; several, one after another (default: random:10%%)".replace("10%,", "10%%,"),
    )
    parser.add_argument("--methods", nargs="+", default=["all"], help=f"all, or some of {', '.join(CLASSIFIER_METHODS)} (default: all)")
    parser.add_argument(
        "--preset", help="of every method that has it (default: that of the paper for cifar10, cifar100 and svhn, else balanced)"
    )
    parser.add_argument("--ablation", action="store_true", help="also Scissorhands with every initialisation, projected and not")
    parser.add_argument(
        "--tune", action="store_true", help="choose options of every method first, from equally many, on validation samples"
    )
    parser.add_argument("--export", metavar="ROW", help="the row whose network becomes model.safetensors (default: the nearest to retrain)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    values = vars(parser.parse_args(given))
    beside = {name: values.pop(name) for name in ("forget", "methods", "preset", "ablation", "tune", "export", "json")}
    job = Classify(
        **{name: value for name, value in values.items() if value is not None}, forget=tuple(beside["forget"] or ("random:10%",))
    )
    rows = entries([*beside["methods"], *(ABLATION if beside["ablation"] else ())], beside["preset"] or job.dataset)
    if beside["preset"] and beside["preset"] not in {row.preset for row in rows}:
        raise InputError(
            f"--preset {beside['preset']!r} is known to none of these methods; `{PROGRAM} methods --classifiers` lists presets"
        )
    labels = [row.label for row in rows]
    if beside["export"] not in (None, *labels):
        raise InputError(f"--export {beside['export']} is no row of this table; expected one of {', '.join(labels)}")
    return _run(job, rows, beside)


def _run(job: Any, rows: Any, beside: dict[str, Any]) -> int:
    from dataclasses import replace

    from erase.run import RUNS, next_run_folder
    from eval.classifiers.measure import measurement, ranked, report_of
    from eval.classifiers.report import table, write
    from eval.classifiers.run import export_model, unlearn_all

    job = replace(job, output=job.output or str(next_run_folder(RUNS, "classify", job.dataset, "-".join(job.forget))))
    facts: dict[str, Any] = {}
    with Display(libraries=False) as display:
        if beside["tune"]:
            rows, facts["tuning"] = _tune(job, rows, display)
        folder = unlearn_all(job, rows, measurement(job.relearn, job.relearn_rate, job.references), display)
    report = report_of(folder, **facts)
    order = [str(row["label"]) for row in ranked(report["methods"])]
    write(folder, report, _gradcam(job, list(dict.fromkeys(("original", "retrain", *order[:1], "scissorhands")))))
    chosen = beside["export"] or next(iter(order), None)
    facts = {"report": [row for row in report["methods"] if row["label"] == chosen]}
    model = export_model(job, chosen, folder / "model.safetensors", facts) if chosen else None
    if beside["json"]:
        print(json.dumps(report, indent=1, ensure_ascii=False))
        return 0
    print(f"{table(report)}\n\nreport    {folder / 'report.html'}")
    print(f"model     {model} ({chosen}, seed {job.first_seed})" if model else "no method came through, so there is no model")
    return 0


def _tune(job: Any, rows: Any, display: Display) -> tuple[Any, dict[str, Any]]:
    """The rows with the options that came nearest to retrain on validation samples, and what was tried."""
    from dataclasses import replace

    from eval.classifiers.measure import measurement, ranked, report_of
    from eval.classifiers.options import TUNING_SEED, TUNING_SEEDS, tried
    from eval.classifiers.run import unlearn_all

    folder = Path(f"{job.output}-tuning")
    aside = {"output": str(folder), "on": "validation", "first_seed": TUNING_SEED, "seeds": TUNING_SEEDS, "relearn": 0, "references": 0}
    candidates = {row.label: tried(row) for row in rows}
    every = [one for found in candidates.values() for one in found]
    unlearn_all(replace(job, **aside), every, measurement(), display)
    measured = ranked(report_of(folder)["methods"])
    places = {str(row["label"]): i for i, row in enumerate(measured)}
    best = {label: min(found, key=lambda one: places.get(one.label, len(places))) for label, found in candidates.items()}
    facts = {
        "on": "validation samples",
        "seeds": list(range(TUNING_SEED, TUNING_SEED + TUNING_SEEDS)),
        "settings_a_method": max(map(len, candidates.values())),
        "chosen": {label: dict(one.values) for label, one in best.items()},
    }
    return [replace(one, label=label) for label, one in best.items()], facts


def _gradcam(job: Any, labels: list[str]) -> list[Path]:
    """The sheet of the first seed; none where the network has no convolution."""
    from eval.classifiers.gradcam import SHOWN, Column, sheet
    from eval.classifiers.run import networks

    case, found = networks(job, labels, job.first_seed)
    columns = [Column(name, int(row)) for name in ("forget", "retain") for row in getattr(case, name)[:SHOWN]]
    try:
        sheet(path := Path(job.output) / "gradcam.png", found, case.training, columns)
    except InputError:
        return []
    return [path]
