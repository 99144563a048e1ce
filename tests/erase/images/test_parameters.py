"""The text inside a PNG is what A1111's PNG Info takes apart, and nothing else of the file changes."""

from __future__ import annotations

import io
import re

import pytest
from PIL import Image

from erase.images import Parameters, with_parameters

A1111 = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')  # how it takes the last line apart


def png(size: tuple[int, int] = (3, 2)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, "red").save(file, "PNG")
    return file.getvalue()


def test_the_text_is_prompt_negative_prompt_and_settings():
    one = Parameters("a red star,\nof two lines", 41, 25, "DDIMScheduler", 4, 64, "runs/a: b, c", "0123456789", "blurry: yes")
    *lines, last = one.text().splitlines()
    assert lines == ["a red star,", "of two lines", "Negative prompt: blurry: yes"]
    assert dict(A1111.findall(last)) == {
        "Steps": "25", "Sampler": "DDIM", "CFG scale": "4.0", "Seed": "41", "Size": "64x64", "Model hash": "0123456789",
        "Model": "runs/a b c",
    }  # fmt: skip
    plain = Parameters("a star", 0, 1, "SASolverScheduler", 7.5, 512, "sd", index=3).text()
    assert plain == "a star\nSteps: 1, Sampler: SASolverScheduler, CFG scale: 7.5, Seed: 0, Batch pos: 3, Size: 512x512, Model: sd"


@pytest.mark.parametrize("text", ["a star\nSteps: 1", "un étoile", "星 ☆ \U0001f600", ""])
def test_pillow_reads_it_and_the_image_is_the_same(text):
    before = png()
    after = with_parameters(before, text)
    with Image.open(io.BytesIO(after)) as image:
        image.load()
        assert image.info == {"parameters": text}
        assert image.tobytes() == Image.open(io.BytesIO(before)).tobytes()
    assert after == with_parameters(before, text)
    chunk = len(after) - len(before)
    assert after[:33] + after[33 + chunk :] == before
