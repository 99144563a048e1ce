"""Whatever a file or an option holds: status 0 with a result, or 2 with one line. Never a traceback, more than a minute or 2 GB, or a
changed file that was there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import fuzzing
import pytest
from fuzzing import HOSTILE, Case, break_header, break_image, break_json, break_lines, broken, command, problems, reader
from offline import no_network
from page_runs import measured_run
from PIL import Image
from tiny_pipeline import build_family

from erase.checkpoints.to_single_file import pack
from erase.classifiers.datasets import Data, load_data
from erase.classifiers.forget_sets import requested_rows
from erase.concepts.files import prompts_folder, read_concept
from erase.concepts.prompt_csv import read_prompt_csv
from erase.files import write_json
from erase.images import open_picture, read_images
from erase.methods import METHODS
from erase.pipeline.job import Job
from erase.run import lines_of, read_lines
from eval.attacks.options import Campaign
from eval.bench.paper.plan import Reproduction
from eval.bench.sweep import space_of
from eval.classifiers.options import Classify
from eval.options import Evaluation
from eval.prompt_sets import read_prompt_set
from eval.protocols import read_protocol
from ui.cli.generate import Generation

SEED = 20261130
QUICK, MANY, PART = 60, 5000, 250  # cases of each kind in `make test`; of all kinds under the marker slow, and at once
GIB = 2**30


class World:
    """Good files of every kind below `folder`; what commands write goes to `folder/out`."""

    def __init__(self, folder: Path, pipeline: Path) -> None:
        self.folder, self.out = folder, folder / "out"
        self.out.mkdir()
        self.model = Path(shutil.copytree(pipeline, folder / "model"))
        self.single = pack(build_family("sd1", folder / "sd1"), folder / "single.safetensors")
        self.runs = [measured_run(folder, name) for name in ("star-1", "star-2")]
        records = [{"index": i, "role": "evaluate", "ok_before": False, "ok_after": True} for i in range(3)]
        shutil.copytree(pipeline, self.runs[0] / "model")
        for run in self.runs:
            rows = [{"index": i, **row} for i, row in enumerate(read_lines(run / "samples" / "prompts.jsonl"))]
            (run / "samples" / "prompts.jsonl").write_text(lines_of(rows))
            write_json(run / "anchor.json", {"anchors": ["circle"], "tested": {"circle": 0.5}})
            write_json(run / "stages.json", {"erase": {"seconds": 1.5, "peak_bytes": 10}})
            (run / "records.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        self.images = folder / "images"
        self.images.mkdir()
        for i, kind in enumerate(("png", "jpg", "webp")):
            Image.new("RGB", (24, 16), "red").save(self.images / f"{i}.{kind}")
        rows = ("file,prompt", "0.png,a star", '1.jpg,"a ring, red"', "2.webp,é")
        texts = {
            "captions.csv": "\n".join(rows),
            "captions.jsonl": '{"file": "0.png", "prompt": "a"}\n{"file": "1.jpg", "prompt": "b"}\n{"file": "2.webp", "prompt": "c"}\n',
            "prompts.csv": "prompt,role,seed\na star,evaluate,1\na ring,evaluate-retain,2\n",
            "prompts.tsv": "prompt\tseed\na star\t1\na ring\t2\n",
            "space.toml": 'fraction = [0.001, 0.005]\nscope = ["full", "cross-attention"]\n',
        }
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        shutil.copy(prompts_folder() / "star.toml", folder / "star.toml")
        shutil.copy(prompts_folder() / "protocols" / "scenes.toml", folder / "protocol.toml")
        self.count = 0

    def output(self, suffix: str = "") -> Path:
        """A new name to write to."""
        self.count += 1
        return self.out / f"{self.count}{suffix}"

    def clean(self) -> None:
        """Delete what a command has written."""
        for path in self.out.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.fixture(scope="module")
def world(tiny_pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("fuzz"), tiny_pipeline)
    with pytest.MonkeyPatch.context() as patch:
        no_network(patch, made.folder)
        patch.setenv("XDG_CACHE_HOME", str(made.out / "cache"))
        yield made


Kind = Callable[[World, Random], "Iterator[Case]"]


@contextmanager
def header(world: World, random: Random) -> Iterator[Case]:
    """Weights of a model folder, and a single file."""
    single = random.random() < 0.4
    path = world.single if single else random.choice(sorted(world.model.rglob("*.safetensors")))
    form = random.choice(["folder", "unet", "single-file"])
    target = world.output(".safetensors" if form != "folder" else "")
    tokenizer = ["--tokenizer", world.model / "tokenizer"]
    with broken(path, break_header(path.read_bytes(), random)):
        yield Case(
            f"header of {path.parent.name}",
            command("export", path if single else world.model, "--format", form, "--output", target, *(tokenizer if single else [])),
        )


@contextmanager
def configuration(world: World, random: Random) -> Iterator[Case]:
    """A JSON file of a model folder."""
    path = random.choice(sorted(world.model.rglob("*.json")))
    form = random.choice(["folder", "unet", "single-file"])
    target = world.output(".safetensors" if form != "folder" else "")
    draw = ["generate", world.model, "--prompt", "a star", "--count", "1", "--steps", "1", "--device", "cpu", "--output", world.output()]
    export = ["export", world.model, "--format", form, "--output", target]
    with broken(path, break_json(path.read_bytes(), random)):
        yield Case(f"{path.parent.name}/{path.name}", command(*(draw if random.random() < 0.15 else export)))


RECORDS = "options.json report.json records.jsonl anchor.json stages.json samples/prompts.jsonl samples/after/manifest.jsonl"


@contextmanager
def run_record(world: World, random: Random) -> Iterator[Case]:
    """A record in a run folder."""
    first, second = world.runs
    path = random.choice([first / name for name in RECORDS.split()])
    data = path.read_bytes()
    ways = [
        ["compare", first, second, random.choice(["--csv", "--json"])],
        ["compare", second, first, "--scatter", world.output(".svg")],
        ["export", first, "--output", world.output()],
        ["attack", first, "--estimate"],
        ["estimate", "--concept", "ring", "--model", first, "--device", "cpu"],
    ]
    with broken(path, break_json(data, random) if path.suffix == ".json" else break_lines(data, random)):
        yield Case(f"{path.name}", command(*random.choices(ways, weights=(8, 8, 8, 1, 1))[0]))  # estimates take a second


@contextmanager
def table(world: World, random: Random) -> Iterator[Case]:
    """Captions and prompts."""
    name = random.choice(["captions.csv", "captions.jsonl", "prompts.csv", "prompts.tsv"])
    path = world.folder / name
    readers: dict[str, list[Callable[[], object]]] = {
        "captions.csv": [lambda: read_images(world.images, path), lambda: requested_rows(digits(), [f"ids:{path}"], 0)],
        "captions.jsonl": [lambda: read_images(world.images, path), lambda: read_prompt_set(path)],
        "prompts.csv": [lambda: read_prompt_csv(path), lambda: read_prompt_set(path, role_column="role", seed_columns=["seed"])],
        "prompts.tsv": [lambda: read_prompt_set(path, seed_columns=["seed"])],
    }
    with broken(path, break_lines(path.read_bytes(), random)):
        yield Case(name, reader(random.choice(readers[name])))


@cache
def digits() -> Data:
    return load_data("digits", train_samples=20)


@contextmanager
def toml(world: World, random: Random) -> Iterator[Case]:
    """A concept file, a protocol, a space of a sweep."""
    name = random.choice(["star.toml", "protocol.toml", "space.toml"])
    path = world.folder / name
    calls = {
        "star.toml": command("concepts", path) if random.random() < 0.5 else reader(lambda: read_concept(path)),
        "protocol.toml": reader(lambda: read_protocol(path)),
        "space.toml": reader(lambda: space_of((), path)),
    }
    with broken(path, break_lines(path.read_bytes(), random)):
        yield Case(name, calls[name])


@contextmanager
def image(world: World, random: Random) -> Iterator[Case]:
    """An image of a user."""
    path = random.choice(sorted(world.images.iterdir()))
    read = random.choice([lambda: open_picture(path), lambda: read_images(world.images, world.folder / "captions.csv")])
    with broken(path, break_image(path.read_bytes(), random)):
        yield Case(path.name, reader(read))


@contextmanager
def value(world: World, random: Random) -> Iterator[Case]:
    """Values of options, for commands that would find nothing to work on if the values were good."""
    absent = world.folder / "absent"
    out = world.output()
    commands: dict[str, tuple[list[Any], list[type], str]] = {
        "main": (["--model", absent, "--concept", "star"], [Job, METHODS["scissorhands"]], ""),
        "estimate": (["estimate", "--model", absent, "--concept", "star"], [Job, METHODS["scissorhands"]], ""),
        "evaluate": (["evaluate", absent], [Evaluation], ""),
        "generate": (["generate", absent, "--prompt", "a", "--output", out], [Generation], "--output"),
        "bench": (["bench", absent], [], "--seeds --first-seed --output --relearn --gold"),
        "attack": (["attack", absent], [Campaign], "--budget --device --gold --detector --lists --pictures"),
        "compare": (["compare", absent], [], "--scatter"),
        "sweep": (["sweep", "--concepts", "star"], [Job], "--trials --draw --seeds --over --space"),
        "export": (["export", absent, "--output", out], [], "--output --format --dtype --tokenizer --push-to-hub"),
        "concepts": (["concepts", absent / "x.toml"], [], "--count --model"),
        "classify": (["classify", "--original", absent], [Classify], "--forget --methods --preset"),
        "reproduce": (["reproduce", absent], [Reproduction], "--runs"),
    }
    name = random.choice(list(commands))
    words, options, more = commands[name]
    skip = ("concepts", "model", "overwrite", "original", "forget", "on", "method", "preset")
    fits = [item for kind in options for item in fields(kind) if item.name not in skip and "help" in item.metadata]
    flags = [f"--{item.name.replace('_', '-')}" for item in fits if not isinstance(item.default, bool)] + more.split()
    chosen = [(random.choice(flags), text_of(random)) for _ in range(random.randrange(1, 4))]
    yield Case(f"{name} {chosen}"[:200], command(*words, *(f"{flag}={text}" for flag, text in chosen)))


WORDS = "1e400 ١ 0x10 1_000 -- - nan -inf cuda:99 cpu /dev/null /proc/self/x .. %s {x} ~nobody/x re:( re:.* 0.1-0.9 a=1,b=2 10% x:y=z"
NUMBERS = "-1 0 1 2 7 8 64 1000000 1000001 16384 16392 9223372036854775807 9223372036854775808 0.5 1.0 1e-300 1e38 1e39 1e308"


def text_of(random: Random) -> str:
    hostile = [str(one).replace("\0", "") for one in HOSTILE]
    return random.choice(random.choice([WORDS.split(), NUMBERS.split(), hostile]))


KINDS: dict[str, Any] = {kind.__name__: kind for kind in (header, configuration, run_record, table, toml, image, value)}


def run_cases(world: World, kind: str, numbers: range) -> list[str]:
    """Everything wrong with these cases of a kind, each with its number; case n is the same on every machine."""
    wrong = []
    for number in numbers:
        random = Random(f"{SEED} {kind} {number}")
        with KINDS[kind](world, random) as case:
            wrong += [f"case {number}: {problem}" for problem in problems(case, world.folder, world.out)]
        world.clean()
    return wrong


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_input_ends_in_a_result_or_in_one_line_within_two_gigabytes(kind: str, world: World) -> None:
    CLEAR.write_text("5")  # resets the peak to the memory in use
    start = memory("VmRSS")
    assert run_cases(world, kind, range(QUICK)) == []
    assert memory("VmHWM") - start < 2 * GIB


CLEAR = Path("/proc/self/clear_refs")


def memory(name: str) -> int:
    """Bytes of this process, as Linux counts them: VmRSS now, VmHWM at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(MANY // PART))
def test_thousands_of_hostile_inputs(part: int, world: World) -> None:
    share = PART // len(KINDS) + 1
    first = QUICK + part * share
    assert [wrong for kind in KINDS for wrong in run_cases(world, kind, range(first, first + share))] == []


def test_a_case_is_the_same_each_time() -> None:
    data = json.dumps({"a": [1, {"b": 2}], "c": "d"}).encode()
    assert [fuzzing.break_json(data, Random(7)) for _ in range(3)] == [fuzzing.break_json(data, Random(7))] * 3
