"""Measure any model against its original: draw both from the same prompts and noise, look at every picture, write the report.

`erase-concept evaluate`. An evaluation lies in a folder that is read like a run's (samples, measured, report), so that it goes
on where it stopped, and reports, pages and comparisons need not know the difference. Several processes started by
`accelerate launch` share the drawing and the measuring and come to the same report.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from erase.checkpoints.folder import weight_hashes
from erase.concepts import Concept, load_concept, naming
from erase.concepts.several import Concepts, all_apart, evaluation_rows, load_concepts, together
from erase.diffusion import StableDiffusion, locate, open_model, pick_device
from erase.errors import InputError
from erase.files import written
from erase.images import Picture, make_images, open_picture, picture_paths, read_images
from erase.options import check, option
from erase.processes import join, processes, wait
from erase.run import Run, lines_of
from erase.task import generator
from eval.measurement.cache import prepare
from eval.measurement.measure import Tools, measuring
from eval.measurement.run_folder import facts_of
from eval.measurement.tools import PICTURES, tools_of
from eval.metrics.accuracy import asked_words
from eval.prompt_sets import protocol_rows
from eval.protocols import Protocol, load_protocol
from eval.report import evaluate_run
from eval.samples import NO_SEED, WHICH, Row, prompts_file, read_prompts

MEASURING = ("detector", "inception", "clip", "imagenet", "lpips")  # options that say what pictures are looked at with
EVALUATIONS = Path("evaluations")
SEED = 1_000_003  # not the noise of anybody's training pictures
DRAWING = ("steps", "guidance", "batch", "count")  # options that say how pictures are drawn
Show = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Evaluation:
    """What is measured, and how. None: what the protocol says, or else the model's own default."""

    model: str = option("", "a run folder, a pipeline folder, a .safetensors checkpoint, or a hub name")
    original: str | None = option(None, "the model before the erasure; a run folder knows its own")
    concept: str | None = option(None, "name of a concept file, path of one, or plain words; a run folder knows its own")
    protocol: str | None = option(None, "a named protocol or the path of one (`erase-concept protocols`); by default the concept's prompts")
    prompts: str | None = option(None, "the protocol's prompts, where they are somebody's data: a .csv, .tsv or .jsonl file")
    before: str | None = option(None, "folder of the original's pictures, instead of drawing them")
    after: str | None = option(None, "folder of the erased model's pictures, in the same order")
    reference: str | None = option(None, "folder of real pictures for FID and KID, instead of the original's")
    detector: str | None = option(None, "judge, nudenet, imagenet, clip, or your own as file.py:function")
    inception: str | None = option(None, "measure FID: file of the Inception weights, or auto (torch's cache, else fetched)")
    imagenet: str | None = option(None, "file of ResNet-50's weights for the detector imagenet, where they are not in torch's cache")
    lpips: str | None = option(None, "file of AlexNet's weights: measures drift by LPIPS too")
    clip: str | None = option(None, "measure CLIP scores: folder of a CLIP in open_clip's format, or MODEL:PRETRAINED of the hub")
    count: int | None = option(None, "pictures that name the concept; as many that do not, and half as many implicit", low=1)
    output: str | None = option(None, "folder of the evaluation; by default evaluations/<model>-<protocol>")
    steps: int | None = option(None, "denoising steps a picture", low=1)
    guidance: float | None = option(None, "classifier-free guidance of sampling", low=0.0)
    batch: int | None = option(None, "pictures drawn at once", low=1)
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps")
    dtype: str = option("float32", "arithmetic of the networks", choices=("float32", "float16", "bfloat16"))
    tokenizer: str | None = option(None, "folder with CLIP's tokenizer, for an original that is a .safetensors checkpoint")
    skip_broken: bool = option(False, "leave pairs of --before and --after with a broken picture out, and say so, instead of stopping")
    uncensored: bool = option(False, "show pictures of nudity in report.html as they are")
    overwrite: bool = option(False, "start anew in a folder that holds another evaluation")

    def __post_init__(self) -> None:
        check(self)
        if (self.before is None) != (self.after is None):
            raise InputError("--before and --after belong together: the original's pictures and the erased model's; give both")
        if self.before is not None and Path(self.before).resolve() == Path(str(self.after)).resolve():
            raise InputError(f"--before and --after are the same folder, {self.before}; give the original's and the erased model's")
        drawing = [name for name in DRAWING if getattr(self, name) is not None]
        if self.before is not None and drawing:
            raise InputError(f"--{drawing[0]} says how pictures are drawn, but --before and --after bring them along; give one of the two")
        if self.before is None and self.skip_broken:
            raise InputError("--skip-broken is about the pictures of --before and --after, which are not given; leave it out")
        if self.prompts is not None and self.protocol is None:
            raise InputError("--prompts are the prompts of a protocol; name it with --protocol")
        if self.count is not None and self.protocol is not None:
            raise InputError(f"--count is for the concept's own prompts, and --protocol {self.protocol} fixes its own; give one of the two")


