"""Image sets: noise depends on (seed, index) alone, a restart changes no byte, and a folder that is wrong says how."""

from __future__ import annotations

import contextlib
import errno
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from fuzzing import png
from PIL import Image

from erase.errors import InputError
from erase.images import Callbacks, Picture, load_pixels, make_images, open_picture, read_images

PROMPTS = [f"a red shape, number {i}" for i in range(10)]


def drawn(prompts: list[str], generators: list[torch.Generator]) -> list[Image.Image]:
    """A picture of the generator's noise."""
    pixels = [(torch.randn(16, 16, 3, generator=g).clamp(-2, 2) * 63 + 127).to(torch.uint8) for g in generators]
    return [Image.fromarray(p.numpy()) for p in pixels]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def save(path: Path, size: tuple[int, int] = (16, 16), colour: str = "red") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


@pytest.fixture(scope="module")
def sampler(tiny_pipeline: Path) -> Callable[[list[str], list[torch.Generator]], list[Image.Image]]:
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(tiny_pipeline)
    pipeline.set_progress_bar_config(disable=True)
    return lambda prompts, generators: pipeline(prompts, generator=generators, num_inference_steps=2).images


def test_a_set_is_complete_and_reads_back(tmp_path: Path) -> None:
    made = make_images(tmp_path / "set", PROMPTS, 7, drawn, 4)
    assert [p.prompt for p in made] == PROMPTS
    assert [p.path.name for p in made[:2]] == ["00000.png", "00001.png"]
    assert read_images(tmp_path / "set") == made
    lines = (tmp_path / "set" / "manifest.jsonl").read_text().splitlines()
    assert json.loads(lines[3]) == {"file": "00003.png", "prompt": PROMPTS[3], "seed": 7, "sha256": made[3].sha256}
    assert len({p.sha256 for p in made}) == len(PROMPTS)


def test_batch_size_and_other_prompts_change_no_noise(tmp_path: Path) -> None:
    sets = [make_images(tmp_path / str(batch), PROMPTS, 7, drawn, batch) for batch in (1, 3, 10, 64)]
    sets.append(make_images(tmp_path / "other", [f"another {i}" for i in range(10)], 7, drawn, 4))
    assert all([p.sha256 for p in s] == [p.sha256 for p in sets[0]] for s in sets)


def test_every_picture_takes_its_own_seed(tmp_path: Path) -> None:
    seven, eight = (make_images(tmp_path / str(seed), PROMPTS, seed, drawn, 4) for seed in (7, -8))
    mixed = make_images(tmp_path / "mixed", PROMPTS, [7, -8] * 5, drawn, 4)
    assert [p.sha256 for p in mixed] == [(seven if i % 2 == 0 else eight)[i].sha256 for i in range(10)]
    assert read_images(tmp_path / "mixed") == mixed
    assert not {p.sha256 for p in seven} & {p.sha256 for p in eight}


def test_batch_size_changes_a_real_sampler_by_rounding_only(tmp_path: Path, sampler) -> None:
    sets = [make_images(tmp_path / str(batch), PROMPTS[:5], 7, sampler, batch) for batch in (1, 4)]
    one, four = (load_pixels([p.path for p in s], 64) for s in sets)
    assert (one - four).abs().max() <= 1.01 * 2 / 255
    assert (one[0] - one[1]).abs().mean() > 0.05


