"""The plan of a run: how many pieces of work each stage has, written into the run folder before the first stage.

Whoever shows progress (the command, the web page) reads it and counts what the run folder holds; nobody has to know how the engine
divides its work. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from erase.concepts.several import Concepts, evaluation_rows, forget_prompts
from erase.files import read_json, write_json
from erase.methods.requirements import Requirements
from erase.pipeline.job import Job

PLAN = "plan.json"
ROUNDS = 128  # batches whose predictions by the original model are computed once and reused; a longer repair sees them again
DECODING = 1.15  # time of generating an image over that of its denoising steps alone
TRAINING_PASS = 3  # time of a forward and backward pass over that of a forward pass


@dataclass(frozen=True)
class StagePlan:
    """One stage: `pieces` counts what it makes, by kind, and `passes` its cost in forward passes of the UNet on one image.

    The kinds: images and latents of the sets `forget`, `retain` and `anchor` (`images`, `latents`), `samples` (`before`, `after`),
    `steps`, `predictions` and `sensitivity` (`erase`: repair steps, images whose prediction by the original model is computed, images
    that are scored), `models` (`export`), `images` (`measure`).
    """

    name: str
    pieces: Mapping[str, int]
    passes: float

    @property
    def total(self) -> int:
        return sum(self.pieces.values())


@dataclass(frozen=True)
class Plan:
    """All stages in their order. `concepts` are the names of those that are erased, `images` of the sets are for all of them together."""

    concepts: tuple[str, ...] = ()
    stages: tuple[StagePlan, ...] = field(default=())

    def stage(self, name: str) -> StagePlan:
        """One stage by name; KeyError for a name that is not a stage."""
        return {stage.name: stage for stage in self.stages}[name]

    @property
    def passes(self) -> float:
        return sum(stage.passes for stage in self.stages)

    def share(self, finished: Mapping[str, float]) -> float:
        """Share of the whole job that is done, from the share of each stage (0 where it is left out)."""
        done = sum(stage.passes * min(max(finished.get(stage.name, 0.0), 0.0), 1.0) for stage in self.stages)
        return done / self.passes if self.passes else 0.0


def plan_of(
    concepts: Concepts,
    whole: Concepts,
    requirements: Requirements,
    job: Job,
    provided: Mapping[str, int] | None = None,
    doubled: bool = True,
) -> Plan:
    """The plan of a job whose options are settled; `concepts` and `whole` as for `forget_prompts`, `provided`: images of its folders.

    `doubled`: whether guidance takes two passes (`erase.checkpoints.folder.doubled_by_guidance`).
    """
    counts = dict(provided or {})
    forget = counts["forget"] if "forget" in counts else len(forget_prompts(concepts, whole, int(job.forget_count or 0), job.seed))
    generated = {"forget": forget} if "forget" in requirements.images and "forget" not in counts else {}
    generated |= {"retain": int(job.retain_count or 0)} if "retain" in requirements.images and "retain" not in counts else {}
    generated |= {"anchor": forget} if requirements.anchor and requirements.anchor_images else {}
    samples = len(evaluation_rows(concepts, whole, int(job.evaluate_count or 0), job.seed))
    names = tuple(concept.name for concept in concepts)
    guidance = float(job.guidance or 0) if doubled else 1.0
    return make_plan(names, requirements, generated, counts, samples, int(job.sampling_steps or 1), guidance)


def make_plan(
    concepts: tuple[str, ...],
    requirements: Requirements,
    generated: Mapping[str, int],
    provided: Mapping[str, int],
    samples: int,
    sampling_steps: int,
    guidance: float,
) -> Plan:
    """The plan of a job that generates and is provided with so many images of each set, and draws `samples` before and after."""
    image = sampling_steps * (2.0 if guidance > 1 else 1.0) * DECODING
    rounds = min(requirements.steps, ROUNDS)
    predicted = rounds * (len(requirements.predictions) + (requirements.retain_target == "original"))
    batch, scored = requirements.batch, requirements.sensitivity_batches
    repair = batch * (predicted + TRAINING_PASS * (scored + requirements.passes * requirements.steps))
    encoded = {role: generated.get(role, 0) + provided.get(role, 0) for role in {**generated, **provided}}
    return Plan(
        concepts,
        (
            StagePlan("images", dict(generated), image * sum(generated.values())),
            StagePlan("before", {"samples": samples}, image * samples),
            StagePlan("latents", encoded, 0.5 * sum(encoded.values())),
            StagePlan("erase", {"steps": requirements.steps, "predictions": batch * predicted, "sensitivity": batch * scored}, repair),
            StagePlan("export", {"models": 1}, 1.0),
            StagePlan("after", {"samples": samples}, image * samples),
            StagePlan("measure", {"images": 2 * samples}, 0.5 * 2 * samples),
        ),
    )


def write_plan(folder: Path, plan: Plan) -> None:
    """Write plan.json into a run folder, unless it holds this plan already."""
    if read_plan(folder) != plan:
        write_json(folder / PLAN, asdict(plan))


def read_plan(folder: Path) -> Plan | None:
    """The plan of a run; None where there is none: the run has not begun, is of an earlier version, or is of another kind."""
    try:
        record = read_json(folder / PLAN)
        stages = tuple(
            StagePlan(str(s["name"]), {str(k): int(n) for k, n in s["pieces"].items()}, float(s["passes"])) for s in record["stages"]
        )
        return Plan(tuple(map(str, record["concepts"])), stages)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