def evaluate(job: Evaluation, show: Show | None = None) -> Path:
    """Draw and measure what is missing, and write report.json; returns the evaluation's folder. InputError for mistakes."""
    rank = processes()[0]
    told = show if show and rank == 0 else lambda stage, done, total: None
    if job.reference is not None:
        picture_paths(Path(job.reference))  # before hours of drawing
    if job.before is not None:
        return _from_folders(job, told)
    if _own_pictures(job):
        return _again(job, told)
    models, concepts = _models(job)
    concept = concepts[0]
    protocol = load_protocol(job.protocol) if job.protocol else None
    if protocol is not None and len(concepts) > 1:
        raise InputError(f"--protocol {job.protocol} measures one concept, and {together(concepts)} are several; say which with --concept")
    rows, facts = _rows(job, concept, protocol) if len(concepts) == 1 else (_rows_of_several(job, concepts), {"from": "concept"})
    sampling = _sampling(job, protocol, models["before"])
    options = _options(job, concept, protocol, facts) | {"model": models["before"].name, "erased": models["after"].name}
    if len(concepts) > 1:
        options |= {"concept": together(concepts), "concepts": [asdict(c) for c in concepts]}
    options |= {"sampling": sampling, "dtype": job.dtype, "weights": {w: weight_hashes(m.folder) for w, m in models.items()}}
    tools = _checked(tools_of(options, device=models["before"].device), rows, concept)
    folder = Path(job.output) if job.output else EVALUATIONS / _name(job, together(concepts), protocol)
    join(models["before"].device)
    with _begun(folder, options, rows, tools, job.overwrite) if rank == 0 else nullcontext():
        wait()
        for which in WHICH:
            _draw(folder, which, read_prompts(folder), models[which], sampling, tools, told)
            models[which].free()
            wait()
        if rank == 0:
            for which in WHICH:  # the parts of all processes become one image set
                _make(folder, which, read_prompts(folder), None, sampling, (0, 1), None, told)
            look = partial(told, "measure")
            evaluate_run(folder, look, tools=tools, uncensored=job.uncensored, command=_command(job))
        wait()
    return folder


def _own_pictures(job: Evaluation) -> bool:
    """A finished run or evaluation, and nothing said that asks for other pictures than its own."""
    plain = Evaluation()
    said = {name for name, value in vars(job).items() if value != getattr(plain, name)} - {"model", "uncensored", "device", *MEASURING}
    return bool(job.model) and (Path(job.model) / "options.json").is_file() and not said


def _again(job: Evaluation, told: Show) -> Path:
    """Measure the pictures that a run or an evaluation has, with what it was measured with and what is asked for beside it."""
    folder = Path(job.model)
    if processes()[0] == 0:  # nothing to draw: the first process measures alone
        options = Run.read(folder).options
        more = {name: value for name in MEASURING if (value := getattr(job, name)) is not None}
        tools = tools_of({**options, "asked": {**(options.get("asked") or {}), **more}}, device=pick_device(job.device)) if more else None
        evaluate_run(folder, partial(told, "measure"), tools=tools, uncensored=job.uncensored)
    return folder


