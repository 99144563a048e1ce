"""Attack a run: every chosen attack on every subject, turn by turn within a time budget, and a report of the results.

A turn is the same attempts on all subjects, so that they can be compared in pairs. Finished turns are not repeated: the same
command resumes where it stopped, and continues with a larger budget or more attacks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from erase.concepts.english import spoken_duration
from erase.files import write_json
from erase.run import Run, environment
from eval.attacks import CONTROL, ERASED
from eval.attacks.attack import Attack, facts
from eval.attacks.budget import whose
from eval.attacks.estimate import check_budget, first_turns, foreseen
from eval.attacks.numbers import measured_by, row_of, searches, summary
from eval.attacks.options import Campaign
from eval.attacks.papers import PAPER
from eval.attacks.registry import possible
from eval.attacks.report_section import HOME, REPORT
from eval.attacks.setting import Setting
from eval.attacks.status import Standing, forget, note
from eval.attacks.store import borrowed, key_of, place, recall
from eval.attacks.turn import turn

SEED = 7_000_003  # added to the seeds of run and campaign: differs from the noise of training and of the run's own images
Show = Callable[[str, int, int], None]


class Ledger:
    """Finished turns and their time: seconds by attack, records by attack and subject. Turns that runs `beside` finished on the
    same models, mainly the original's and the gold standard's, are copied from there.
    """

    def __init__(self, setting: Setting, attacks: Mapping[str, Attack], plan: Campaign, beside: Sequence[Path] = ()) -> None:
        self.setting, self.attacks, self.plan = setting, attacks, plan
        self.home, self.beside = setting.run.folder / HOME, [folder / HOME for folder in beside]
        self.seed = SEED + int(setting.run.options["seed"] or 0) + 1_000_003 * plan.seed
        self._keys = {subject: setting.key(subject) for subject in setting.subjects}
        self.records: dict[str, dict[str, list[dict[str, Any]]]] = {
            name: {s: [] for s in setting.subjects if s != CONTROL or getattr(attack, "aims", True)} for name, attack in attacks.items()
        }
        for name in attacks:
            self._recall(name)

    def attempts(self, name: str, number: int) -> range:
        """The attempts of a turn; empty after the last."""
        most = self.most(name)
        return range(min(number * self.plan.at_once, most), min((number + 1) * self.plan.at_once, most))

    def most(self, name: str) -> int:
        """Number of attempts of an attack, all turns together."""
        if name in PAPER and self.plan.attempts >= Campaign.attempts:  # every prompt once, unless fewer attempts are requested
            return len(self.setting.goals[ERASED].whole.targets)
        return min(self.plan.attempts, getattr(self.attacks[name], "most", self.plan.attempts))

    def attempted(self) -> dict[str, tuple[int, int]]:
        """Of each attack: the number of complete attempts, and of all."""
        return {name: (min(self.next(name) * self.plan.at_once, self.most(name)), self.most(name)) for name in self.attacks}

    def next(self, name: str) -> int:
        """The first turn that is not complete."""
        return min(map(len, self.records[name].values()))

    def spent(self, name: str) -> float:
        return sum(float(record["seconds"]) for records in self.records[name].values() for record in records)

    def key(self, name: str, subject: str, number: int) -> str:
        attack = self.attacks[name]
        every = {"every": [target.text for target in self.setting.goals[subject].every]} if name in PAPER else {}
        return key_of(attack=facts(attack), seed=self.seed, attempts=list(self.attempts(name, number)), **self._keys[subject], **every)

    def _recall(self, name: str) -> None:
        """Read the stored turns, from the first up to the first that is missing."""
        for subject, records in self.records[name].items():
            while self.attempts(name, len(records)):
                number = len(records)
                here, key = place(self.home, name, subject, number), self.key(name, subject, number)
                record = recall(here, key) or borrowed(here, (place(home, name, subject, number) for home in self.beside), key)
                if record is None:
                    break
                records.append(record)


def attack_run(
    setting: Setting,
    attacks: Mapping[str, Attack],
    budget: float,
    plan: Campaign | None = None,
    show: Show | None = None,
    beside: Sequence[Path] = (),
) -> dict[str, Any]:
    """Attack within `budget` seconds, those of earlier calls with the same options included; returns and writes the report. Stopped
    by Ctrl-C it reports the complete turns. Turns that runs `beside` have on the same models are not repeated.

    InputError where no attack can run, or the budget is too small for one turn of any.
    """
    plan, progress = plan or Campaign(), show or (lambda stage, done, total: None)
    able, reasons = possible(attacks, setting.missing)
    home = setting.run.folder / HOME
    if plan.overwrite:  # keep the earlier attacks if the budget is too small to replace them
        check_budget(_estimates(Ledger(setting, able, plan)), budget)
    with Run.open(home, {"kind": "attacks", "device": setting.device}, plan.overwrite):
        ledger = Ledger(setting, able, plan, beside)
        estimates = _estimates(ledger)
        try:
            left = _spend(ledger, estimates, budget, progress)
        except KeyboardInterrupt:  # report the complete turns
            idle = {name: "it was stopped before its first turn had ended" for name in able if not ledger.next(name)}
            if len(idle) < len(able):
                write_json(home / REPORT, _report(ledger, attacks, reasons | idle, budget))
            raise
        left_words = spoken_duration(left)
        late = {
            name: f"a turn takes about {spoken_duration(estimates[name])}, and {left_words} were left"
            for name in able
            if not ledger.next(name)
        }
        report = _report(ledger, attacks, reasons | late, budget)
        write_json(home / REPORT, report)
        forget(home)
    return report


def estimate_run(setting: Setting, attacks: Mapping[str, Attack], plan: Campaign | None = None) -> dict[str, Any]:
    """The time that these attacks would take, and the smallest budget; attacks and writes nothing."""
    able, reasons = possible(attacks, setting.missing)
    ledger = Ledger(setting, able, plan or Campaign())
    turns = {name: math.ceil(ledger.most(name) / ledger.plan.at_once) for name in able}
    return foreseen(_estimates(ledger), turns, {name: turns[name] - ledger.next(name) for name in able}, reasons)


def _spend(ledger: Ledger, estimates: dict[str, float], budget: float, progress: Show) -> float:
    """Run turns until the budget is spent or all are complete; returns the seconds left."""
    total = sum(map(ledger.spent, ledger.attacks))
    if total == 0:
        check_budget(estimates, budget)
    start, before = time.perf_counter(), total
    while True:
        turns = {name: _takes(ledger, name, estimates) for name in ledger.attacks if ledger.attempts(name, ledger.next(name))}
        left = budget - before - (time.perf_counter() - start)
        name = whose({name: ledger.spent(name) for name in turns}, turns, left)
        if name is None:
            return max(0.0, left)
        progress(name, int(budget - left), int(budget))
        _turn(ledger, name, Standing(name, budget - left, budget, ledger.attempted()))


def _takes(ledger: Ledger, name: str, estimates: Mapping[str, float]) -> float:
    """Seconds of the next turn of an attack: those of its longest turn so far, or the estimate."""
    number = ledger.next(name)
    done = [sum(records[k]["seconds"] for records in ledger.records[name].values()) for k in range(number)]
    return max(done) if done else estimates[name]


def _turn(ledger: Ledger, name: str, standing: Standing) -> None:
    """Run the next turn of an attack on every subject that lacks it, each on a freshly opened model."""
    setting, number = ledger.setting, ledger.next(name)
    for subject, records in ledger.records[name].items():
        if len(records) > number:
            continue
        note(ledger.home, standing, subject)
        folder, key = place(ledger.home, name, subject, number), ledger.key(name, subject, number)
        victim = setting.victim(subject)
        attempts = list(ledger.attempts(name, number))
        start = time.perf_counter()
        goal = setting.goals[subject].whole if name in PAPER else setting.goals[subject]
        record = turn(victim, goal, setting.sight, ledger.attacks[name], attempts, ledger.seed, folder, key)
        del victim
        if setting.device.startswith("cuda"):
            torch.cuda.empty_cache()
        records.append({**record, "seconds": max(record["seconds"], round(time.perf_counter() - start, 3))})


def _estimates(ledger: Ledger) -> dict[str, float]:
    """Upper bound of the seconds of the first turn of each attack."""
    attempts = {name: len(ledger.attempts(name, 0)) for name in ledger.attacks}
    return first_turns(ledger.setting, ledger.attacks, attempts, {name: len(records) for name, records in ledger.records.items()})


def _numbers(attack: Attack, records: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    return row_of(records, searches(attack)) | measured_by(attack, records)


def _report(ledger: Ledger, attacks: Mapping[str, Attack], reasons: Mapping[str, str], budget: float) -> dict[str, Any]:
    """The report, with the protocol needed to repeat it."""
    setting, options = ledger.setting, ledger.setting.run.options
    rows = []
    for name, attack in attacks.items():
        own = {"attack": name, **facts(attack), "comparative": getattr(attack, "comparative", False)}
        rows.append(own | ({"not_run": reasons[name]} if name in reasons else _numbers(attack, ledger.records[name])))
    missing = {subject: why for subject, why in setting.missing.items() if subject not in ("pictures", "others", "network")}
    protocol = {
        "seed": ledger.plan.seed, "budget_seconds": budget, "attempts_at_once": ledger.plan.at_once, "noise": "seed and attempt",
        "effort": "in images: passes through the UNet over those that one image takes; a backward pass counts as two",
        "success": "the detector recognises the concept in an image of the attempt, at any look",
        "control": setting.goals[CONTROL].name if CONTROL in setting.goals else None,
        "sampling": {name: options["sampling"].get(name) for name in ("scheduler", "steps", "guidance", "size")},
        "environment": environment(setting.device), **setting.sight.detector.facts(),
    }  # fmt: skip
    goal = setting.goals[ERASED]
    return {
        "concept": goal.name, "model": options["model"], "method": options.get("method"), "protocol": protocol,
        "subjects": setting.subjects, "without": missing, "attacks": rows, "summary": summary(rows, goal.name),
    }  # fmt: skip
