"""What an attack takes from a run: models, prompts, images, a detector; and why any of these is missing.

Four subjects are attacked: the original (the most that an attack can reach), the erased model, a model trained without the concept
if available, and as a control the erased model with another goal, something that was to be kept.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from erase.checkpoints.folder import read_provenance, weight_hashes
from erase.concepts import Concept
from erase.concepts.english import slug
from erase.concepts.record import concept_of
from erase.demo.worlds import KNOWN_MODELS
from erase.diffusion import StableDiffusion, locate, open_model
from erase.errors import InputError
from erase.files import sha256
from erase.images import open_picture, read_images
from erase.run import Run, read_lines
from eval.attacks import CONTROL, ERASED, GOLD, ORIGINAL, SUBJECTS
from eval.attacks.attack import Goal, Target
from eval.attacks.success import Sight, sight_of
from eval.attacks.victim import Victim
from eval.gold import gold_folder
from eval.measurement.tools import tools_of
from eval.samples import scheduler_for


@dataclass(frozen=True)
class Setting:
    """A run, opened to be attacked. `missing`: by need (`eval.attacks.attack.NEEDS`) and by subject, why it is not available."""

    run: Run
    goals: Mapping[str, Goal]
    models: Mapping[str, Path]
    sight: Sight
    device: str
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def concept(self) -> str:
        """The concept's name."""
        return self.goals[ERASED].name

    @property
    def subjects(self) -> list[str]:
        """The available subjects, in their order."""
        return [subject for subject in SUBJECTS if subject in self.models and subject in self.goals]

    def victim(self, subject: str) -> Victim:
        """A subject's model, freshly opened."""
        sampling = self.run.options["sampling"]
        original = (lambda: self._open(self.models[ORIGINAL])) if ORIGINAL in self.models else None
        model, scheduler = self._open(self.models[subject]), scheduler_for(self.run, self.models[subject])
        return Victim(model, sampling["steps"], sampling["guidance"], sampling["batch"], original, scheduler)

    def _open(self, folder: Path) -> StableDiffusion:
        return open_model(folder, self.device, "float32", self.run.options["sampling"]["size"])

    def key(self, subject: str) -> dict[str, Any]:
        """Everything that a subject's results depend on besides attack and seed."""
        goal, folder = self.goals[subject], self.models[subject]
        targets = [
            [t.text, t.picture and sha256(t.picture), *(own for own in (t.guidance, t.seed) if own is not None)]
            for t in (*goal.targets, *goal.others)
        ]
        goal_hash = hashlib.sha256(repr((targets, goal.words, goal.wordings, goal.swaps)).encode()).hexdigest()
        sampling = {name: self.run.options["sampling"][name] for name in ("steps", "guidance", "size", "batch")}
        if (scheduler := scheduler_for(self.run, folder)) is not None:
            sampling["scheduler"] = scheduler
        facts = self.sight.detector.facts()
        base = weight_hashes(self.models[ORIGINAL]) if ORIGINAL in self.models else None
        return {"weights": weight_hashes(folder), "base": base, "goal": goal_hash, "sampling": sampling, "detector": facts["detector"]}


def setting_of(
    folder: Path,
    device: str,
    concept: str | None = None,
    golds: Mapping[str, Path] | None = None,
    pictures: Path | None = None,
    detector: str | None = None,
) -> Setting:
    """Of a finished run, or of an evaluation of another model; `golds` by concept, under "" for any.

    InputError for an unfinished run or an unknown concept.
    """
    run = Run.read(folder)
    options = run.options
    if "sampling" not in options or options.get("folders"):
        raise InputError(f"{folder} holds images and no model; give a run, or an evaluation that drew its images itself")
    record = _concept(folder, options, concept)
    own = concept_of(record)
    requested = {**(options.get("asked") or {}), **({"detector": detector} if detector else {})}
    sight = sight_of(record, tools_of({**options, "concept_file": record, "asked": requested}, device=device))
    models, missing = _models(folder, options, own, golds or {})
    rows = [row for row in read_lines(folder / "samples" / "prompts.jsonl") if row.get("concept", own.name) == own.name]
    goal, why = _goal(run, own, rows, sight, pictures)
    goals = dict.fromkeys((ORIGINAL, ERASED, GOLD), goal)
    if (control := _control(run, own, rows)) is not None:
        goals[CONTROL] = control
        models[CONTROL] = models[ERASED]
    else:
        missing[CONTROL] = "the run has no prompts to keep"
    if edited := read_provenance(models[ERASED]).get("edited"):
        missing["network"] = f"the run changed {edited} and left the network as it was; restore and interpolate attack the text encoders"
    if not goal.others:
        missing["others"] = "the run has no images of prompts to keep"
    return Setting(run, goals, models, sight, device, missing | ({"pictures": why} if why else {}))


