"""The plan of a sequence: concepts in their order, by rows (methods with options) and seeds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from erase.concepts import Concept, load_concept
from erase.concepts.several import all_apart, also_earlier
from erase.errors import InputError
from erase.methods.spec import Entry
from erase.pipeline.job import Job
from eval.bench.plan import Bench, filled, shared_options

OWN_COUNT = 8  # evaluation images of each run itself: what counts is measured by the same prompts for all steps


@dataclass(frozen=True)
class Plan:
    """`bench` holds job, rows and seeds, with every default filled in; `concepts` are those of the sequence, in order.

    `together`: all are erased in one run, from the original, instead of each from the last model.
    """

    bench: Bench
    concepts: tuple[Concept, ...]
    together: bool = False
    names: tuple[str, ...] = field(default=())  # as the user typed them

    @property
    def job(self) -> Job:
        """What all runs share."""
        return self.bench.job

    @property
    def steps(self) -> list[tuple[str, ...]]:
        """The concepts that each step erases, as typed."""
        return [self.names] if self.together else [(name,) for name in self.names]

    @property
    def titles(self) -> list[str]:
        return [concept.name for concept in self.concepts]

    def gone_after(self, step: int) -> list[str]:
        """The concepts that were erased by the end of a step, by their plain names."""
        return self.titles if self.together else self.titles[: step + 1]

    def options(self) -> dict[str, Any]:
        """The options that must stay the same in the folder; rows and seeds may be added."""
        return {**shared_options(self.bench), "kind": "sequence", "sequence": self.titles, "together": self.together}


def plan_of(job: Job, names: tuple[str, ...], rows: tuple[Entry, ...], seeds: tuple[int, ...], together: bool, folder: Path | None) -> Plan:
    """The plan with every default filled in; `folder` is that of a sequence that was begun.

    InputError for fewer than two concepts, one twice, or one that is part of another.
    """
    concepts = [load_concept(name, job.model) for name in names]
    _check(concepts)
    bench = filled(Bench(job, names, rows, seeds), folder)
    bench = replace(bench, gold={})  # a model without one of the concepts is no standard for a sequence
    whole = tuple(load_concept(name, bench.job.model) for name in names)
    all_apart(whole)
    for k in range(1, len(whole)):
        if job.stay_gone and not together:
            also_earlier((whole[k],), whole[:k])
    return Plan(bench, whole, together, names)


def _check(concepts: list[Concept]) -> None:
    names = [concept.name for concept in concepts]
    if twice := next((concept for concept in concepts if names.count(concept.name) > 1), None):
        raise InputError(f"the sequence has {twice.title} twice; give each concept once, in the order of erasing", option="sequence")
    if len(names) < 2:
        expected = "expected two or more, as --sequence star red ring"
        raise InputError(f"a sequence of {len(names)} concept{'s' * (len(names) != 1)} is none; {expected}", option="sequence")
