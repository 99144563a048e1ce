"""The embedded world is ground truth: pictures show what their scene says, captions say what they name and no more."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest

from erase.demo.shapes import world
from erase.demo.shapes.world import BACKGROUNDS, COLOURS, DOMAINS, IMPLIED, NAMED, OMITTED, ORDERS, RGB, SHAPES, SIZE, STYLES, Scene

CENTRED = Scene("square", "red", "solid", "white", x=32.0, y=32.0, radius=24.0, period=10.0)
CONCEPTS = [member for members in DOMAINS.values() for member in members]
SOME = list(world.scenes(60, seed=7))

# Shape -> points inside and outside of it, in units of the radius, y upwards. Each pair of shapes differs in some point.
POINTS: dict[str, tuple[list[tuple[float, float]], list[tuple[float, float]]]] = {
    "circle": ([(0, 0), (0.6, 0.6), (0, -0.85)], [(0.75, 0.75)]),
    "ring": ([(0.7, 0), (0, -0.7), (0.5, 0.5)], [(0, 0), (0.2, 0.2), (0.8, 0.8)]),
    "square": ([(0, 0), (0.75, 0.75), (-0.75, -0.75)], [(0, 0.95), (-0.95, 0)]),
    "diamond": ([(0, 0), (0, 0.95), (0.95, 0)], [(0.65, 0.65), (-0.65, -0.65)]),
    "triangle": ([(0, 0), (0.8, -0.65), (-0.8, -0.65)], [(0.6, 0.6), (0, -0.9)]),
    "star": ([(0, 0), (0, 0.9), (0.5, -0.7), (-0.5, -0.7)], [(0, -0.65), (0.7, -0.2), (0.6, 0.6)]),
    "cross": ([(0, 0), (0.85, 0.2), (-0.85, -0.2), (0.2, -0.85)], [(0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5)]),
    "heart": ([(0, 0), (0.45, 0.75), (-0.45, 0.75), (0, -0.8)], [(0, 0.8), (0.7, -0.6), (-0.7, -0.6)]),
}


def pixels(scene: Scene) -> np.ndarray:
    return world.render(scene).astype(float)


def coverage(scene: Scene) -> np.ndarray:
    """Share of each pixel that a solid shape covers."""
    background = np.array(RGB[scene.background], float)
    fill = np.clip(np.array(RGB[scene.colour]) * scene.shade, 0, 255)
    return (pixels(scene) - background) @ (fill - background) / ((fill - background) @ (fill - background))


def tints(scene: Scene) -> np.ndarray:
    """The middle of a large square, four periods wide: True where a pixel is nearer to the lighter tint than to the colour itself."""
    base = np.array(RGB[scene.colour], float) * scene.shade
    middle = pixels(scene)[12:52, 12:52]
    distances = [np.linalg.norm(middle - tone, axis=2) for tone in (base, 0.4 * base + 0.6 * 255)]
    return distances[1] < distances[0]


def said(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower()))


# --- pictures -------------------------------------------------------------------------------------------------------


def test_a_scene_has_one_picture():
    for scene in SOME[:5]:
        first, second = world.render(scene), world.render(replace(scene))
        assert first.shape == (SIZE, SIZE, 3)
        assert first.dtype == np.uint8
        assert np.array_equal(first, second)


def test_scenes_follow_from_their_seed_and_a_longer_list_begins_like_a_shorter_one():
    assert list(world.scenes(60, seed=7)) == SOME
    assert list(world.scenes(10, seed=7)) == SOME[:10]
    assert list(world.scenes(10, seed=8)) != SOME[:10]


def test_different_scenes_have_different_pictures():
    assert len({world.render(scene).tobytes() for scene in SOME}) == len(SOME)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("corner", [(1, 1), (1, -1), (-1, 1), (-1, -1)])
def test_every_scene_lies_inside_the_frame(shape, corner):
    """The largest shape in the farthest corner keeps its area, but for half a per cent: a diamond's tip may reach half a pixel out."""
    radius = 25.0
    x, y = (32 + side * (32 - radius - 2) for side in corner)
    whole = Scene(shape, "blue", "solid", "white", radius=radius)
    assert coverage(replace(whole, x=x, y=y)).sum() == pytest.approx(coverage(whole).sum(), rel=0.005)


def test_drawn_scenes_stay_within_the_bounds_of_that_test():
    for scene in world.scenes(500, seed=3):
        assert 18 <= scene.radius <= 25
        assert all(scene.radius + 2 <= place <= SIZE - scene.radius - 2 for place in (scene.x, scene.y))