def _checked(tools: Tools, rows: Sequence[Row], concept: Concept) -> Tools:
    """InputError for a prompt that the detector has no label for, before anything is drawn."""
    labels = tools.detector.facts()["labels"] if tools.detector else {}
    if concept.domain in labels:
        asked_words(rows, labels)
    return tools


def _begun(folder: Path, options: Mapping[str, Any], rows: Sequence[Row], tools: Tools, overwrite: bool) -> Run:
    """The folder with its options and prompts, locked; what was measured with other tools goes."""
    run = Run.open(folder, options, overwrite)
    try:
        with written(prompts_file(folder)) as part:
            part.write_text(lines_of({"index": i, **row} for i, row in enumerate(rows)), encoding="utf-8")
        prepare(folder / "measured", facts_of(folder, tools))
    except BaseException:
        run.close()
        raise
    return run


# --- what is to be done ---------------------------------------------------------------------------------------------


def _models(job: Evaluation) -> tuple[dict[str, StableDiffusion], Concepts]:
    """The two models, and the concepts, mostly one; a run folder says which original and which concept are its own."""
    path = Path(job.model)
    original, name, after = job.original, job.concept, job.model
    if not path.exists() and job.model.startswith((".", "/", "~")):
        raise InputError(f"{job.model} is not there; expected a run folder, a pipeline folder, a .safetensors checkpoint or a hub name")
    if (path / "options.json").is_file():
        own = Run.read(path).options
        if "method_options" not in own:
            raise InputError(f"{path} is an evaluation; give the run or the model that it measured, {own.get('erased')}")
        if not (path / "model").is_dir():
            raise InputError(f"{path} has no model yet; give the run's command again, it goes on where it stopped")
        original = original or own["model"]
        name, after = name or own["concept"], str(path / "model")
    if original is None:
        raise InputError(f"{job.model} does not say what it was made from; give the model before the erasure with --original")
    if name is None:
        raise InputError(f"{job.model} does not say what was erased; give it with --concept")
    device = pick_device(job.device)
    source = locate(original, job.tokenizer)
    erased = locate(after, job.tokenizer or str(source))  # a single file holds no tokenizer; erasing does not change it
    models = {which: open_model(folder, device, job.dtype) for which, folder in zip(WHICH, (source, erased), strict=True)}
    for model, said in zip(models.values(), (original, job.model), strict=True):
        model.name = said
    return models, load_concepts(name, original)


def _rows_of_several(job: Evaluation, concepts: Concepts) -> list[Row]:
    return [row | {"seed": SEED} for row in evaluation_rows(all_apart(concepts), concepts, job.count or 50)]


def _rows(job: Evaluation, concept: Concept, protocol: Protocol | None) -> tuple[list[Row], dict[str, Any]]:
    file = Path(job.prompts) if job.prompts else None
    if protocol is not None:
        return protocol_rows(protocol, concept, file)
    count = job.count or 50
    rows: list[Row] = [row | {"seed": SEED} for row in evaluation_rows((concept,), (concept,), count)]
    return rows, {"from": "concept"}


def _sampling(job: Evaluation, protocol: Protocol | None, model: StableDiffusion) -> dict[str, Any]:
    """Options before the protocol before the model's own default."""
    small = model.size <= 128
    own = {"scheduler": model.scheduler_name, "steps": 25 if small else 50, "guidance": 4.0 if small else 7.5, "size": model.size}
    if protocol is not None:
        own |= {"scheduler": protocol.sampler, "steps": protocol.steps, "guidance": protocol.guidance, "noise": protocol.noise}
    own |= {name: value for name in ("steps", "guidance") if (value := getattr(job, name)) is not None}
    return {"noise": "seed and index", **own, "batch": job.batch or (32 if small else 4)}