def _concept(folder: Path, options: Mapping[str, Any], name: str | None) -> dict[str, Any]:
    """The record of the run's concept; where it has several, of the one named."""
    several = {record["name"]: record for record in options.get("concepts") or [options["concept_file"]]}
    if name is None and len(several) > 1:
        raise InputError(f"{folder} erased {len(several)} concepts, and one is attacked; say which with --concept: {', '.join(several)}")
    key = name if name in several else slug(name or "")
    if name is not None and key not in several:
        raise InputError(f"--concept {name} was not erased in {folder}; expected {' or '.join(several)}")
    return dict(several[key if name else next(iter(several))])


def _models(
    folder: Path, options: Mapping[str, Any], concept: Concept, golds: Mapping[str, Path]
) -> tuple[dict[str, Path], dict[str, str]]:
    """Folders of the subjects' models, and the reasons for those that are missing."""
    models, missing = {}, {}
    try:
        models[ORIGINAL] = locate(str(options["model"]), options.get("tokenizer"), options.get("prediction_type"))
    except InputError as error:
        missing[ORIGINAL] = f"{options['model']}, from which the run started, is not available ({error})"
    erased = folder / "model" if "method_options" in options else options.get("erased")
    if erased is None or not (Path(erased) / "model_index.json").is_file():
        raise InputError(f"{folder} has no model to attack; give the run's command again, and it resumes where it stopped")
    models[ERASED] = Path(erased)
    known = KNOWN_MODELS.get(str(options["model"]))
    shipped = known.gold(concept.name) if known else None
    gold = golds.get(concept.name, golds.get(""))
    if gold is not None:
        models[GOLD] = gold_folder(gold)
    elif shipped is not None and shipped.is_dir():
        models[GOLD] = gold_folder(shipped)
    else:
        missing[GOLD] = "no model that was trained without the concept is available; give one as the gold standard (--gold)"
    return models, missing


def _goal(run: Run, concept: Concept, rows: Sequence[Mapping[str, Any]], sight: Sight, pictures: Path | None) -> tuple[Goal, str | None]:
    """The concept as a goal, and the reason where there are no images of it."""
    wordings = tuple(row["text"] for row in rows if row["role"] == "implicit")
    others = tuple(_targets(run, rows, "evaluate-retain"))
    if pictures is not None:
        known = read_images(pictures, default_caption=f"a picture of {concept.words[0]}")
        targets = [Target(picture.prompt, picture.path) for picture in known]
    else:
        targets = _targets(run, rows, "evaluate")
    if not targets:
        raise InputError(f"{run.folder} has no prompts that name {concept.title}; evaluate it first, or give --pictures")
    drawn = [target for target in targets if target.picture is not None]
    recognised = [target for target in drawn if pictures is not None or _shows(sight, target)]
    why = None
    if not recognised:
        what = "the run has no images by the original" if not drawn else f"the detector sees {concept.title} in none of the original's"
        why = f"{what}; give some with --pictures"
    usable = tuple(recognised) or tuple(replace(target, picture=None) for target in targets)
    every = tuple(targets) if len(targets) > len(usable) else ()
    return Goal(concept.name, concept.words, usable, others, wordings, concept.anchors, every=every), why


def _targets(run: Run, rows: Sequence[Mapping[str, Any]], role: str) -> list[Target]:
    """Prompts of a role, with the original's images of them where they exist."""
    places = [(row, run.samples("before") / f"{int(row['index']):05d}.png") for row in rows if row["role"] == role]
    alone = run.options["sampling"].get("noise") == "seed alone"  # as published prompts with seeds of their own are drawn
    seeds = [int(row["seed"]) if alone else None for row, _ in places]
    pairs = zip(places, seeds, strict=True)
    return [Target(row["text"], path if path.is_file() else None, row.get("guidance"), seed) for (row, path), seed in pairs]


def _shows(sight: Sight, target: Target) -> bool:
    assert target.picture is not None
    return sight([open_picture(target.picture)])[0][0]


def _control(run: Run, concept: Concept, rows: Sequence[Mapping[str, Any]]) -> Goal | None:
    """The most frequent other concept of the domain among the prompts to keep; without domains all of these prompts."""
    retained = [row for row in rows if row["role"] == "evaluate-retain"]
    counts = Counter(row["attributes"][concept.domain] for row in retained if concept.domain in row["attributes"])
    word = counts.most_common(1)[0][0] if counts else None
    mine = [row for row in retained if word is None or row["attributes"].get(concept.domain) == word]
    if not mine:
        return None
    rest = [row for row in retained if row not in mine]
    wordings = tuple(row["text"] for row in mine)
    return Goal(
        word or "prompts to keep", (word,) if word else (), tuple(_targets(run, mine, "evaluate-retain")),
        tuple(_targets(run, rest, "evaluate-retain")), wordings, tuple(anchor for anchor in concept.anchors if anchor != word),
    )  # fmt: skip