def test_the_background_is_seen_in_every_corner():
    for scene in SOME:
        drawn = world.render(scene)
        for row, column in itertools.product((0, -1), (0, -1)):
            assert tuple(drawn[row, column]) == RGB[scene.background]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_covers_what_makes_it_that_shape(shape):
    covered = coverage(replace(CENTRED, shape=shape))
    inside, outside = POINTS[shape]
    for wanted, points in ((1.0, inside), (0.0, outside)):
        for u, v in points:
            assert covered[int(32 - 24 * v), int(32 + 24 * u)] == pytest.approx(wanted, abs=0.02), (u, v)


def test_no_two_shapes_are_nearly_the_same():
    covered = {shape: coverage(replace(CENTRED, shape=shape)) > 0.5 for shape in SHAPES}
    for one, other in itertools.combinations(SHAPES, 2):
        assert (covered[one] & covered[other]).sum() / (covered[one] | covered[other]).sum() < 0.85, (one, other)


def test_a_ring_is_a_disc_with_the_background_at_its_centre():
    middle = world.render(replace(CENTRED, shape="ring", background="grey"))[28:36, 28:36]
    assert (middle == RGB["grey"]).all()
    assert (world.render(replace(CENTRED, shape="circle", background="grey"))[28:36, 28:36] == RGB["red"]).all()


@pytest.mark.parametrize("shade", [0.86, 1.0, 1.06])
@pytest.mark.parametrize("colour", COLOURS)
def test_a_colour_is_nearest_to_its_own_rgb_in_every_shade(colour, shade):
    seen = pixels(replace(CENTRED, colour=colour, shade=shade))[32, 32]
    distance = {name: np.linalg.norm(seen - np.array(RGB[name])) for name in (*COLOURS, *BACKGROUNDS)}
    assert min(distance, key=distance.__getitem__) == colour


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("style", STYLES)
def test_a_colour_keeps_its_hue_in_every_style(colour, style):
    """The lighter tint takes the same from white as the colour does, only less of it."""
    taken = 255 - pixels(replace(CENTRED, colour=colour, style=style))[12:52, 12:52].mean((0, 1))
    likeness = {name: taken @ (255 - np.array(RGB[name])) / np.linalg.norm(255 - np.array(RGB[name])) for name in COLOURS}
    assert max(likeness, key=likeness.__getitem__) == colour


@pytest.mark.parametrize(("style", "share"), [("solid", 0.0), ("striped", 0.45), ("dotted", 0.27), ("checkered", 0.5)])
def test_a_style_has_its_share_of_the_lighter_tint(style, share):
    assert tints(replace(CENTRED, style=style)).mean() == pytest.approx(share, abs=0.05)


def test_each_style_has_its_own_pattern():
    drawn = {style: tints(replace(CENTRED, style=style)) for style in STYLES}
    along, down = ({style: (light == light.take([0], axis)).all() for style, light in drawn.items()} for axis in (1, 0))
    assert along == {"solid": True, "striped": True, "dotted": False, "checkered": False}
    assert down == {"solid": True, "striped": False, "dotted": False, "checkered": False}
    half = 5  # half a period: a checkered pattern changes its tint, a dotted one does not
    assert (drawn["checkered"][:, half:] != drawn["checkered"][:, :-half]).mean() > 0.9
    assert (drawn["dotted"][:, half:] != drawn["dotted"][:, :-half]).mean() < 0.7


# --- what appears ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concept", CONCEPTS)
def test_a_scene_without_a_concept_never_shows_or_mentions_it(concept):
    domain = world.domain_of(concept)
    rng = np.random.default_rng(0)
    descriptions = world.IMPLICIT[concept]
    for scene in world.scenes(100, seed=1, without=concept):
        assert scene.attribute(domain) != concept
        text = world.caption(scene, rng)
        assert concept not in said(text)
        assert not any(description.removeprefix("a ") in text for description in descriptions)


def test_every_attribute_appears_about_equally_often():
    drawn = list(world.scenes(2000, seed=5))
    for domain, members in {**DOMAINS, "background": BACKGROUNDS}.items():
        counts = [sum(scene.attribute(domain) == member for scene in drawn) for member in members]
        assert sum(counts) == 2000
        assert min(counts) > 0.75 * 2000 / len(members)


def test_pinned_attributes_are_kept():
    for scene in world.scenes(20, seed=2, shape="star", background="black"):
        assert (scene.shape, scene.background) == ("star", "black")


@pytest.mark.parametrize("domain", DOMAINS)
def test_neighbours_differ_in_one_domain_only(domain):
    scene = SOME[0]
    found = world.neighbours(scene, domain)
    assert [n.attribute(domain) for n in found] == [m for m in DOMAINS[domain] if m != scene.attribute(domain)]
    assert all(replace(n, **{domain: scene.attribute(domain)}) == scene for n in found)


