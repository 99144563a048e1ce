"""The `erase-concept` command: flags made from dataclass fields; strings engine and evaluation together.

`erase-concept --concept star` is the main job; `erase-concept SUBCOMMAND` everything beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from erase.task import Diverged, InputError

PROGRAM = "erase-concept"


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; `{self.prog} --help` shows what is expected")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0 done, 2 wrong input, 1 anything else, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    command: Callable[[list[str]], int] = erase
    if given and given[0] in COMMANDS:
        command = COMMANDS[given.pop(0)]
    elif given and not given[0].startswith("-"):
        return _fail(InputError(f"{given[0]!r} is no command; expected --concept NAME, or one of {', '.join(COMMANDS)}"), 2)
    try:
        return command(given)
    except InputError as error:
        return _fail(error, 2)
    except Diverged as error:
        return _fail(
            f"{error}: the network is as it was before that step, and the run keeps its last checkpoint; "
            "give a smaller --learning-rate or --forget-weight and another --output",
            1,
        )
    except (RuntimeError, MemoryError) as error:
        said = device_error(error)
        if said is None:
            raise
        return _fail(said, 1)
    except KeyboardInterrupt:
        print(f"\n{PROGRAM}: stopped; the same command goes on where it was", file=sys.stderr)
        return 130
    except BrokenPipeError:  # somebody's `| head` has seen enough
        sys.stderr.close()
        return 0


def device_error(error: BaseException) -> str | None:
    """What happened to the device and what to do; None for an error that is not the device's."""
    from erase.micro import out_of_memory

    first = next(iter(str(error).splitlines()), type(error).__name__)[:160]
    resumed = "what is done is kept, and the same command goes on where it stopped"
    if out_of_memory(error):
        less = "--sampling-batch 1 --micro-batch 1 --checkpointing, --dtype bfloat16, a smaller --scope or --size"
        return f"out of memory ({first}); {resumed}; give less at once: {less}"
    if "CUDA" in str(error) or type(error).__name__ == "AcceleratorError":
        return f"the card failed ({first}); {resumed}; if it fails again, check the driver, or give --device cpu"
    return None


def _fail(error: object, status: int) -> int:
    print(f"{PROGRAM}: {' '.join(str(error).split())}", file=sys.stderr)
    return status


# --- flags ----------------------------------------------------------------------------------------------------------


def add_flags(parser: argparse.ArgumentParser | argparse._ArgumentGroup, options: type, skip: Sequence[str] = ()) -> None:
    """One flag for each `option` of a dataclass; left out, it stays None, so that presets can fill it."""
    for item in fields(options):
        if item.name in skip or "help" not in item.metadata:
            continue
        kind = str(item.type).split(" |")[0]
        default = "" if item.default in (None, "") else f" (default: {_shown(item.default)})"
        names = f"--{item.name.replace('_', '-')}"
        text = item.metadata["help"].replace("%", "%%") + default
        if kind == "bool":
            parser.add_argument(names, action=argparse.BooleanOptionalAction, default=None, help=text)
        else:
            types: dict[str, Callable[[str], Any]] = {"int": int, "float": float}
            choices = item.metadata["choices"] or None
            parser.add_argument(
                names, type=types.get(kind, str), choices=choices, default=None, help=text, metavar=None if choices else kind.upper()
            )


