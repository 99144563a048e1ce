"""`erase-concept export`: a model to pass on."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erase.checkpoints import DTYPES, FORMATS
from erase.checkpoints.lora import LORA_FORMATS
from erase.errors import InputError
from erase.files import read_object
from eval.measurement.report_file import read_report
from ui.cli.flags import PROGRAM, Parser
from ui.cli.small_files import add_small_flags, check_small_flags, export_small

if TYPE_CHECKING:
    from erase.concepts import Concept


def export(arguments: list[str]) -> int:
    """Export the model of a finished run, or any model: as a folder, as one file, the UNet alone, or as a small file for the original."""
    examples = f"""examples:
  {PROGRAM} export runs/nudity-1 --format single-file --dtype float16 --output model.safetensors
  {PROGRAM} export model.safetensors --format folder --tokenizer ./clip --output model
  {PROGRAM} export runs/nudity-1 --format folder --output model --push-to-hub OWNER/NAME
  {PROGRAM} export runs/nudity-1 --output model --for eval-unlearn     then: eval-unlearn run --config model-eval-unlearn.json
  {PROGRAM} export runs/demo-star --format lora --rank 16 --output star.safetensors
  {PROGRAM} export runs/demo-star --format difference --output star-difference.safetensors     exact, for ComfyUI, A1111 and Forge

A LoRA or a difference is no protection: whoever has the original leaves it out.
Masks and scores of weights are not exported: knowing which weights were touched helps to bring the concept back (arXiv 2603.06640)."""
    parser = Parser(
        prog=f"{PROGRAM} export", description=export.__doc__, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="run", help="a run folder, a diffusers folder, a .safetensors checkpoint, or a hub name")
    parser.add_argument("--output", type=Path, required=True, help="the folder, or the .safetensors file, to write")
    parser.add_argument("--format", choices=(*FORMATS, *LORA_FORMATS), default="folder", help="what to write (default: folder)")
    parser.add_argument("--dtype", choices=DTYPES, default="source", help="of the weights (default: source, unchanged)")
    parser.add_argument("--tokenizer", help="folder with vocab.json and merges.txt of CLIP, for a .safetensors checkpoint")
    parser.add_argument(
        "--parts", metavar="FOLDER", help="diffusers folder or hub name with what a .safetensors transformer of FLUX.1 or SD 3 lacks"
    )
    parser.add_argument(
        "--prediction-type",
        choices=("epsilon", "v_prediction"),
        help="what a .safetensors checkpoint predicts, if its metadata does not say so",
    )
    parser.add_argument(
        "--push-to-hub", metavar="OWNER/NAME", help="also publish it on the Hugging Face hub, with a model card that has the numbers"
    )
    parser.add_argument("--public", action="store_true", help="make a new repository public (default: private)")
    parser.add_argument(
        "--for", dest="target", choices=("eval-unlearn",), help="also write the configuration of another benchmark beside the folder"
    )
    parser.add_argument("--concept", help="what was erased, for --for; a run folder has its own")
    add_small_flags(parser)
    options = parser.parse_args(arguments)
    small = options.format in LORA_FORMATS
    check_small_flags(options, small)
    if options.target and options.format != "folder":
        raise InputError(f"--for {options.target} measures a pipeline folder, and --format is {options.format}; leave one of the two out")
    if options.concept and not options.target:
        raise InputError("--concept is what --for measures, and --for is missing; leave it out", option="concept")
    subject = _subject(Path(options.model), options.concept) if options.target else None
    if options.public and options.push_to_hub is None:
        raise InputError("--public makes the repository of --push-to-hub public, and --push-to-hub is missing; give both")
    if small:
        return export_small(options)
    from erase.checkpoints.to_single_file import pack
    from erase.diffusion import locate

    folder = locate(str(_model_of(Path(options.model)) or options.model), options.parts or options.tokenizer, options.prediction_type)
    card = _card(Path(options.model), folder, options.output, options.format) if options.push_to_hub else ""
    pack(folder, options.output, options.format, options.dtype)
    print(f"{options.format} in {options.output}")
    if subject is not None:
        from eval.measurement.eval_unlearn import write_configuration

        path = write_configuration(options.output, *subject)
        print(f"configuration in {path}\nnext: eval-unlearn run --config {shlex.quote(str(path))}")
    if options.push_to_hub:
        from erase.checkpoints.hub import push

        print(f"published at {push(options.output, options.push_to_hub, card, options.public)}")
    return 0


def _subject(run: Path, concept: str | None) -> tuple[Concept, Mapping[str, Any]]:
    """The concept that was erased, and how the run's images were drawn; InputError where it is not known."""
    from erase.concepts import load_concept
    from erase.concepts.record import concept_of
    from erase.run import Run

    options = Run.read(run).options if (run / "options.json").is_file() else {}
    sampling = options.get("sampling") or {}
    if concept is not None:
        return load_concept(concept, options.get("model")), sampling
    if len(options.get("concepts") or [1]) > 1 or "concept_file" not in options:
        raise InputError(f"--for needs the concept that was erased, and {run} does not name one; give it with --concept", option="concept")
    return concept_of(options["concept_file"]), sampling


def _model_of(run: Path) -> Path | None:
    """The finished model of a run folder; None for anything else."""
    if not (run / "options.json").is_file():
        return None
    if not (run / "model" / "model_index.json").is_file():
        raise InputError(f"{run} has no model yet; run its command again, it resumes, or give another folder")
    return run / "model"


def _card(run: Path, folder: Path, output: Path, form: str) -> str:
    """The model card of what is published, with the numbers of the run if it was measured."""
    from erase.checkpoints.folder import read_provenance
    from erase.checkpoints.model_card import absent_parts, model_card
    from eval.rendering.verdict import card

    provenance = read_provenance(folder)
    if not provenance:
        raise InputError(f"--push-to-hub: {folder} holds no erased model; give a run folder or its model")
    reports = [path for path in (run / "report.json", folder.parent / "report.json") if path.is_file()]
    numbers = card(read_report(reports[0])) if reports else ""
    index = read_object(folder / "model_index.json")
    return model_card(provenance, numbers, form, output.name, str(index["_class_name"]), absent_parts(index))