@pytest.mark.parametrize("lost", [[0], [5], [9], [1, 8], list(range(10))])
def test_restart_after_losing_pictures_changes_no_byte(tmp_path: Path, sampler, lost: list[int]) -> None:
    folder, calls = tmp_path / "set", []

    def counted(prompts: list[str], generators: list[torch.Generator]) -> list[Image.Image]:
        calls.append(len(prompts))
        return sampler(prompts, generators)

    make_images(folder, PROMPTS, 7, counted, 4)
    before = files(folder)
    calls.clear()
    for i in lost:
        (folder / f"{i:05d}.png").unlink()
    make_images(folder, PROMPTS, 7, counted, 4)
    assert files(folder) == before
    assert calls == [[4, 4, 2][chunk] for chunk in sorted({i // 4 for i in lost})], "only the chunks that lost something"


def test_interruption_changes_no_byte(tmp_path: Path, sampler) -> None:
    make_images(tmp_path / "whole", PROMPTS, 7, sampler, 4)
    calls = []

    def stopping(prompts: list[str], generators: list[torch.Generator]) -> list[Image.Image]:
        calls.append(prompts)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return sampler(prompts, generators)

    with pytest.raises(KeyboardInterrupt):
        make_images(tmp_path / "set", PROMPTS, 7, stopping, 4)
    make_images(tmp_path / "set", PROMPTS, 7, stopping, 4)
    assert files(tmp_path / "set") == files(tmp_path / "whole")
    assert [p[0] for p in calls] == [PROMPTS[0], PROMPTS[4], PROMPTS[4], PROMPTS[8]]


@pytest.mark.parametrize("cut", [1, 30, 190, 10**6])
def test_torn_manifest_line_is_dropped(tmp_path: Path, cut: int) -> None:
    folder = tmp_path / "set"
    make_images(folder, PROMPTS, 7, drawn, 4)
    before = files(folder)
    (folder / "manifest.jsonl").write_bytes(before["manifest.jsonl"][:-cut])
    (folder / ".00003.png.77.part").write_bytes(b"left by a kill")
    make_images(folder, PROMPTS, 7, drawn, 4)
    assert files(folder) == before


def test_a_line_separator_in_a_prompt_is_no_line_end(tmp_path: Path) -> None:
    made = make_images(tmp_path, ["a\u2028b", "c\nd", "e"], 0, drawn, 2)
    assert read_images(tmp_path) == made == make_images(tmp_path, ["a\u2028b", "c\nd", "e"], 0, drawn, 2)


def test_tampered_picture_is_named_when_read_and_mended_when_made(tmp_path: Path) -> None:
    made = make_images(tmp_path, PROMPTS, 7, drawn, 4)
    save(made[6].path)
    with pytest.raises(InputError, match=r"00006\.png is not the image that manifest\.jsonl lists"):
        read_images(tmp_path)
    assert make_images(tmp_path, PROMPTS, 7, drawn, 4) == made == read_images(tmp_path)


@pytest.mark.parametrize(("prompts", "seed"), [([*PROMPTS[:4], "a cat", *PROMPTS[5:]], 7), (PROMPTS, 8), (PROMPTS[:6], 7)])
def test_other_prompts_in_the_same_folder_are_refused(tmp_path: Path, prompts: list[str], seed: int) -> None:
    make_images(tmp_path, PROMPTS, 7, drawn, 4)
    before = files(tmp_path)
    with pytest.raises(InputError, match="give another folder"):
        make_images(tmp_path, prompts, seed, drawn, 4)
    assert files(tmp_path) == before


def test_somebody_elses_pictures_are_never_overwritten(tmp_path: Path) -> None:
    save(tmp_path / "00000.png")
    with pytest.raises(InputError, match=r"already contains other images \(00000\.png\)"):
        make_images(tmp_path, PROMPTS, 7, drawn, 4)


def test_every_chunk_is_handed_on_when_it_is_there(tmp_path: Path) -> None:
    """Also those that were made before: whoever measures them knows what is new."""

    def run() -> list[tuple[list[int], list[Picture]]]:
        given: list[tuple[list[int], list[Picture]]] = []

        def each(indexes: Sequence[int], pictures: Sequence[Picture]) -> None:
            assert all(picture.path.exists() for picture in pictures)
            given.append((list(indexes), list(pictures)))

        made = make_images(tmp_path, PROMPTS, 7, drawn, 4, Callbacks(chunk=each))
        assert [picture for _, pictures in given for picture in pictures] == made
        return given

    first = run()
    assert [indexes for indexes, _ in first] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    (tmp_path / "00005.png").unlink()
    assert run() == first == run()


@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_parts_fill_one_folder_with_the_bytes_of_one(tmp_path: Path, parts: int) -> None:
    whole = make_images(tmp_path / "whole", PROMPTS, 7, drawn, 2)
    mine = [make_images(tmp_path / "set", PROMPTS, 7, drawn, 2, share=(rank, parts)) for rank in range(parts)]
    assert sorted(picture.path.name for part in mine for picture in part) == [picture.path.name for picture in whole]
    joined = make_images(tmp_path / "set", PROMPTS, 7, never, 2)
    assert [picture.sha256 for picture in joined] == [picture.sha256 for picture in whole]
    assert files(tmp_path / "set") == files(tmp_path / "whole")


@pytest.mark.parametrize(("first", "then"), [(1, 3), (3, 1), (2, 3), (3, 2)])
def test_another_number_of_parts_draws_only_what_is_missing(tmp_path: Path, first: int, then: int) -> None:
    """Each part looks for its own after all others have begun, as happens when processes do not start together."""
    calls: list[str] = []

    def stopping(prompts: list[str], generators: list[torch.Generator]) -> list[Image.Image]:
        if len(calls) >= 6:
            raise KeyboardInterrupt
        calls.extend(prompts)
        return drawn(prompts, generators)

    for rank in range(first):
        with contextlib.suppress(KeyboardInterrupt):
            make_images(tmp_path / "set", PROMPTS, 7, stopping, 2, share=(rank, first))
    assert len(calls) == 6

    def counted(prompts: list[str], generators: list[torch.Generator]) -> list[Image.Image]:
        calls.extend(prompts)
        return drawn(prompts, generators)

    for rank in range(then):
        make_images(tmp_path / "set", PROMPTS, 7, counted, 2, share=(rank, then))
    make_images(tmp_path / "set", PROMPTS, 7, never, 2)
    assert sorted(calls) == sorted(PROMPTS)
    make_images(tmp_path / "whole", PROMPTS, 7, drawn, 2)
    assert files(tmp_path / "set") == files(tmp_path / "whole")


def test_noise_may_be_that_of_the_seed_alone(tmp_path: Path) -> None:
    made = make_images(tmp_path, PROMPTS, [5] * 10, drawn, 4, noise=lambda seed, index: torch.Generator().manual_seed(seed))
    assert len({picture.sha256 for picture in made}) == 1
    (expected,) = drawn(["x"], [torch.Generator().manual_seed(5)])
    assert open_picture(made[3].path).tobytes() == expected.tobytes()


def never(prompts: list[str], generators: list[torch.Generator]) -> list[Image.Image]:
    raise AssertionError("everything was drawn before")


def test_no_prompts_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no prompts"):
        make_images(tmp_path, [], 7, drawn, 4)


def test_progress_counts_pictures(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    make_images(tmp_path, PROMPTS, 7, drawn, 4, Callbacks(lambda done, total: seen.append((done, total))))
    assert seen == [(0, 10), (4, 10), (8, 10), (10, 10)]


def test_full_disk_is_one_clear_line_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make_images(tmp_path / "whole", PROMPTS, 7, drawn, 4)
    write, room = Path.write_bytes, [6]

    def full(path: Path, data: bytes) -> int:
        room[0] -= 1
        if room[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(InputError, match="the disk is full; free some space") as raised:
            make_images(tmp_path / "set", PROMPTS, 7, drawn, 4)
    assert "\n" not in str(raised.value)
    assert not list((tmp_path / "set").glob(".*"))
    make_images(tmp_path / "set", PROMPTS, 7, drawn, 4)
    assert files(tmp_path / "set") == files(tmp_path / "whole")
    assert len(whole) == 10


def csv_of(folder: Path, rows: str, name: str = "captions.csv") -> Path:
    (folder / name).write_text(rows, encoding="utf-8")
    return folder / name


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("a.png", "b.jpg", "c.webp"):
        save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "notes.md").write_text("not a picture")
    return tmp_path / "photos"


def prompts_of(pictures: list[Picture]) -> dict[str, str]:
    return {p.path.name: p.prompt for p in pictures}


WANTED = {"a.png": "a cat", "b.jpg": "a dog, sitting", "c.webp": "a bird"}


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("captions.csv", '\ufefffile,prompt\nc.webp,a bird\na.png,a cat\nb.jpg,"a dog, sitting"\n'),
        ("captions.csv", 'file_name,text\na.png,a cat\nb.jpg,"a dog, sitting"\n./c.webp,a bird\n'),
        ("metadata.jsonl", "".join(json.dumps({"file_name": n, "text": t}) + "\n" for n, t in WANTED.items())),
        ("manifest.jsonl", "\n".join(json.dumps({"file": n, "prompt": t}) for n, t in WANTED.items())),
    ],
)
def test_captions_are_found(photos: Path, name: str, rows: str, tmp_path: Path) -> None:
    csv_of(photos, rows, name)
    assert prompts_of(read_images(photos)) == WANTED
    assert [p.seed for p in read_images(photos)] == [None] * 3
    elsewhere = (photos / name).rename(tmp_path / f"mine{Path(name).suffix}")
    assert prompts_of(read_images(photos, captions=elsewhere)) == WANTED


def test_captions_in_text_files(photos: Path) -> None:
    for name, text in WANTED.items():
        (photos / name).with_suffix(".txt").write_text(text + "\n")
    assert prompts_of(read_images(photos)) == WANTED
    (photos / "b.txt").unlink()
    with pytest.raises(InputError, match=r"no caption for 1 of 3 images: b\.jpg"):
        read_images(photos, default_caption="never hides a mismatch")


def test_one_caption_for_all(photos: Path) -> None:
    assert set(prompts_of(read_images(photos, default_caption="a church")).values()) == {"a church"}
    with pytest.raises(InputError, match=r"has no captions; expected manifest\.jsonl"):
        read_images(photos)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("picture,words\na.png,a cat\n", "has the columns picture, words; expected file,prompt"),
        ("", "has the columns .none.; expected"),
        ("file,prompt\na.png,a cat\nb.jpg,\nc.webp,a bird\n", r"no caption for 1 of 3 images: b\.jpg"),
        ("file,prompt\na.png,a cat\n", r"no caption for 2 of 3 images: b\.jpg, c\.webp"),
        ("file,prompt\na.png,x\nb.jpg,x\nc.webp,x\n../d.png,x\n", r"names images that are not in .*: \.\./d\.png"),
        ("file,prompt\na.png,x\na.png,y\n", r"names a\.png twice"),
    ],
)
def test_captions_that_do_not_match_are_named(photos: Path, rows: str, message: str) -> None:
    csv_of(photos, rows)
    with pytest.raises(InputError, match=message) as raised:
        read_images(photos, default_caption="ignored")
    assert "\n" not in str(raised.value)


