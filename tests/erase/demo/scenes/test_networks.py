"""What the model of scenes is taught beside pictures: that its text encoder's states say what a caption says."""

from __future__ import annotations

import numpy as np
import torch

from erase.demo import networks
from erase.demo.scenes import world as scenes
from erase.demo.scenes.networks import FLOOR, captioned, step_weights
from erase.demo.scenes.text_probe import QUESTIONS, UNSAID, Reader, answers, reading_loss
from erase.demo.scenes.world import COLOURS, SHAPES, Scene, Thing
from erase.demo.shapes.world import IMPLIED, NAMED, OMITTED

STAR, RING = Thing("star", "red", 18, 32, 13), Thing("ring", "blue", 46, 30, 13)
NAMES = {"shape": NAMED, "colour": NAMED}


def read(things: tuple[Thing, ...], hows: list[dict[str, str]], related: bool) -> dict[str, tuple[str | int | None, ...]]:
    """Question -> shape, colour, number, of the questions that have an answer."""
    found = {}
    for question, (shape, colour, number) in zip(QUESTIONS, answers(things, hows, related).tolist(), strict=True):
        said = (SHAPES[shape] if shape >= 0 else None, COLOURS[colour] if colour >= 0 else None, number + 1 if number >= 0 else None)
        found |= {question: said} if any(said) else {}
    return found


def test_a_pair_has_a_first_a_second_and_two_sides() -> None:
    star, ring = ("star", "red", None), ("ring", "blue", None)
    number = {"number": (None, None, 2)}
    assert read((STAR, RING), [NAMES] * 2, True) == {"left of": star, "right of": ring, "first": star, "second": ring} | number
    assert read((RING, STAR), [NAMES] * 2, True) == {"left of": star, "right of": ring, "first": ring, "second": star} | number
    assert read((STAR, RING), [NAMES] * 2, False) == {"first": star, "second": ring} | number


def test_what_a_caption_leaves_open_is_not_asked() -> None:
    assert read((STAR,), [{"shape": OMITTED, "colour": IMPLIED}], True) == {"first": (None, "red", None), "number": (None, None, 1)}
    three = (STAR, Thing("star", "red", 40, 40), Thing("star", "red", 40, 10))
    assert read(three, [NAMES], True) == {"first": ("star", "red", None), "number": (None, None, 3)}


def test_captions_and_answers_belong_together() -> None:
    made = list(scenes.scenes(300, seed=9))
    texts, said = captioned(made, 20, np.random.default_rng(1))
    for text, answer in zip(texts, said, strict=True):
        for question, (shape, colour, _) in zip(QUESTIONS, answer.tolist(), strict=True):
            assert colour < 0 or COLOURS[colour] in text or " in the colour of " in text
            assert shape < 0 or SHAPES[shape] in text or "shape" in text
            assert question not in scenes.RELATIONS or shape == colour == UNSAID or any(word in text for word in scenes.RELATIONS)
        assert bool(text) == bool((answer >= 0).any())
    assert np.mean([not text for text in texts]) == np.clip(np.mean([not text for text in texts]), 0.05, 0.16)
    pairs = [text for text, scene in zip(texts[:20], made[:20], strict=True) if text and not scene.alike]
    assert all(any(word in text for word in scenes.RELATIONS) for text in pairs)
    assert all(sum(word in text for word in COLOURS) >= 1 for text in pairs)


def test_a_caption_is_what_is_spoken() -> None:
    first, second = np.random.default_rng(2), np.random.default_rng(2)
    for scene in scenes.scenes(50, seed=10):
        assert scenes.caption(scene, first) == scenes.speak(scene, second)[0]


def test_the_reader_can_learn_what_states_say_and_nothing_is_asked_of_silence() -> None:
    torch.manual_seed(0)
    said = torch.stack(
        [answers(scene.things[:2], [NAMES] * 2, True) for scene in (Scene((STAR, RING), "white"), Scene((RING, STAR), "white"))]
    )
    states = torch.randn(2, 5, 16)
    reader = Reader(16)
    optimizer = torch.optim.Adam(reader.parameters(), 0.02)
    before = reading_loss(reader(states), said).item()
    for _ in range(60):
        optimizer.zero_grad()
        loss = reading_loss(reader(states), said)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1 * before


def test_high_noise_counts_and_the_rest_is_min_snr() -> None:
    kept = networks.build_forward().alphas_cumprod
    weight = step_weights(kept) / 2.5
    ratio = kept / (1 - kept)
    light = kept >= 0.5
    torch.testing.assert_close(weight[light], (torch.minimum(ratio, torch.tensor(5.0)) / (ratio + 1))[light])
    assert weight[~light].min() >= FLOOR
    assert (weight <= 5 / 6 + 1e-3).all()
