"""Measure a model against its original: generate images of both from the same prompts and noise, measure them, write the report.

An evaluation folder has the structure of a run folder (samples, measured, report), so evaluations can be resumed, reported and
compared like runs. Several processes started by `accelerate launch` share the work and come to the same report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from erase.checkpoints.folder import weight_hashes
from erase.concepts import Concept, load_concept
from erase.concepts.several import Concepts, all_apart, evaluation_rows, together
from erase.diffusion import StableDiffusion, pick_device
from erase.errors import InputError
from erase.files import written
from erase.images import ByRow, Callbacks, make_images, picture_paths
from erase.processes import join, processes, wait
from erase.run import Run, lines_of, read_lines
from eval.image_pairs import broken_pairs, rows_of_captions
from eval.measurement.bias.measure import Plan, measure_bias
from eval.measurement.bias.neutral import NeutralPrompts, neutral_prompts
from eval.measurement.cache import prepare
from eval.measurement.compared import check_covered, compared_models, small_file_record
from eval.measurement.drawing import NOISE, SEED, copy_images, nothing, samplers
from eval.measurement.growing import free_folder, grown, repeated
from eval.measurement.measure import Each, Tools, measuring
from eval.measurement.run_folder import facts_of
from eval.measurement.tools import USERS_IMAGES, clip_source, tools_of
from eval.metrics.accuracy import requested_words
from eval.options import BIAS, MEASURING, Evaluation
from eval.prompt_sets import protocol_rows
from eval.protocols import Protocol, load_protocol
from eval.report import evaluate_locked, evaluate_run
from eval.samples import WHICH, Row, prompts_file, read_prompts, scales_of, scheduler_for

EVALUATIONS = Path("evaluations")
ADDED = {"asked.q16": None}  # what an evaluation from before this option stands for
COUNT = 50  # images that name the concept
BIAS_COUNT = 96  # images of neutral prompts of each model

Progress = Callable[[str, int, int], None]
Facts = dict[str, Any]


def evaluate(job: Evaluation, progress: Progress | None = None, before: Path | None = None) -> Path:
    """Generate and measure what is missing, and write report.json; returns the evaluation's folder. InputError for mistakes.

    `progress(stage, done, total)` counts images: of the stages "before" and "after" those generated, of "measure" those measured.
    `before`: where it is there, the original's images from another evaluation with the same prompts and sampling, which are copied.
    """
    rank = processes()[0]
    show = progress if progress and rank == 0 else lambda stage, done, total: None
    if job.reference is not None:
        picture_paths(Path(job.reference))  # a mistake there is reported before hours of generating
    if job.before is not None:
        return _evaluate_folders(job, show)
    if _is_remeasured(job):
        return _measure_again(job, show)
    protocol = load_protocol(job.protocol) if job.protocol else None
    models, concepts = compared_models(job, protocol)
    if protocol is not None and len(concepts) > 1:
        message = f"--protocol {job.protocol} measures one concept, but {together(concepts)} are {len(concepts)}; choose one with --concept"
        raise InputError(message, option="concept")
    rows, facts = _rows(job, concepts, protocol)
    sampling = _sampling(job, protocol, models["before"])
    options = _options(job, concepts, protocol, facts) | {"model": models["before"].name, "erased": models["after"].name}
    options |= small_file_record(job)
    options |= {"sampling": sampling, "dtype": job.dtype, "weights": {w: weight_hashes(m.folder) for w, m in models.items()}}
    tools = _checked(tools_of(options, device=models["before"].device), rows, concepts[0])
    own = EVALUATIONS / _name(job, together(concepts), protocol)
    folder = Path(job.output) if job.output else free_folder(own, options, job.overwrite, ADDED)
    join(models["before"].device)
    with _open(folder, options, rows, tools, job) if rank == 0 else nullcontext():
        if rank == 0 and before is not None and before.is_dir() and not (folder / "samples" / "before").exists():
            copy_images(before, folder / "samples" / "before")
        wait()
        for which in WHICH:
            _generate(folder, which, read_prompts(folder), models[which], sampling, tools, show)
            models[which].free()
            wait()
        if job.bias:
            _bias(job, folder, models, concepts, sampling, show)
        if rank == 0:
            for which in WHICH:  # merge the images of all processes into one image set
                _make(folder, which, read_prompts(folder), None, sampling, (0, 1), None, show)
            evaluate_run(folder, partial(show, "measure"), tools=tools, uncensored=job.uncensored, command=repeated(job, folder))
        wait()
    return folder


# --- images that exist ----------------------------------------------------------------------------------------------


def _is_remeasured(job: Evaluation) -> bool:
    """Whether the job is a finished run or evaluation, with no option that would need other images than its own."""
    plain = Evaluation()
    changed = {name for name, value in vars(job).items() if value != getattr(plain, name)}
    own = {"model", "uncensored", "device", *MEASURING, *BIAS}
    return bool(job.model) and (Path(job.model) / "options.json").is_file() and changed <= own


def _measure_again(job: Evaluation, show: Progress) -> Path:
    """Measure the images of a run or an evaluation with the tools that it was measured with, and any that the job adds."""
    folder = Path(job.model)
    options = Run.read(folder).options
    if job.bias:
        models, concepts = compared_models(replace(job, size=options["sampling"]["size"]), None)
        join(models["before"].device)
        scheduler = scheduler_for(Run.read(folder), models["before"].folder) or models["before"].scheduler_name
        _bias(job, folder, models, concepts, {**options["sampling"], "scheduler": scheduler}, show)
    if processes()[0] == 0:  # nothing else is generated, so one process measures
        added = {name: value for name, value in job.tools().items() if value is not None}
        requested = {**(options.get("asked") or {}), **added}
        tools = tools_of({**options, "asked": requested}, device=pick_device(job.device)) if added else None
        evaluate_locked(folder, partial(show, "measure"), tools, job.uncensored)
    return folder


def _evaluate_folders(job: Evaluation, show: Progress) -> Path:
    """Measure two folders of images, pair by pair of the same prompt and seed. Prompts are their captions, or the protocol's."""
    if job.concept is None:
        message = "the images of --before and --after do not contain which concept was erased; give it with --concept"
        raise InputError(message, option="concept")
    concept = load_concept(job.concept, job.original)
    protocol = load_protocol(job.protocol) if job.protocol else None
    check_covered(job, protocol, (concept,))
    folders = (Path(str(job.before)), Path(str(job.after)))
    left_out, pairs = broken_pairs(*folders, job.skip_broken)
    rows, facts = rows_of_captions(*folders, concept, left_out), {"from": "captions"}
    if protocol is not None:
        rows, facts = _rows(job, (concept,), protocol)
        if len(rows) != pairs:
            raise InputError(f"the protocol {protocol.name} has {len(rows)} images and --before {pairs}; give all of them, in its order")
        rows = [row for i, row in enumerate(rows) if i not in left_out]
    options = _options(job, (concept,), protocol, facts) | {"model": job.original or USERS_IMAGES, "erased": job.model or None}
    options["sampling"] = dict.fromkeys(("scheduler", "steps", "guidance", "size", "batch", "noise"))
    options["folders"] = {which: str(getattr(job, which)) for which in WHICH} | {"left_out": left_out}
    folder = Path(job.output) if job.output else EVALUATIONS / f"{folders[1].name}-{concept.name}"
    if processes()[0] == 0:  # nothing is generated, so one process is enough
        tools = _checked(tools_of(options), rows, concept)
        with _open(folder, options, rows, tools, job):
            evaluate_run(folder, partial(show, "measure"), tools=tools, uncensored=job.uncensored, command=job.command())
    return folder


