"""`erase-concept attack`: how hard it is to get an erased concept back."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from erase.commands.display import Display, quiet_libraries
from erase.commands.flags import PROGRAM, Parser, add_flags
from erase.task import InputError


def attack(given: list[str]) -> int:
    """Attack a finished run, its original, and a model that never knew the concept alike, within a time budget."""
    from eval.attacks.campaign import Campaign
    from eval.attacks.known import ATTACKS, QUICK

    examples = f"""examples:
  {PROGRAM} attack runs/heart-demo-scissorhands-1                                    a quick round, 5 minutes
  {PROGRAM} attack runs/heart-demo-scissorhands-1 --attacks all --budget 1h
  {PROGRAM} attack runs/nudity-1 --attacks inversion prefix --budget 2h --lists unlearndiffatk.csv

quick: {", ".join(QUICK)}.
all:   {", ".join(ATTACKS)}.
The same command goes on where it stopped; a larger budget or more attacks go further."""
    parser = Parser(
        prog=f"{PROGRAM} attack", description=attack.__doc__, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="a finished run, or an evaluation of a model of somebody else's")
    parser.add_argument(
        "--attacks", nargs="+", metavar="NAME", help="quick, all, or names (default: quick, or none where there are --lists)"
    )
    parser.add_argument("--lists", nargs="+", type=Path, default=[], metavar="FILE", help="published prompts: .csv, .tsv or .jsonl files")
    parser.add_argument("--budget", metavar="TIME", help="time to be shared, as 90s, 10m or 1h (default: 5m for quick, else 30m)")
    parser.add_argument("--gold", type=Path, metavar="FOLDER", help="a model that was trained without the concept")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="pictures of the concept (default: the original's, of the run)")
    parser.add_argument("--concept", help="which concept, where the run erased several")
    parser.add_argument("--detector", help="judge, nudenet, imagenet, clip, or your own as file.py:function (default: the concept's)")
    add_flags(parser, Campaign)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--uncensored", action="store_true", help="show pictures of nudity in report.html as they are")
    parser.add_argument("--estimate", action="store_true", help="say what it would take and the smallest budget, and attack nothing")
    parser.add_argument("--json", action="store_true", help="print the report, or the estimate, as JSON")
    return _attacked(parser.parse_args(given))


def _attacked(options: argparse.Namespace) -> int:
    from dataclasses import fields

    from erase.diffusion import pick_device
    from erase.job import Event
    from eval.attacks.campaign import Campaign, attack_run, estimate_run
    from eval.attacks.estimate import in_words
    from eval.attacks.known import chosen
    from eval.attacks.section import HOME, REPORT
    from eval.attacks.setting import setting_of
    from eval.attacks.shares import seconds
    from eval.attacks.table import table
    from eval.report import evaluate_run

    names = options.attacks or ([] if options.lists else ["quick"])
    budget = seconds(options.budget or ("5m" if names == ["quick"] else "30m"))
    attacks = chosen([name for text in names for name in text.split(",") if name], options.lists)
    if not attacks:
        raise InputError("--attacks names none; give quick, all, or names")
    plan = Campaign(**{item.name: value for item in fields(Campaign) if (value := getattr(options, item.name)) is not None})
    quiet_libraries()
    setting = setting_of(
        options.run, pick_device(options.device), options.concept, options.gold, options.pictures, options.detector
    )  # fmt: skip
    if options.estimate:
        found = estimate_run(setting, attacks, plan)
        print(json.dumps(found, indent=1, ensure_ascii=False) if options.json else in_words(found))
        return 0
    with Display() as display:
        report = attack_run(setting, attacks, budget, plan, lambda name, done, total: display(Event(f"attack: {name}", done, total)))
        if setting.run.report.exists():  # the run's own report gets a section on it
            evaluate_run(options.run, uncensored=options.uncensored)
    home = options.run / HOME
    print(
        json.dumps(report, indent=1, ensure_ascii=False)
        if options.json
        else f"{table(report)}\n\nreport    {_page(options.run, home / REPORT)}"
    )
    return 0


def _page(run: Path, report: Path) -> Path:
    return run / "report.html" if (run / "report.html").exists() else report
