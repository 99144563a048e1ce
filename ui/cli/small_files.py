"""`erase-concept export --format lora` and its kin: a small file for the original, and what it loses against the run."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erase.checkpoints.lora import RANK, WARN_BELOW
from erase.errors import InputError
from ui.cli.display import Display, quiet_libraries
from ui.cli.flags import Parser

if TYPE_CHECKING:
    from erase.checkpoints.lora.factors import Pair
    from erase.checkpoints.lora.write import Written
    from erase.run import Run

RUN_FACTORS = "lora.safetensors"  # of a run with --lora-rank, in the layout of diffusers
LOADING = {
    "lora": (
        "A1111 and Forge: folder models/Lora, in the prompt <lora:{stem}:1>",
        "ComfyUI: folder models/loras, node Load LoRA (model only)",
        "InvokeAI: Models, Add Model, the path of the file",
        "diffusers: pipe.load_lora_weights({path!r})",
    ),
    "diffusers-lora": ("diffusers: pipe.load_lora_weights({path!r})",),
    "difference": ("ComfyUI: folder models/loras, node Load LoRA (model only)", "A1111 and Forge: folder models/Lora, <lora:{stem}:1>"),
}
"""Format -> which program loads the file, from which folder, by which node or line."""
PASSED_OVER = "diffusers passes over {what} in such a file; for it, give --format diffusers-lora"


@dataclass(frozen=True)
class Subject:
    """What is exported: the model before and after, and the run it is from."""

    original: Path
    erased: Path
    run: Run | None
    trained: Path | None


def add_small_flags(parser: Parser) -> None:
    """The flags of the small formats."""
    parser.add_argument("--original", help="for a LoRA or a difference: the model before the erasure; a run folder has its own")
    parser.add_argument("--rank", type=int, help=f"of a LoRA: rank of each layer (default: {RANK}; a run with --lora-rank has its own)")
    parser.add_argument(
        "--keep-norm", type=float, metavar="PERCENT", help="of a LoRA, instead of --rank: as many as each layer needs to keep this much"
    )
    parser.add_argument("--no-measure", action="store_true", help="do not draw and measure what the small file loses against the run")
    parser.add_argument("--device", default="auto", help="where a LoRA is computed and measured: auto, cpu, cuda, cuda:N or mps")


def check_small_flags(options: argparse.Namespace, small: bool) -> None:
    """InputError for flags that do not go together."""
    if not small:
        for name in ("original", "rank", "keep_norm"):
            if getattr(options, name) is not None:
                flag = f"--{name.replace('_', '-')}"
                problem = f"{flag} is for --format lora, diffusers-lora or difference, and --format is {options.format}"
                raise InputError(f"{problem}; leave it out", option=name)
        return
    if options.rank is not None and options.keep_norm is not None:
        raise InputError("--rank and --keep-norm both say how large a LoRA becomes; give one of the two", option="rank")
    if options.format == "difference" and (options.rank or options.keep_norm):
        raise InputError("--format difference has no rank: it is exact; leave --rank and --keep-norm out", option="rank")
    if options.rank is not None and options.rank < 1:
        raise InputError(f"--rank is {options.rank}; expected 1 or more", option="rank")
    if options.keep_norm is not None and not 0 < options.keep_norm <= 100:
        raise InputError(f"--keep-norm is {options.keep_norm:g}; expected per cent, above 0 and up to 100", option="keep_norm")
    if options.push_to_hub:
        raise InputError("--push-to-hub publishes whole models; upload a small file yourself, with its report", option="push_to_hub")


def export_small(options: argparse.Namespace) -> int:
    """Write the file, say where it is loaded and what it keeps, and measure it."""
    from erase.checkpoints.lora.write import Form, write_small
    from erase.diffusion import pick_device
    from erase.pipeline.job import Event

    device = pick_device(options.device)
    subject = subject_of(options)
    factors = own_factors(subject) if options.rank is None and options.keep_norm is None else None
    place = device if device.startswith("cuda") else "cpu"  # other accelerators have no singular values
    form = Form(options.format, options.rank, options.keep_norm, options.dtype, place)
    quiet_libraries()
    with Display() as display:
        written = write_small(
            subject.original, subject.erased, options.output, form, trained=subject.trained, factors=factors,
            show=lambda done, total: display(Event("layers", done, total)),
        )  # fmt: skip
        print(_summary(written))
        for line in _loading(written):
            print(f"  {line}")
        if written.kept < WARN_BELOW:
            print(f"warning: {_loss(written)}", file=sys.stderr)
        print("A LoRA or a difference is no protection: whoever has the original leaves it out.")
        if subject.run is None or options.no_measure:
            return 0
        from eval.measurement.small_file import measure_small

        print(measure_small(subject.run, subject.original, written, device, lambda stage, n, of: display(Event(stage, n, of))))
    return 0


def subject_of(options: argparse.Namespace) -> Subject:
    """The two models; InputError where the original is not known, or is not the one that the erased model was made from."""
    from erase.checkpoints.folder import edited_part, network_hash, read_provenance
    from erase.diffusion import locate
    from erase.run import Run

    path = Path(options.model)
    run = Run.read(path) if (path / "options.json").is_file() else None
    if run is not None and not (path / "model" / "model_index.json").is_file():
        raise InputError(f"{path} has no model yet; run its command again, it resumes, or give another folder")
    if run is None and options.original is None:
        if not path.exists():
            raise InputError(f"{path} does not exist; expected a run folder, or a model together with --original")
        raise InputError(f"{path} does not record its original; give the model before the erasure with --original", option="original")
    recorded: dict[str, Any] = run.options if run is not None else {}
    prediction = options.prediction_type or recorded.get("prediction_type")
    others = options.parts or options.tokenizer  # what single files lack
    original = locate(str(options.original or recorded["model"]), others, prediction)
    erased = path / "model" if run is not None else locate(options.model, others or str(original), options.prediction_type)
    expected = read_provenance(erased).get("source_sha256")
    same = expected is None or network_hash(edited_part(original)) == expected
    if not same and options.original is None:
        raise InputError(f"{original} is not the model that {path} was made from, it has changed since; give that one with --original")
    trained = path / "weights.safetensors"
    return Subject(original, erased, run, trained if run is not None and same and trained.is_file() else None)


def own_factors(subject: Subject) -> dict[str, Pair] | None:
    """The factors that a run with --lora-rank has trained, by layer; None for other runs, and where the original is another one."""
    from erase.checkpoints.lora.read import read_small

    path = subject.run.folder / RUN_FACTORS if subject.run is not None else None
    if path is None or subject.trained is None or not path.is_file():
        return None
    return {layer: (up.flatten(1), down.flatten(1)) for layer, (up, down) in read_small(path, subject.original).pairs().items()}


def _summary(written: Written) -> str:
    length = written.path.stat().st_size
    size = f"{length / 2**20:.1f} MiB" if length >= 2**20 else f"{length / 2**10:.0f} KiB"
    if written.form == "difference":
        exact = "every bit" if not written.inexact else f"all but {written.inexact} entries to the bit"
        return f"{written.form} in {written.path} ({size}, {len(written.layers)} tensors, {exact})"
    ranks = sorted({row.rank for row in written.layers if row.rank})
    rank = f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {ranks[0]} to {ranks[-1]}"
    return f"{written.form} in {written.path} ({size}, {rank}, {written.kept:.1f} % of the norm of the change)"


def _loading(written: Written) -> list[str]:
    lines = [line.format(stem=written.path.stem, path=written.path.name) for line in LOADING[written.form]]
    outside = [row.layer for row in written.layers if row.rank and "_blocks." not in row.layer]
    what = "every layer of Stable Diffusion 3.x" if written.family == "sd3" else f"FLUX.1's {', '.join(outside)}" if outside else ""
    if written.form == "lora" and written.family in ("sd3", "flux") and what:
        lines = [line for line in lines if not line.startswith("diffusers")] + [PASSED_OVER.format(what=what)]
    return lines


def _loss(written: Written) -> str:
    lost = f", {len(written.left_out)} biases and norms have no place in it" if written.left_out else ""
    remedy = "the whole change: --format difference; a larger LoRA: --rank or --keep-norm"
    return f"{written.path.name} has {written.kept:.0f} % of the norm of the change{lost}; {remedy}"