# --- what the job resolves to ---------------------------------------------------------------------------------------


def _rows(job: Evaluation, concepts: Concepts, protocol: Protocol | None) -> tuple[list[Row], Facts]:
    """The prompts with their seeds, and where they come from."""
    if protocol is not None:
        rows, facts = protocol_rows(protocol, concepts[0], Path(job.prompts) if job.prompts else None)
        if job.guidance is not None:  # takes precedence over that of a row
            rows = [{name: value for name, value in row.items() if name != "guidance"} for row in rows]
            facts |= {"guidance_column": None} if "guidance_column" in facts else {}
        return rows, facts
    measured = all_apart(concepts) if len(concepts) > 1 else concepts
    return [row | {"seed": SEED} for row in evaluation_rows(measured, concepts, job.count or COUNT)], {"from": "concept"}


def _sampling(job: Evaluation, protocol: Protocol | None, model: StableDiffusion) -> dict[str, Any]:
    """The job's options, else the protocol's, else the model's defaults."""
    small = model.size <= 128
    guidance = model.USUAL.get("guidance", 4.0 if small else 7.5)
    values = {"scheduler": model.scheduler_name, "steps": 25 if small else 50, "guidance": guidance, "size": model.size}
    if protocol is not None:
        values |= {"scheduler": protocol.sampler, "steps": protocol.steps, "guidance": protocol.guidance, "noise": protocol.noise}
    values |= {name: value for name in ("steps", "guidance", "negative") if (value := getattr(job, name)) is not None}
    return {"noise": "seed and index", **values, "batch": job.batch or (32 if small else 4)}


