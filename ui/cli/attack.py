"""`erase-concept attack`: how hard it is to get an erased concept back."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from erase.errors import InputError
from erase.files import real_path
from erase.options import check_device
from ui.cli.display import Display, quiet_libraries
from ui.cli.flags import PROGRAM, Parser, add_flags, golds_of

if TYPE_CHECKING:
    from eval.attacks.attack import Attack
    from eval.attacks.options import Campaign
    from eval.attacks.setting import Setting


def attack(arguments: list[str]) -> int:
    """Attack finished runs, their originals, and a model that was trained without the concept, within a time budget."""
    from eval.attacks.catalogue import CATALOGUE, QUICK
    from eval.attacks.options import Campaign

    examples = f"""examples:
  {PROGRAM} attack runs/heart-demo-scissorhands-1                                    a quick round, 5 minutes
  {PROGRAM} attack runs/heart-demo-scissorhands-1 --attacks all --budget 1h
  {PROGRAM} attack runs/nudity-1 --attacks inversion prefix --budget 2h --lists unlearndiffatk.csv
  {PROGRAM} attack runs/heart-balanced runs/heart-robust --attacks all        compared, what they share done once

quick: {", ".join(QUICK)}.
all:   {", ".join(CATALOGUE)}.
paper: prefix, hard-prompt, direction and inversion with the counts of their papers, on every prompt of the run once; days on a CPU.
The same command resumes where it stopped; a larger budget or more attacks go further."""
    parser = Parser(
        prog=f"{PROGRAM} attack", description=attack.__doc__, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", metavar="run", type=Path, help="finished runs, or evaluations of models from elsewhere")
    parser.add_argument(
        "--attacks", nargs="+", metavar="NAME", help="quick, all, paper, or names (default: quick, or none where there are --lists)"
    )
    parser.add_argument(
        "--lists", nargs="+", type=Path, default=[], metavar="FILE", help="published prompts: .csv, .tsv, .jsonl or .txt files"
    )
    parser.add_argument(
        "--budget", metavar="TIME", help="time for each run, shared among its attacks, as 90s, 10m or 1h (default: 5m for quick, else 30m)"
    )
    parser.add_argument(
        "--gold", nargs="+", default=[], metavar="FOLDER", help="a model that was trained without the concept; of several as CONCEPT=FOLDER"
    )
    parser.add_argument(
        "--pictures", type=Path, metavar="FOLDER", help="images of the concept (default: those of the original, from the run)"
    )
    parser.add_argument("--concept", help="which concept, where the run erased several")
    detectors = "judge, scenes, emoji, nudenet, imagenet, clip, or your own as file.py:function (default: the concept's)"
    parser.add_argument("--detector", help=detectors)
    add_flags(parser, Campaign)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--uncensored", action="store_true", help="show images of nudity in report.html unblurred")
    parser.add_argument("--estimate", action="store_true", help="estimate the time and the smallest budget, without attacking")
    parser.add_argument("--json", action="store_true", help="print the report, or the estimate, as JSON")
    return _attack(parser.parse_args(arguments))


def _attack(options: argparse.Namespace) -> int:
    from dataclasses import fields

    from erase.diffusion import pick_device
    from eval.attacks.budget import seconds
    from eval.attacks.options import Campaign
    from eval.attacks.registry import chosen
    from eval.attacks.setting import setting_of

    names = options.attacks or ([] if options.lists else ["quick"])
    check_device(options.device)
    budget = seconds(options.budget or ("5m" if names == ["quick"] else "30m"))
    attacks = chosen([name for text in names for name in text.split(",") if name], options.lists)
    if not attacks:
        raise InputError("--attacks is empty; expected quick, all, or names", option="attacks")
    if len({real_path(run) for run in options.runs}) < len(options.runs):
        raise InputError(f"a run appears twice among {', '.join(map(str, options.runs))}; give each once")
    plan = Campaign(**{item.name: value for item in fields(Campaign) if (value := getattr(options, item.name)) is not None})
    quiet_libraries()
    device, golds = pick_device(options.device), golds_of(options.gold, bare=True)
    settings = [setting_of(run, device, options.concept, golds, options.pictures, options.detector) for run in options.runs]
    _check_concepts(settings, golds, options.pictures)
    labels = _labels(settings)
    if options.estimate:
        return _estimate(settings, attacks, plan, options.json)
    return _run(settings, labels, attacks, budget, plan, options)


def _check_concepts(settings: list[Setting], golds: Mapping[str, Path], pictures: Path | None) -> None:
    """InputError where an argument is of one concept, and the runs are of several or of another."""
    names = list(dict.fromkeys(setting.concept for setting in settings))
    if strange := next((name for name in golds if name and name not in names), None):
        raise InputError(
            f"--gold {strange}={golds[strange]} names a concept that no run erased; expected {' or '.join(names)}", option="gold"
        )
    paths = {"gold": golds.get(""), "pictures": pictures}
    if len(names) > 1 and (name := next((name for name, path in paths.items() if path), None)):
        remedy = "CONCEPT=FOLDER for each" if name == "gold" else "the runs of one concept"
        message = f"--{name} {paths[name]} is of one concept, and the runs are of {', '.join(names)}; give {remedy}"
        raise InputError(message, option=name)


def _labels(settings: list[Setting]) -> dict[Path, str]:
    """What made each run, as a bench names it, or the name of a model from elsewhere. InputError for two of one label, concept and seed."""
    from eval.bench.finished_runs import label_of

    folders: dict[tuple[str, str, int], Path] = {}
    for setting in settings:
        options, folder = setting.run.options, setting.run.folder
        label = label_of(options) if "method_options" in options else Path(str(options["erased"])).name
        seed = int(options["seed"] or 0)
        if first := folders.get((label, setting.concept, seed)):
            raise InputError(f"{first} and {folder} are both {label} of {setting.concept}, seed {seed}; give one of them")
        folders[label, setting.concept, seed] = folder
    return {folder: label for (label, _, _), folder in folders.items()}


def _estimate(settings: list[Setting], attacks: Mapping[str, Attack], plan: Campaign, as_json: bool) -> int:
    """Print what each run would take."""
    from eval.attacks.campaign import estimate_run
    from eval.attacks.estimate import in_words

    estimates = [estimate_run(setting, attacks, plan) for setting in settings]
    several = len(settings) > 1
    if as_json:
        print(json.dumps(estimates if several else estimates[0], indent=1, ensure_ascii=False))
    else:
        heads = [f"{setting.run.folder}\n" if several else "" for setting in settings]
        print("\n\n".join(head + in_words(one) for head, one in zip(heads, estimates, strict=True)))
    return 0


def _run(
    settings: list[Setting],
    labels: Mapping[Path, str],
    attacks: Mapping[str, Attack],
    budget: float,
    plan: Campaign,
    options: argparse.Namespace,
) -> int:
    """Attack run after run; turns that one run shares with another are made once."""
    from erase.pipeline.job import Event
    from eval.attacks.campaign import attack_run
    from eval.attacks.report_section import HOME, REPORT
    from eval.attacks.several_runs import tables, together
    from eval.attacks.table import table
    from eval.report import evaluate_locked

    folders, reports = list(labels), []
    with Display() as display:
        for k, setting in enumerate(settings):
            which = f" {k + 1}/{len(settings)}" if len(settings) > 1 else ""

            def show(name: str, done: int, total: int, which: str = which) -> None:
                display(Event(f"attack{which}: {name}", done, total))

            reports.append(attack_run(setting, attacks, budget, plan, show, [folder for folder in folders if folder != folders[k]]))
            if setting.run.report.exists():  # the run's own report gets a section on it
                evaluate_locked(folders[k], uncensored=options.uncensored)
    result, text = (together(labels), tables) if len(folders) > 1 else (reports[0], table)
    if options.json:
        print(json.dumps(result, indent=1, ensure_ascii=False))
    else:
        pages = "\n".join(f"report    {_page(folder, folder / HOME / REPORT)}" for folder in folders)
        print(f"{text(result)}\n\n{pages}")
    return 0


def _page(run: Path, report: Path) -> Path:
    return run / "report.html" if (run / "report.html").exists() else report