def test_every_concept_belongs_to_one_domain():
    assert len(set(CONCEPTS)) == len(CONCEPTS)
    assert [world.domain_of(concept) for concept in CONCEPTS] == [domain for domain, members in DOMAINS.items() for _ in members]
    assert world.domain_of("Van Gogh") is None


# --- captions -------------------------------------------------------------------------------------------------------

WAYS = [
    dict(zip(("shape", "colour", "style", "background"), ways, strict=True))
    for ways in itertools.product(*[(NAMED, IMPLIED, OMITTED)] * 3, (NAMED, OMITTED))
]


@pytest.mark.parametrize("order", range(ORDERS))
def test_named_words_occur_and_others_do_not(order):
    for scene, how, implicit in itertools.product(SOME[:4], WAYS, (0, 1)):
        words = said(world.phrase(scene, how, order, implicit))
        for domain, members in DOMAINS.items():
            assert words & set(members) == ({scene.attribute(domain)} if how[domain] == NAMED else set())
        assert words & {"background", *BACKGROUNDS} == ({"background", scene.background} if how["background"] == NAMED else set())


@pytest.mark.parametrize("order", range(ORDERS))
def test_implied_attributes_are_described_and_omitted_ones_not(order):
    for scene, how, implicit in itertools.product(SOME[:4], WAYS, (0, 1)):
        text = world.phrase(scene, how, order, implicit)
        for domain in DOMAINS:
            description = world.IMPLICIT[scene.attribute(domain)][implicit].removeprefix("a ")
            assert (description in text) == (how[domain] == IMPLIED), text


def test_an_omitted_shape_is_the_generic_word():
    for order in range(ORDERS):
        assert "shape" in said(world.phrase(SOME[0], {"shape": OMITTED, "colour": NAMED}, order))


def test_orders_are_different_wordings_of_the_same():
    everything = dict.fromkeys((*DOMAINS, "background"), NAMED)
    scene = SOME[0]
    texts = [world.phrase(scene, everything, order) for order in range(ORDERS)]
    assert len(set(texts)) == ORDERS
    for layout in range(3):  # each layout has every lead, and both orders of the adjectives
        mine = texts[layout::3]
        first = [text.index(scene.style) < text.index(scene.colour) for text in mine]
        assert set(first) == {True, False}
        leads = [next(lead for lead in sorted(world.LEADS, key=len, reverse=True) if text.startswith(lead)) for text in mine]
        assert sorted(leads) == sorted(world.LEADS)


def test_articles_fit_the_word_that_follows():
    for scene, how, order, implicit in itertools.product(SOME[:8], WAYS, range(ORDERS), (0, 1)):
        text = world.phrase(scene, how, order, implicit)
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]|  |^ | $", text), text


@pytest.mark.parametrize("concept", CONCEPTS)
def test_implicit_descriptions_name_no_concept(concept):
    """Neither the concept itself, nor any other of the world: erasing a word and erasing a concept can then be told apart."""
    assert len(set(world.IMPLICIT[concept])) == 2
    for description in world.IMPLICIT[concept]:
        assert not said(description) & {*CONCEPTS, *BACKGROUNDS}
        assert concept not in description


def test_descriptions_belong_to_one_concept_each():
    everything = [description for pair in world.IMPLICIT.values() for description in pair]
    assert set(world.IMPLICIT) == set(CONCEPTS)
    assert len(set(everything)) == len(everything)


def test_the_vocabulary_covers_every_caption():
    known = set(world.words())
    for scene, how, order, implicit in itertools.product(SOME[:12], WAYS, range(ORDERS), (0, 1)):
        assert said(world.phrase(scene, how, order, implicit)) <= known
    assert {word for pair in world.IMPLICIT.values() for text in pair for word in said(text)} <= known
    assert {*CONCEPTS, *BACKGROUNDS} <= known


def test_captions_follow_from_their_generator_and_vary():
    def spoken(seed: int) -> list[str]:
        rng = np.random.default_rng(seed)
        return [world.caption(SOME[0], rng) for _ in range(200)]

    assert spoken(1) == spoken(1) != spoken(2)
    assert len(set(spoken(1))) > 100


def test_a_pinned_caption_says_what_it_must():
    rng = np.random.default_rng(0)
    for scene in SOME:
        assert scene.shape in said(world.caption(scene, rng, shape=NAMED))
        assert not said(world.caption(scene, rng, colour=OMITTED)) & set(COLOURS)