def _options(job: Evaluation, concept: Concept, protocol: Protocol | None, prompt_facts: Mapping[str, Any]) -> dict[str, Any]:
    """What every evaluation's options.json says; whatever else decides its numbers is added."""
    return {
        "kind": "evaluation", "concept": concept.name, "method": None, "preset": None, "seed": None, "concept_file": asdict(concept),
        "protocol": protocol.record() if protocol else None,
        "protocol_file": job.protocol if str(job.protocol).endswith(".toml") else None,
        "prompts": dict(prompt_facts),
        "asked": {name: getattr(job, name) for name in ("reference", *MEASURING)},
    }  # fmt: skip


def _command(job: Evaluation) -> str:
    """What repeats it."""
    plain = Evaluation()
    aside = ("model", "output", "overwrite", "uncensored")  # do not change a number
    given = {name: value for name, value in asdict(job).items() if value != getattr(plain, name) and name not in aside}
    flags = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", *([] if value is True else [str(value)]))]
    return shlex.join(["erase-concept", "evaluate", *([job.model] if job.model else []), *flags])


def _name(job: Evaluation, concept: str, protocol: Protocol | None) -> str:
    return f"{Path(job.model).name or 'model'}-{protocol.name if protocol else concept.replace(' + ', '-')}"


# --- drawing and measuring ------------------------------------------------------------------------------------------


def _draw(folder: Path, which: str, rows: list[Row], model: StableDiffusion, sampling: Any, tools: Tools, told: Show) -> None:
    """This process's share of one image set, measured while the next chunk is drawn."""
    before = [folder / "samples" / "before" / f"{i:05d}.png" for i in range(len(rows))] if which == "after" else None
    rank, world = processes()
    with measuring(folder / "measured", which, rows, tools, before, rank, background=not model.device.startswith("cpu")) as each:
        _make(folder, which, rows, model, sampling, (rank, world), each, told)


def _make(
    folder: Path, which: str, rows: list[Row], model: StableDiffusion | None, sampling: Any, share: tuple[int, int], each: Any, told: Show
) -> None:
    sample = _sampler(model, sampling) if model is not None else _nothing
    make_images(
        folder / "samples" / which, [r["text"] for r in rows], [r["seed"] for r in rows], sample, sampling["batch"],
        lambda done, total: told(which, done, total), each, share, NOISE[sampling["noise"]],
    )  # fmt: skip


def _sampler(model: StableDiffusion, sampling: Mapping[str, Any]) -> Any:
    """Loads the model only when there is something left to draw."""

    def sample(texts: list[str], generators: list[torch.Generator]) -> Any:
        return model.sampler(sampling["steps"], sampling["guidance"], sampling["scheduler"])(texts, generators)

    return sample


def _nothing(texts: list[str], generators: Any) -> Any:
    raise InputError(f"{len(texts)} pictures are missing after all were drawn; is somebody else writing to the folder?")


NOISE: dict[str, Callable[[int, int], torch.Generator]] = {
    "seed and index": lambda seed, index: generator(seed, "picture", index),
    "seed alone": lambda seed, index: torch.Generator().manual_seed(seed),
}


# --- pictures that somebody has drawn -------------------------------------------------------------------------------