def _shown(value: Any) -> str:
    return {True: "on", False: "off"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _method_class(given: Sequence[str]) -> Any:
    """The method whose options become flags: --method decides, before everything else is read."""
    from erase.methods import method_class

    early = Parser(prog=PROGRAM, add_help=False, allow_abbrev=False)
    early.add_argument("--method", default="scissorhands")
    return method_class(early.parse_known_args(list(given))[0].method)


# --- the main job ---------------------------------------------------------------------------------------------------


def erase(given: list[str]) -> int:
    """Erase a concept: pictures, latents, erasing, export, before and after, report."""
    job, values, as_json = _job(
        PROGRAM,
        given,
        description="Take a concept out of a text-to-image model, and show that it is gone.",
        epilog=f"""examples:
  {PROGRAM} --concept star                         the embedded model, minutes on a CPU
  {PROGRAM} --concept nudity --device cuda         Stable Diffusion v1.4 from the hub
  {PROGRAM} --concept "Van Gogh style" --model ./my-model --steps 200

other commands: {", ".join(COMMANDS)}; `{PROGRAM} COMMAND --help` explains each.""",
    )
    return _run(job, values, as_json)


def _job(program: str, given: list[str], description: str, epilog: str) -> tuple[Any, dict[str, Any], bool]:
    """What the flags of the main job say: the job, the options of the method, and whether to print JSON."""
    from erase.job import Job
    from erase.several import JOINT

    parser = Parser(
        prog=program, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, description=description, epilog=epilog
    )
    method = _method_class(given)
    group = parser.add_argument_group("the job")
    about = next(item.metadata["help"] for item in fields(Job) if item.name == "concept")
    group.add_argument("--concept", action="append", metavar="STR", help=about)
    add_flags(group, Job, skip=("concept",))
    add_flags(parser.add_argument_group(f"options of {method.__name__} (a preset is a set of values for these)"), method)
    parser.add_argument("--json", action="store_true", help="print JSON")
    values = vars(parser.parse_args(given))
    as_json = values.pop("json")
    values["concept"] = JOINT.join(text.strip() for text in values["concept"] or [])
    names = {item.name for item in fields(Job)}
    job = Job(**{name: value for name, value in values.items() if name in names and value is not None})
    if not job.concept.strip():
        raise InputError("--concept is missing; give a name (`erase-concept concepts` lists them) or a few words")
    return job, {name: value for name, value in values.items() if name not in names and value is not None}, as_json


def estimate(given: list[str]) -> int:
    """Say what a job would take in time, memory and disk, without starting it; takes the flags of the main job."""
    from erase.estimate import estimate as estimated
    from erase.estimate import lines

    example = f"example: {PROGRAM} estimate --concept nudity --device cuda --dtype bfloat16"
    job, values, as_json = _job(f"{PROGRAM} estimate", given, str(estimate.__doc__), example)
    _quiet_libraries()
    found = estimated(job, values)
    print(json.dumps(found, indent=1) if as_json else lines(found))
    return 0


def _run(job: Any, values: dict[str, Any], as_json: bool) -> int:
    from erase.export import write_card
    from erase.job import Event
    from erase.pipeline import erase_concept
    from erase.processes import processes
    from eval.card import card
    from eval.report import evaluate_run, table

    with Display() as display:
        folder = erase_concept(job, values, display)
        if processes()[0] > 0:  # measuring is little work beside drawing: the first process does it
            return 0
        report = evaluate_run(folder, lambda done, total: display(Event("measure", done, total)))
    write_card(folder / "model", card(report))
    if as_json:
        print(json.dumps(report, indent=1, ensure_ascii=False))
        return 0
    print(table(report))
    print(f"\n{_results(folder)}\nmodel     {folder / 'model'}")
    print(f"\nnext: {PROGRAM} generate {folder / 'model'} --prompt {_example(folder)!r} --output pictures")
    return 0


def _example(folder: Path) -> str:
    from erase.run import read_lines

    rows = read_lines(folder / "samples" / "prompts.jsonl")
    return str(rows[0]["text"]) if rows else "a picture"


@cache
def _quiet_libraries() -> None:
    """Warnings of the libraries about themselves do not belong between our lines."""
    import warnings

    from erase.operators import declare_operators

    declare_operators()
    import diffusers
    import huggingface_hub
    import transformers

    huggingface_hub.utils.logging.set_verbosity_error()  # its five attempts without a network
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning)


class Display:
    """Progress bars on a terminal, one line a stage when it is done; silent elsewhere."""

    TITLES: ClassVar[dict[str, str]] = {
        "memory": "memory",
        "disk": "disk",
        "images": "pictures to forget and to keep",
        "before": "what the original draws",
        "latents": "latents and text embeddings",
        "predictions": "what the original predicts",
        "erase": "score, trim, repair",
        "export": "write the model",
        "after": "what the erased model draws",
        "measure": "measure the pictures",
    }

    def __init__(self, libraries: bool = True) -> None:
        self.libraries = libraries
        self.bar: Any = None
        self.stage = ""
        self.shown = sys.stderr.isatty() and not int(os.environ.get("RANK", 0))  # of several processes the first one speaks

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def __call__(self, event: Any) -> None:
        if self.libraries:
            _quiet_libraries()  # only now, with the input checked: it takes seconds
        if not self.shown:
            return
        if event.note:
            self._close()
            print(f"{self.TITLES.get(event.stage, event.stage):34} {event.note}", file=sys.stderr)
        elif event.total:
            self._advance(event)

    def _advance(self, event: Any) -> None:
        from tqdm import tqdm

        if self.bar is None or self.stage != event.stage:
            self._close()
            title = self.TITLES.get(event.stage, event.stage)
            self.bar, self.stage = (
                tqdm(total=event.total, desc=f"{title:34}", leave=False, dynamic_ncols=True, initial=event.done),
                event.stage,
            )
        if event.step is not None:
            s = event.step
            mark = " projected" if s.projected else ""
            self.bar.set_postfix_str(f"retain {s.retain_loss:.4f} unlearn {s.unlearn_loss:.4f}{mark}", refresh=False)
        self.bar.update(event.done - self.bar.n)

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


# --- beside the main job --------------------------------------------------------------------------------------------