def _options(job: Evaluation, concepts: Concepts, protocol: Protocol | None, prompt_facts: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that options.json of every evaluation has; others that affect its numbers are added."""
    return {
        "kind": "evaluation", "concept": together(concepts), "method": None, "preset": None, "seed": None,
        "concept_file": asdict(concepts[0]),
        **({"concepts": [asdict(concept) for concept in concepts]} if len(concepts) > 1 else {}),
        "protocol": protocol.record() if protocol else None,
        "protocol_file": job.protocol if str(job.protocol).endswith(".toml") else None,
        "prompts": dict(prompt_facts),
        "asked": {"reference": job.reference, **job.tools()},
    }  # fmt: skip


def _checked(tools: Tools, rows: Sequence[Row], concept: Concept) -> Tools:
    """The tools; InputError for a prompt that the detector has no label for, before any image is generated."""
    labels = tools.detector.facts()["labels"] if tools.detector else {}
    if concept.domain in labels:
        requested_words(rows, labels)
    return tools


def _name(job: Evaluation, concept: str, protocol: Protocol | None) -> str:
    model = f"{Path(job.lora).stem}-{job.strength:g}" if job.lora else Path(job.model).name or "model"
    return f"{model}-{protocol.name if protocol else concept.replace(' + ', '-')}"


def _open(folder: Path, options: Mapping[str, Any], rows: Sequence[Row], tools: Tools, job: Evaluation) -> Run:
    """The folder, locked, with its options and prompts; measurements of other tools or prompts are deleted.

    A measurement with fewer of the same prompts grows to `rows`, one with more keeps all that it has. InputError where images were
    generated from other prompts: nothing of that evaluation is changed.
    """
    run = Run.open(folder, options, job.overwrite, ADDED)
    try:
        path = prompts_file(folder)
        records: list[Row] = [{"index": i, **row} for i, row in enumerate(rows)]
        if "folders" not in options and path.exists() and (old := read_lines(path)) != records:
            more = None if job.protocol else grown(old, rows, job.count or COUNT)
            if more is None:
                message = f"{folder} holds an evaluation with {len(old)} other prompts, and this one has {len(records)}"
                raise InputError(f"{message}; give another --output, or --overwrite to start again", option="output")
            records = more
        with written(path) as part:
            part.write_text(lines_of(records), encoding="utf-8")
        prepare(folder / "measured", facts_of(folder, tools))
    except BaseException:
        run.close()
        raise
    return run


# --- generating -----------------------------------------------------------------------------------------------------


def _generate(
    folder: Path, which: str, rows: list[Row], model: StableDiffusion, sampling: Mapping[str, Any], tools: Tools, show: Progress
) -> None:
    """This process's share of an image set, measured while the next chunk is generated."""
    before = [folder / "samples" / "before" / f"{i:05d}.png" for i in range(len(rows))] if which == "after" else None
    rank, world = processes()
    background = not model.device.startswith("cpu")
    with measuring(folder / "measured", which, rows, tools, before, rank, background) as each:
        _make(folder, which, rows, model, sampling, (rank, world), each, show)


def _make(
    folder: Path,
    which: str,
    rows: list[Row],
    model: StableDiffusion | None,
    sampling: Mapping[str, Any],
    share: tuple[int, int],
    each: Each | None,
    show: Progress,
) -> None:
    sample = ByRow(scales_of(rows, sampling["guidance"]), samplers(model, sampling)) if model is not None else nothing
    make_images(
        folder / "samples" / which, [r["text"] for r in rows], [r["seed"] for r in rows], sample, sampling["batch"],
        Callbacks(lambda done, total: show(which, done, total), each), share, NOISE[sampling["noise"]],
    )  # fmt: skip


def _bias(
    job: Evaluation, folder: Path, models: Mapping[str, StableDiffusion], concepts: Concepts, sampling: Mapping[str, Any], show: Progress
) -> None:
    """Measure bias on neutral prompts into the folder, before its report is written."""
    neutral: NeutralPrompts = neutral_prompts(job.neutral, models["before"].name)
    detector = neutral.make_detector({**clip_source(job.clip), "device": models["before"].device})
    count = job.bias_count or BIAS_COUNT
    measure_bias(folder, models, Plan(neutral, count, sampling, [asdict(concept) for concept in concepts], detector), show)