def _from_folders(job: Evaluation, told: Show) -> Path:
    """Two folders of pictures, pair by pair the same prompt and seed; their captions, or the protocol's rows, are the prompts."""
    if job.concept is None:
        raise InputError("the pictures of --before and --after do not say what was erased; give it with --concept")
    concept = load_concept(job.concept, job.original)
    protocol = load_protocol(job.protocol) if job.protocol else None
    left_out = _left_out(job)
    rows, facts = _rows_of_pictures(job, concept, protocol, left_out)
    options = _options(job, concept, protocol, facts) | {"model": job.original or PICTURES, "erased": job.model or None}
    options["sampling"] = dict.fromkeys(("scheduler", "steps", "guidance", "size", "batch", "noise"))
    options["folders"] = {which: str(getattr(job, which)) for which in WHICH} | {"left_out": left_out}
    folder = Path(job.output) if job.output else EVALUATIONS / f"{Path(str(job.after)).name}-{concept.name}"
    if processes()[0] == 0:  # there is nothing to draw, so one process is enough
        tools = _checked(tools_of(options), rows, concept)
        with _begun(folder, options, rows, tools, job.overwrite):
            look = partial(told, "measure")
            evaluate_run(folder, look, tools=tools, uncensored=job.uncensored, command=_command(job))
    return folder


def _left_out(job: Evaluation) -> list[int]:
    """Which pairs are broken and to be left out; InputError for folders that are no pairs."""
    paths = {which: picture_paths(Path(str(getattr(job, which)))) for which in WHICH}
    if len(paths["before"]) != len(paths["after"]):
        given = f"--before has {len(paths['before'])} pictures and --after {len(paths['after'])}"
        raise InputError(f"{given}; expected pairs of the same prompt and seed")
    found = _broken(list(zip(paths["before"], paths["after"], strict=True)), job.skip_broken)
    if len(found) == len(paths["before"]):
        raise InputError("no pair of pictures is left to be measured")
    return found


def _broken(pairs: Sequence[tuple[Path, Path]], skip: bool) -> list[int]:
    """Which pairs cannot be measured: InputError that names the first, unless they are to be left out."""
    found = []
    for i, pair in enumerate(pairs):
        try:
            sizes = [open_picture(path).size for path in pair]
        except InputError as error:
            if not skip:
                raise InputError(f"{error}, or leave it out of both folders with --skip-broken") from None
            found.append(i)
            continue
        if sizes[0] != sizes[1]:
            first, second = (f"{width} x {height}" for width, height in sizes)
            raise InputError(f"{pair[0]} has {first} pixels and {pair[1]} {second}; expected pairs of the same size")
    return found


def _rows_of_pictures(
    job: Evaluation, concept: Concept, protocol: Protocol | None, left_out: Collection[int]
) -> tuple[list[Row], dict[str, Any]]:
    """A row for each pair that is not left out."""
    pairs = _captioned(job, left_out)
    if protocol is None:
        return [_row_of_caption(concept, picture) for picture in pairs], {"from": "captions"}
    rows, facts = _rows(job, concept, protocol)
    count = len(pairs) + len(left_out)
    if len(rows) != count:
        raise InputError(f"the protocol {protocol.name} has {len(rows)} pictures and --before {count}; give all of them, in its order")
    return [row for i, row in enumerate(rows) if i not in left_out], facts


def _captioned(job: Evaluation, left_out: Collection[int]) -> list[Picture]:
    """The pictures of --before; InputError where --after has other captions."""
    before, after = (read_images(Path(str(getattr(job, which))), default_caption="", leave_out=left_out) for which in WHICH)
    for first, second in zip(before, after, strict=True):
        if first.prompt and second.prompt and first.prompt != second.prompt:
            said = f'{first.path} shows "{first.prompt}" and {second.path} "{second.prompt}"'
            raise InputError(f"{said}; expected pairs of the same prompt and seed, in the order of their names")
    return before


def _row_of_caption(concept: Concept, picture: Picture) -> Row:
    """A caption that names the concept, or none at all, is a prompt to forget; what it asks for are the words that it has."""
    text, seed = picture.prompt, NO_SEED if picture.seed is None else picture.seed
    asked = {slot: word for slot, words in concept.vocabulary.items() for word in words if naming([word]).search(text)}
    if named := not text or naming(concept.words).search(text) is not None:
        asked[concept.domain] = concept.words[0]
    return {"text": text, "role": "evaluate" if named else "evaluate-retain", "attributes": asked, "seed": seed}