def concepts(given: list[str]) -> int:
    """List the concept files, or show the prompts of one concept."""
    from erase.concepts import ROLES, list_concepts, load_concept, prompts

    parser = Parser(prog=f"{PROGRAM} concepts", description=concepts.__doc__, epilog=f"example: {PROGRAM} concepts star --count 3")
    parser.add_argument("concept", nargs="?", help="show the prompts of this one: a name, a .toml file or plain words")
    parser.add_argument("--model", help="the model that it is meant for, as for the main job")
    parser.add_argument("--count", type=int, default=5, help="prompts of each role (default: 5)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(given)
    if options.count < 0:
        raise InputError(f"--count is {options.count}; expected at least 0")
    if options.concept is None:
        rows = [{"name": c.name, "domain": c.domain, "model": c.model, "detector": c.detector, "about": c.about} for c in list_concepts()]
        _print_rows(rows, options.json)
        return 0
    concept = load_concept(options.concept, options.model)
    shown = {role: [p.text for p in prompts(concept, role, options.count)] for role in ROLES}
    shown["anchors"] = [*concept.anchors, *concept.anchor_prompts]
    if options.json:
        print(json.dumps(shown, indent=1, ensure_ascii=False))
        return 0
    print(f"{concept.name} ({concept.domain}; model {concept.model}): {concept.about}")
    for role, texts in shown.items():
        print(f"\n{role}", *(f"  {text}" for text in texts or ["(none: proposed and tested when the job starts)"]), sep="\n")
    return 0


def methods(given: list[str]) -> int:
    """List the methods, their presets and their options."""
    from erase.methods import CLASSIFIER_METHODS, METHODS, make_method

    parser = Parser(prog=f"{PROGRAM} methods", description=methods.__doc__, epilog=f"example: {PROGRAM} methods --json")
    parser.add_argument("--classifiers", action="store_true", help="those of `classify` instead of those for text-to-image models")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(given)
    known = CLASSIFIER_METHODS if options.classifiers else METHODS
    table = {name: {preset: vars(make_method(name, preset, known)) for preset in method.presets} for name, method in known.items()}  # type: ignore[attr-defined]
    for problem in METHODS.problems() if known is METHODS else ():
        print(f"{PROGRAM}: {problem}", file=sys.stderr)
    if options.json:
        print(json.dumps(table, indent=1))
        return 0
    for number, (name, presets) in enumerate(table.items()):
        about = next(iter((sys.modules[known[name].__module__].__doc__ or known[name].__doc__ or "").strip().splitlines()), "")
        print(f"{chr(10) * (number > 0)}{name}: {about}\n")
        print(f"  {'option':22}" + "".join(f"{preset:26}" for preset in presets))
        for key in next(iter(presets.values())):
            print(f"  {key:22}" + "".join(f"{_shown(values[key]):26}" for values in presets.values()))
    return 0


def generate(given: list[str]) -> int:
    """Draw pictures with a model: the original or an erased one."""
    from erase.demo import GUIDANCE, STEPS
    from erase.diffusion import locate, open_model, pick_device
    from erase.images import make_images

    example = f'example: {PROGRAM} generate demo --prompt "a striped red star" --count 8 --output pictures'
    parser = Parser(prog=f"{PROGRAM} generate", description=generate.__doc__, epilog=example)
    parser.add_argument("model", help="demo, a diffusers folder, a .safetensors checkpoint, or a hub name")
    parser.add_argument("--prompt", action="append", required=True, help="what to draw; may be given several times")
    parser.add_argument("--output", type=Path, required=True, help="folder for the pictures and manifest.jsonl")
    parser.add_argument("--count", type=int, default=4, help="pictures a prompt (default: 4)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="denoising steps (default: 25 for the embedded model, else 50)")
    parser.add_argument("--guidance", type=float, help="classifier-free guidance (default: 4 for the embedded model, else 7.5)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--tokenizer", help="folder with vocab.json and merges.txt of CLIP, for a .safetensors checkpoint")
    parser.add_argument("--prediction-type", choices=("epsilon", "v_prediction"), help="of a .safetensors checkpoint that does not say it")
    options = parser.parse_args(given)
    if options.count < 1 or not all(p.strip() for p in options.prompt):
        raise InputError("--count must be at least 1 and no --prompt empty")
    if options.steps is not None and options.steps < 1:
        raise InputError(f"--steps is {options.steps}; expected at least 1")
    if options.guidance is not None and not 0 <= options.guidance < float("inf"):
        raise InputError(f"--guidance is {options.guidance}; expected a number from 0 up")
    _quiet_libraries()
    model = open_model(locate(options.model, options.tokenizer, options.prediction_type), pick_device(options.device))
    small = model.size <= 128
    sample = model.sampler(
        options.steps or (STEPS if small else 50), options.guidance if options.guidance is not None else GUIDANCE if small else 7.5
    )
    texts = [text for text in options.prompt for _ in range(options.count)]
    from erase.job import Event

    with Display() as display:
        made = make_images(options.output, texts, options.seed, sample, 16 if small else 4, lambda d, n: display(Event("pictures", d, n)))
    print(f"{len(made)} pictures in {options.output}")
    return 0


def export(given: list[str]) -> int:
    """Write a finished run's model, or any model, for others: a folder, one file in the original layout, or the UNet alone."""
    from erase.pack import DTYPES, FORMATS, pack

    examples = f"""examples:
  {PROGRAM} export runs/nudity-1 --format single-file --dtype float16 --output model.safetensors
  {PROGRAM} export model.safetensors --format folder --tokenizer ./clip --output model
  {PROGRAM} export runs/nudity-1 --format folder --output model --push-to-hub OWNER/NAME

Masks and scores of weights are not exported: knowing which weights were touched helps to bring the concept back (arXiv 2603.06640)."""
    parser = Parser(
        prog=f"{PROGRAM} export", description=export.__doc__, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="run", help="a run folder, a diffusers folder, a .safetensors checkpoint, or a hub name")
    parser.add_argument("--output", type=Path, required=True, help="the folder, or the .safetensors file, to write")
    parser.add_argument("--format", choices=FORMATS, default="folder", help="what to write (default: folder)")
    parser.add_argument("--dtype", choices=tuple(DTYPES), default="source", help="of the weights (default: source, bit by bit)")
    parser.add_argument("--tokenizer", help="folder with vocab.json and merges.txt of CLIP, for a .safetensors checkpoint")
    parser.add_argument("--prediction-type", choices=("epsilon", "v_prediction"), help="of a .safetensors checkpoint that does not say it")
    parser.add_argument("--push-to-hub", metavar="OWNER/NAME", help="publish it there too, with a model card that carries the numbers")
    parser.add_argument("--public", action="store_true", help="a new repository for everyone to see (default: private)")
    options = parser.parse_args(given)
    if options.public and options.push_to_hub is None:
        raise InputError("--public says who sees the repository of --push-to-hub, which is not given; give both")
    from erase.diffusion import locate

    folder = _model_of(Path(options.model)) or locate(options.model, options.tokenizer, options.prediction_type)
    card = _card(Path(options.model), folder, options.output, options.format) if options.push_to_hub else ""
    pack(folder, options.output, options.format, options.dtype)
    print(f"{options.format} in {options.output}")
    if options.push_to_hub:
        from erase.hub import push

        print(f"published at {push(options.output, options.push_to_hub, card, options.public)}")
    return 0


def _model_of(run: Path) -> Path | None:
    """The finished model of a run folder; None for what is no run folder."""
    if not (run / "options.json").is_file():
        return None
    if not (run / "model" / "model_index.json").is_file():
        raise InputError(f"{run} has no model yet; give the command of this run again, it goes on, or give another folder")
    return run / "model"


def _card(run: Path, folder: Path, output: Path, form: str) -> str:
    """The model card of what is published, with the numbers of the run where they are there."""
    from erase.export import model_card, read_provenance
    from eval.card import card

    made = read_provenance(folder)
    if not made:
        raise InputError(f"--push-to-hub: {folder} holds no erased model; give a run folder or its model")
    reports = [path for path in (run / "report.json", folder.parent / "report.json") if path.is_file()]
    measured = card(json.loads(reports[0].read_text(encoding="utf-8"))) if reports else ""
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    return model_card(made, measured, form, output.name, str(index["_class_name"]))


def evaluate(given: list[str]) -> int:
    """Measure a finished run again, or any model against its original, by the concept's prompts or a named protocol."""
    from erase.processes import processes
    from eval.evaluate import Evaluation
    from eval.evaluate import evaluate as measure
    from eval.report import table

    examples = f"""examples:
  {PROGRAM} evaluate runs/star-demo-scissorhands-1                        the run's own pictures again
  {PROGRAM} evaluate runs/star-demo-scissorhands-1 --protocol demo        new pictures, as the protocol says
  {PROGRAM} evaluate ./erased --original CompVis/stable-diffusion-v1-4 --concept nudity --protocol i2p-nudity --prompts i2p.csv
  {PROGRAM} evaluate --before pictures/a --after pictures/b --concept nudity"""
    parser = Parser(
        prog=f"{PROGRAM} evaluate", description=evaluate.__doc__, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="", help="a run folder, a pipeline folder, a .safetensors checkpoint, or a hub name")
    add_flags(parser, Evaluation, skip=("model",))
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    values = vars(parser.parse_args(given))
    as_json = values.pop("json")
    job = Evaluation(**{name: value for name, value in values.items() if value is not None})
    if not job.model and job.before is None:
        raise InputError("nothing to measure; give a run folder, a model, or two folders of pictures with --before and --after")
    from erase.job import Event

    _quiet_libraries()
    with Display() as display:
        folder = measure(job, lambda stage, done, total: display(Event(stage, done, total)))
    if processes()[0] > 0:
        return 0
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    print(json.dumps(report, indent=1, ensure_ascii=False) if as_json else f"{table(report)}\n\n{_results(folder)}")
    return 0


def _results(folder: Path) -> str:
    return f"pictures  {folder / 'comparison.png'}\nreport    {folder / 'report.html'}"


def compare(given: list[str]) -> int:
    """Put runs and evaluations into one table, and forgetting against keeping into one picture."""
    from eval.compare import as_csv, as_json, as_table, scatter_svg
    from eval.compare import compare as rows_of

    example = f"example: {PROGRAM} compare runs/star-* --scatter forgetting.svg"
    parser = Parser(prog=f"{PROGRAM} compare", description=compare.__doc__, epilog=example)
    parser.add_argument("runs", nargs="+", type=Path, help="folders with a report.json")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--json", action="store_true", help="print JSON")
    kind.add_argument("--csv", action="store_true", help="print CSV")
    parser.add_argument("--scatter", type=Path, help="write the picture to this .svg file")
    options = parser.parse_args(given)
    rows = rows_of(options.runs)
    print((as_json if options.json else as_csv if options.csv else as_table)(rows))
    if options.scatter is not None:
        from erase.files import written

        with written(options.scatter) as part:
            part.write_text(scatter_svg(rows), encoding="utf-8")
    return 0


def bench(given: list[str]) -> int:
    """Put methods side by side on the same model, prompts and seeds, and beside a model that was trained without the concept."""
    from erase.bench import OWN
    from erase.job import Job
    from erase.methods import METHODS
    from erase.relearning import Relearning

    examples = f"""examples:
  {PROGRAM} bench --concepts heart --methods scissorhands scissorhands:preset=paper           on the embedded model
  {PROGRAM} bench --concepts heart blue --methods all --seeds 3 --gold heart=./without-heart --relearn 80
  {PROGRAM} bench runs/star-demo-scissorhands-1 runs/star-demo-scissorhands-2                    runs that are there already

A row is a method, or METHOD:option=value,... The same command goes on where it stopped; rows, concepts and seeds may be added."""
    parser = Parser(
        prog=f"{PROGRAM} bench", description=bench.__doc__, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="*", type=Path, help="finished run folders to put side by side, instead of making runs")
    parser.add_argument("--concepts", nargs="+", default=[], help="what to erase, each in runs of its own")
    parser.add_argument("--methods", nargs="+", help=f"all, or some of {', '.join(METHODS)} (default: all)")
    parser.add_argument("--seeds", type=int, help="how often everything is repeated (default: 1)")
    parser.add_argument("--first-seed", type=int, help="the first of these seeds (default: 0)")
    parser.add_argument(
        "--gold", nargs="+", default=[], metavar="CONCEPT=DIR", help="models that were trained without a concept: what the others aim for"
    )
    parser.add_argument("--output", type=Path, help="folder of the bench; by default runs/bench-<model>-<concepts>")
    parser.add_argument("--overwrite", action="store_true", help="start anew in a folder that holds another bench")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    add_flags(parser.add_argument_group("relearning"), Relearning)
    add_flags(parser.add_argument_group("of every run, as in the main job"), Job, skip=OWN)
    options = parser.parse_args(given)
    said = {name: value for name, value in vars(options).items() if value is not None}
    relearning = Relearning(**{item.name: said[item.name] for item in fields(Relearning) if item.name in said})
    shared = {item.name: said[item.name] for item in fields(Job) if item.name in said and item.name not in OWN}
    with Display() as display:
        made = (_bench_runs if options.runs else _bench_made)(options, shared, relearning, display)
    return _bench_report(*made, options.json, [PROGRAM, "bench", *given])


Made = tuple[Path, list[Any], dict[str, Any]]  # folder, cells, and what the protocol says of the rows


def _bench_made(options: argparse.Namespace, shared: dict[str, Any], relearning: Any, display: Display) -> Made:
    """A bench with runs of its own."""
    from erase.bench import Bench, facts, filled, slug
    from erase.bench import bench as run_all
    from erase.entries import entries
    from erase.job import Job
    from erase.methods import METHODS
    from erase.pipeline import RUNS

    if not options.concepts:
        raise InputError("--concepts is missing; give names (`erase-concept concepts` lists them), or finished run folders")
    seeds, first = (1 if options.seeds is None else options.seeds), options.first_seed or 0
    if seeds < 1 or first < 0:
        raise InputError(f"--seeds is {seeds} and --first-seed {first}; expected at least 1 and at least 0")
    gold = dict(_named(text) for text in options.gold)
    rows = tuple(entries(options.methods or ["all"], METHODS))
    plan = filled(Bench(Job(**shared), tuple(options.concepts), rows, tuple(range(first, first + seeds)), gold, relearning))
    folder = options.output or RUNS / slug("bench", Path(str(plan.job.model)).name, *plan.concepts)
    cells = run_all(plan, folder, partial(_measured, display), display, options.overwrite)
    return folder, cells, facts(plan)


def _named(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals or not name or not path:
        raise InputError(f"--gold {text} is no CONCEPT=DIR; expected e.g. heart=./without-heart")
    return name, Path(path).expanduser()


def _bench_runs(options: argparse.Namespace, shared: dict[str, Any], relearning: Any, display: Display) -> Made:
    """A bench of runs that are there already."""
    from erase.bench import relearned
    from erase.bench_runs import cells_of, facts_of
    from erase.pipeline import RUNS
    from erase.run import Run

    asked = [name for name in ("concepts", "methods", "seeds", "first_seed", "gold") if getattr(options, name)]
    if asked or shared:
        name = [*asked, *shared][0].replace("_", "-")
        raise InputError(f"--{name} is for a bench that makes its runs, and run folders were given; leave one of the two out")
    cells = cells_of(options.runs)
    folder = options.output or RUNS / "bench-runs"
    for cell in cells:
        if relearning.relearn:
            relearned(Run.read(cell.folder), cell.folder / "model", relearning, display)
        _measured(display, cell.folder)
    return folder, cells, facts_of(cells)


def _measured(display: Display, folder: Path) -> None:
    """report.json of a run, where it is not there or older than the pictures."""
    from erase.job import Event
    from eval.report import evaluate_run

    made, told = folder / "samples" / "after" / "manifest.jsonl", folder / "report.json"
    if not told.is_file() or told.stat().st_mtime < made.stat().st_mtime:
        evaluate_run(folder, lambda done, total: display(Event("measure", done, total)))


def _bench_report(folder: Path, cells: list[Any], facts: dict[str, Any], as_json: bool, words: list[str]) -> int:
    """Everything that is written and printed of a bench; 1 where every run failed."""
    from eval.bench import protocol_of, report
    from eval.bench_line import lines_of_cells
    from eval.bench_report import command, write
    from eval.bench_tables import table

    lines = lines_of_cells(cells)
    found = report(lines, {"command": command(words), **protocol_of(lines), **facts})
    write(folder, found, lines)
    if as_json:
        print((folder / "report.json").read_text(encoding="utf-8"), end="")
    else:
        print(f"{table(found)}\n\nreport    {folder / 'report.html'}")
    return 0 if any(not cell.failure for cell in cells) else 1


def sweep(given: list[str]) -> int:
    """Try settings of a method on a few concepts, and say which one forgets and keeps best. The same command goes on where it stopped."""
    from erase.bench import OWN
    from erase.job import Job
    from erase.pipeline import RUNS
    from erase.sweep import Sweep, space_of

    examples = f"""examples:
  {PROGRAM} sweep --concepts star red --over fraction=0.001,0.005 forget_weight=0.5,1
  {PROGRAM} sweep --concepts star red striped --space space.toml --trials 20 --output runs/sweep

A TOML file has lines such as fraction = [0.001, 0.005]. With --trials so many settings are drawn from the grid, always the same ones; more
may be added. The score of a run is the smaller of forgetting and keeping. Judge the best setting on other concepts."""
    parser = Parser(
        prog=f"{PROGRAM} sweep", description=sweep.__doc__, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--concepts", nargs="+", default=[], help="what settings are tried on, each in runs of its own")
    parser.add_argument("--over", nargs="+", default=[], metavar="NAME=V1,V2", help="options of the method, and their values")
    parser.add_argument("--space", type=Path, metavar="FILE.toml", help="the same in a file: NAME = [V1, V2]")
    parser.add_argument("--trials", type=int, help="so many settings, drawn from all (default: all)")
    parser.add_argument("--draw", type=int, default=0, help="which settings are drawn follows from it (default: 0)")
    parser.add_argument("--seeds", type=int, default=1, help="how often every setting is tried (default: 1)")
    parser.add_argument("--method", default="scissorhands", help="the method whose settings these are (default: scissorhands)")
    parser.add_argument("--preset", default="balanced", help="what the rest of its options are (default: balanced)")
    parser.add_argument("--output", type=Path, default=RUNS / "sweep", help=f"folder of the sweep (default: {RUNS / 'sweep'})")
    parser.add_argument("--overwrite", action="store_true", help="start anew in a folder that holds another sweep")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_flags(parser.add_argument_group("of every run, as in the main job"), Job, skip=(*OWN, "method", "preset"))
    options = parser.parse_args(given)
    if not options.concepts:
        raise InputError("--concepts is missing; give the names of some (`erase-concept concepts` lists them), and keep others to judge by")
    if options.seeds < 1:
        raise InputError(f"--seeds is {options.seeds}; expected at least 1")
    space = space_of(options.over, options.space)
    shared = {item.name: value for item in fields(Job) if item.name not in OWN and (value := getattr(options, item.name, None)) is not None}
    job = Job(**{**shared, "method": options.method, "preset": options.preset})
    plan = Sweep(job, tuple(options.concepts), space, tuple(range(options.seeds)), options.trials, options.draw)
    return _sweep(plan, options)


def _sweep(plan: Any, options: argparse.Namespace) -> int:
    from erase.files import write_json, written
    from erase.sweep import flags
    from erase.sweep import sweep as try_all
    from eval.sweep import SCORE, scatter_svg, table, trials

    with Display() as display:
        cells = try_all(plan, options.output, partial(_measured, display), display, options.overwrite)
    reports = {c: json.loads((c.folder / "report.json").read_text(encoding="utf-8")) for c in cells if not c.failure}
    found = trials([(c.label, {"concept": c.concept, "seed": c.seed, "folder": str(c.folder)}, reports.get(c), c.failure) for c in cells])
    best = next((trial["label"] for trial in found if trial["score"] is not None), None)
    protocol: dict[str, Any] = next((report["protocol"] for report in reports.values()), {})
    record = {
        "kind": "sweep", "score": SCORE, "concepts": list(dict.fromkeys(c.concept for c in cells)), "seeds": list(plan.seeds),
        "space": {name: list(values) for name, values in plan.space.items()}, "settings": plan.grid, "tried": len(found),
        "best": best, "flags": flags(best) if best else None, "trials": found, "protocol": protocol,
    }  # fmt: skip
    write_json(options.output / "sweep.json", record)
    if best:
        with written(options.output / "sweep.svg") as part:
            part.write_text(scatter_svg(found), encoding="utf-8")
    if options.json:
        print(json.dumps(record, indent=1, ensure_ascii=False))
        return 0 if best else 1
    print(f"{table(found)}\n\nscore: {SCORE}\nsettings tried: {len(found)} of {plan.grid}, on {', '.join(record['concepts'])}")
    print(f"best:  {record['flags']}\nscatter   {options.output / 'sweep.svg'}" if best else "no setting came through")
    if best:
        print(f"\nnext, on concepts that this never saw: {PROGRAM} bench --concepts NAME ... --methods {best}")
    return 0 if best else 1


def protocols(given: list[str]) -> int:
    """List the protocols that `evaluate --protocol` knows, or show all that one of them fixes."""
    from eval.protocols import list_protocols, load_protocol

    parser = Parser(prog=f"{PROGRAM} protocols", description=protocols.__doc__, epilog=f"example: {PROGRAM} protocols i2p-nudity")
    parser.add_argument("protocol", nargs="?", help="show this one: a name or a .toml file")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(given)
    if options.protocol is None:
        _print_rows([{"name": p.name, "pictures": p.pictures, "model": p.model, "about": p.about} for p in list_protocols()], options.json)
        return 0
    print(json.dumps(load_protocol(options.protocol).record(), indent=1, ensure_ascii=False))
    return 0


def classify(given: list[str]) -> int:
    """Unlearn in classifiers: every method beside retraining, over seeds, as one table."""
    from erase.classify import ABLATION, Classify, entries
    from erase.methods import CLASSIFIER_METHODS
    from erase.requests import FORMS

    examples = f"""examples:
  {PROGRAM} classify --dataset digits --train-samples 100 --forget random:10%        minutes on a CPU
  {PROGRAM} classify --dataset shapes --forget class:"red star" --methods scissorhands salun --seeds 3
  {PROGRAM} classify --dataset ./people --size 64 --forget ids:takedown.csv --methods scissorhands --export scissorhands
  {PROGRAM} classify --dataset digits --methods scissorhands:fraction=0.01 scissorhands:fraction=0.1,projected=false

A row is a method, or METHOD:option=value,... The same command goes on where it stopped; more methods and seeds may be added to a folder."""
    parser = Parser(
        prog=f"{PROGRAM} classify", description=classify.__doc__, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_flags(parser, Classify)
    parser.add_argument(
        "--forget",
        action="append",
        help=f"what to forget: {FORMS}; several, one after another (default: random:10%%)".replace("10%,", "10%%,"),
    )
    parser.add_argument("--methods", nargs="+", default=["all"], help=f"all, or some of {', '.join(CLASSIFIER_METHODS)} (default: all)")
    parser.add_argument(
        "--preset", help="of every method that has it (default: that of the paper for cifar10, cifar100 and svhn, else balanced)"
    )
    parser.add_argument("--ablation", action="store_true", help="also Scissorhands with every initialisation, projected and not")
    parser.add_argument(
        "--tune", action="store_true", help="choose options of every method first, from equally many, on validation samples"
    )
    parser.add_argument("--export", metavar="ROW", help="the row whose network becomes model.safetensors (default: the nearest to retrain)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    values = vars(parser.parse_args(given))
    beside = {name: values.pop(name) for name in ("forget", "methods", "preset", "ablation", "tune", "export", "json")}
    job = Classify(
        **{name: value for name, value in values.items() if value is not None}, forget=tuple(beside["forget"] or ("random:10%",))
    )
    rows = entries([*beside["methods"], *(ABLATION if beside["ablation"] else ())], beside["preset"] or job.dataset)
    if beside["preset"] and beside["preset"] not in {row.preset for row in rows}:
        raise InputError(
            f"--preset {beside['preset']!r} is known to none of these methods; `{PROGRAM} methods --classifiers` lists presets"
        )
    labels = [row.label for row in rows]
    if beside["export"] not in (None, *labels):
        raise InputError(f"--export {beside['export']} is no row of this table; expected one of {', '.join(labels)}")
    return _classify(job, rows, beside)


def _classify(job: Any, rows: Any, beside: dict[str, Any]) -> int:
    from dataclasses import replace

    from erase.pipeline import RUNS
    from erase.run import next_run_folder
    from erase.unlearning import export_model, unlearn_all
    from eval.classify import measurement, ranked, report_of
    from eval.classify_report import table, write

    job = replace(job, output=job.output or str(next_run_folder(RUNS, "classify", job.dataset, "-".join(job.forget))))
    facts: dict[str, Any] = {}
    with Display(libraries=False) as display:
        if beside["tune"]:
            rows, facts["tuning"] = _tune(job, rows, display)
        folder = unlearn_all(job, rows, measurement(job.relearn, job.relearn_rate, job.references), display)
    report = report_of(folder, **facts)
    order = [str(row["label"]) for row in ranked(report["methods"])]
    write(folder, report, _gradcam(job, list(dict.fromkeys(("original", "retrain", *order[:1], "scissorhands")))))
    chosen = beside["export"] or next(iter(order), None)
    facts = {"report": [row for row in report["methods"] if row["label"] == chosen]}
    model = export_model(job, chosen, folder / "model.safetensors", facts) if chosen else None
    if beside["json"]:
        print(json.dumps(report, indent=1, ensure_ascii=False))
        return 0
    print(f"{table(report)}\n\nreport    {folder / 'report.html'}")
    print(f"model     {model} ({chosen}, seed {job.first_seed})" if model else "no method came through, so there is no model")
    return 0


def _tune(job: Any, rows: Any, display: Display) -> tuple[Any, dict[str, Any]]:
    """The rows with the options that came nearest to retrain on validation samples, and what was tried."""
    from dataclasses import replace

    from erase.classify import TUNING_SEED, TUNING_SEEDS, tried
    from erase.unlearning import unlearn_all
    from eval.classify import measurement, ranked, report_of

    folder = Path(f"{job.output}-tuning")
    aside = {"output": str(folder), "on": "validation", "first_seed": TUNING_SEED, "seeds": TUNING_SEEDS, "relearn": 0, "references": 0}
    candidates = {row.label: tried(row) for row in rows}
    every = [one for found in candidates.values() for one in found]
    unlearn_all(replace(job, **aside), every, measurement(), display)
    measured = ranked(report_of(folder)["methods"])
    places = {str(row["label"]): i for i, row in enumerate(measured)}
    best = {label: min(found, key=lambda one: places.get(one.label, len(places))) for label, found in candidates.items()}
    facts = {
        "on": "validation samples",
        "seeds": list(range(TUNING_SEED, TUNING_SEED + TUNING_SEEDS)),
        "settings_a_method": max(map(len, candidates.values())),
        "chosen": {label: dict(one.values) for label, one in best.items()},
    }
    return [replace(one, label=label) for label, one in best.items()], facts


def _gradcam(job: Any, labels: list[str]) -> list[Path]:
    """The sheet of the first seed; none where the network has no convolution."""
    from erase.unlearning import networks
    from eval.gradcam import SHOWN, Column, sheet

    case, found = networks(job, labels, job.first_seed)
    columns = [Column(name, int(row)) for name in ("forget", "retain") for row in getattr(case, name)[:SHOWN]]
    try:
        sheet(path := Path(job.output) / "gradcam.png", found, case.training, columns)
    except InputError:
        return []
    return [path]


def ui(given: list[str]) -> int:
    """Open the web page: compare, erase, read the evidence. On this machine only, unless told otherwise."""
    from ui.page import serve

    examples = f"""examples:
  {PROGRAM} ui                                             this machine only
  {PROGRAM} ui --runs runs --models ~/models                models that may be typed into the page
  {PROGRAM} ui --host 0.0.0.0 --auth passwords.txt          the whole network, with a password"""
    parser = Parser(prog=f"{PROGRAM} ui", description=ui.__doc__, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of run folders (default: runs)")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1); any other than loopback needs --auth"
    )
    parser.add_argument("--port", type=int, help="port (default: the first free one from 7860)")
    parser.add_argument("--share", action="store_true", help="a public address through gradio's servers; needs --auth")
    parser.add_argument(
        "--auth", metavar="USER:PASSWORD", help="who may see the page; or a file with one a line, which no process list shows"
    )
    parser.add_argument(
        "--models", action="append", default=[], metavar="DIR", help="a folder that may be typed into the page, or a hub name"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--memory", type=float, default=4.0, metavar="GIB", help="of models kept loaded for comparing (default: 4)")
    options = parser.parse_args(given)
    folders, names = _allowed(options.models)
    if not 0 < options.memory < 4096:
        raise InputError(f"--memory is {options.memory:g}; expected GiB, more than 0")
    from ui.access import read_auth

    serve(
        runs=options.runs, host=options.host, port=options.port, share=options.share, auth=read_auth(options.auth), allowed=folders,
        hub=names, device=options.device, memory=int(options.memory * 2**30),
    )  # fmt: skip
    return 0


def _allowed(given: Sequence[str]) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Folders, and names on the hub; InputError for what is neither."""
    from ui.access import HUB

    folders = [Path(text).expanduser() for text in given if Path(text).expanduser().is_dir()]
    names = [text for text in given if not Path(text).expanduser().is_dir()]
    for name in names:
        if not HUB.fullmatch(name):
            raise InputError(f"--models {name} is not there; expected a folder, or OWNER/NAME of the hub")
    return tuple(folders), tuple(names)


def _print_rows(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    widths = {key: max(len(key), *(len(str(row[key])) for row in rows)) for key in rows[0]}
    for row in [{key: key for key in widths}, *rows]:
        print("  ".join(f"{row[key]!s:{width}}" for key, width in widths.items()).rstrip())


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "concepts": concepts,
    "methods": methods,
    "estimate": estimate,
    "generate": generate,
    "evaluate": evaluate,
    "export": export,
    "compare": compare,
    "bench": bench,
    "sweep": sweep,
    "classify": classify,
    "protocols": protocols,
    "ui": ui,
}


if __name__ == "__main__":
    sys.exit(main())