def test_captions_file_missing_or_of_another_kind(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not there; expected a \.csv"):
        read_images(photos, captions=tmp_path / "none.csv")
    with pytest.raises(InputError, match=r"of an unknown kind; expected \.csv"):
        read_images(photos, captions=csv_of(tmp_path, "a: b", "captions.yaml"))
    (tmp_path / "latin.csv").write_bytes("file,prompt\na.png,café\n".encode("latin-1"))
    with pytest.raises(InputError, match="is not text in UTF-8"):
        read_images(photos, captions=tmp_path / "latin.csv")
    with pytest.raises(InputError, match="line 1: not JSON"):
        read_images(photos, captions=csv_of(tmp_path, "{'file': 1}\n{}\n", "bad.jsonl"))


def test_folder_missing_empty_or_one_too_high(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not there; expected a folder of images"):
        read_images(tmp_path / "none")
    with pytest.raises(InputError, match="is a file"):
        read_images(save(tmp_path / "deep" / "a.png"))
    with pytest.raises(InputError, match=r"contains no images.*give one of them \(deep\)"):
        read_images(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="contains no images"):
        read_images(tmp_path / "empty", default_caption="x")


@pytest.mark.parametrize("name", ["b.png", "b.jpg", "b.webp"])
@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"<html>" + data])
def test_broken_picture_is_named(photos: Path, name: str, damage: Callable[[bytes], bytes]) -> None:
    pixels = torch.randint(0, 255, (64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    Image.fromarray(pixels.numpy()).save(photos / name)
    (photos / name).write_bytes(damage((photos / name).read_bytes()))
    with pytest.raises(InputError, match=rf"{name} is not a complete image"):
        read_images(photos, default_caption="x")
    with pytest.raises(InputError, match=rf"{name} is not a complete image"):
        load_pixels([photos / "a.png", photos / name], 16)


def test_what_is_left_out_is_not_opened_and_the_rest_keeps_its_captions(photos: Path) -> None:
    csv_of(photos, "file,prompt\na.png,a cat\nb.jpg,a dog\nc.webp,a bird\n")
    (photos / "b.jpg").write_bytes(b"broken")
    assert prompts_of(read_images(photos, leave_out=[1])) == {"a.png": "a cat", "c.webp": "a bird"}


def test_pixels_are_exact_where_sizes_agree(tmp_path: Path) -> None:
    values = torch.arange(16 * 16 * 3, dtype=torch.int64).remainder(256).to(torch.uint8).reshape(16, 16, 3)
    Image.fromarray(values.numpy()).save(tmp_path / "a.png")
    pixels = load_pixels([tmp_path / "a.png"] * 2, 16)
    assert pixels.shape == (2, 3, 16, 16)
    assert pixels.dtype == torch.float32
    assert pixels.min() == -1
    assert pixels.max() == 1
    assert torch.equal(((pixels[1] + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0), values)


def test_other_sizes_give_the_middle_square(tmp_path: Path) -> None:
    image = Image.new("RGB", (60, 20), "blue")
    image.paste("red", (20, 0, 40, 20))
    image.save(tmp_path / "wide.png")
    image.rotate(90, expand=True).save(tmp_path / "tall.png")
    red = torch.tensor([1.0, -1, -1]).view(1, 3, 1, 1).expand(2, 3, 8, 8)
    assert torch.equal(load_pixels([tmp_path / "wide.png", tmp_path / "tall.png"], 8), red)


def test_transparency_is_white_and_cameras_are_turned(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (load_pixels([tmp_path / "clear.png"], 4) == 1).all()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 4)).save(tmp_path / "turned.jpg", exif=exif)
    assert open_picture(tmp_path / "turned.jpg").size == (4, 8)


def test_an_image_is_bounded_by_its_pixels_before_it_is_decoded(tmp_path: Path) -> None:
    """Below the limit at which the library gives up, where it only warns: a kilobyte of file would fill gigabytes."""
    path = tmp_path / "large.png"
    path.write_bytes(png(20_000, 6_001))
    with pytest.raises(InputError, match=r"large\.png has 20000 × 6001 pixels; expected at most 120 million"):
        open_picture(path)
    path.write_bytes(png(100_000, 100_000))  # beyond it
    with pytest.raises(InputError, match=r"large\.png"):
        open_picture(path)
