"""Concept files keep their promises: what is to be kept never names the concept, what evaluates was never trained on."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path

import pytest

from erase.concepts import (
    DEMO,
    KEYS,
    ROLES,
    Concept,
    captions,
    chosen_anchor,
    files,
    list_concepts,
    load_concept,
    neutral_candidates,
    prompts,
    prompts_folder,
    read_concept,
    read_prompt_csv,
    with_anchors,
)
from erase.concepts.files import read_raw
from erase.concepts.free_text import embedded_concept
from erase.concepts.templates import balanced
from erase.demo.shapes import world
from erase.demo.worlds import KNOWN_MODELS
from erase.errors import InputError


def names(items: list[Concept]) -> list[str]:
    return [item.name for item in items]


SHIPPED = list_concepts()
FREE = [load_concept(text) for text in ("Van Gogh style", "garden gnome", "the moon", "unicorns", "Snoopy", "bicycle")]
UNFILED = [load_concept(word) for members in world.DOMAINS.values() for word in members if word not in names(SHIPPED)]
DEMO_CONCEPTS = [c for c in SHIPPED if c.model == DEMO] + UNFILED
EVERY = [*SHIPPED, *FREE, *UNFILED]
DOCS = Path(__file__).resolve().parents[3] / "docs" / "concepts.md"
EXAMPLE = re.search(r"```toml\n(.+?)```", DOCS.read_text(), re.DOTALL)[1]


every = pytest.mark.parametrize("concept", EVERY, ids=names(EVERY))
every_demo = pytest.mark.parametrize("concept", DEMO_CONCEPTS, ids=names(DEMO_CONCEPTS))


@pytest.mark.parametrize(
    ("text", "model", "name", "title"),
    [("beer mug", "emoji", "beer-mug", "beer mug"), ("van-gogh", None, "van-gogh", "Van Gogh"), ("nudity", None, "nudity", "nudity"),
     ("star", None, "star", "star"), ("garden gnome", "some/model", "garden-gnome", "garden gnome")],
)  # fmt: skip
def test_a_message_calls_a_concept_what_people_call_it(text: str, model: str | None, name: str, title: str) -> None:
    concept = load_concept(text, model)
    assert (concept.name, concept.title) == (name, title)
    assert load_concept(title, model) == concept


@cache
def spoken() -> frozenset[str]:
    """Everything that the embedded model's captions can say."""
    hows = product((world.NAMED, world.IMPLIED, world.OMITTED), repeat=3)
    scenes = [world.Scene(*parts) for parts in product(world.SHAPES, world.COLOURS, world.STYLES, world.BACKGROUNDS)]
    texts = set()
    for shape, colour, style in hows:
        for background in (world.NAMED, world.OMITTED):
            how = {"shape": shape, "colour": colour, "style": style, "background": background}
            omitted = [d for d, h in how.items() if h == world.OMITTED]
            first = {"shape": world.SHAPES[0], "colour": world.COLOURS[0], "style": world.STYLES[0], "background": world.BACKGROUNDS[0]}
            which = [s for s in scenes if all(s.attribute(d) == first[d] for d in omitted)]
            variants = (0, 1) if world.IMPLIED in how.values() else (0,)
            texts |= {world.phrase(s, how, order, i) for s in which for order in range(world.ORDERS) for i in variants}
    return frozenset(texts)


# --- the shipped files ----------------------------------------------------------------------------------------------


def test_the_files_that_were_promised_are_there():
    found = {c.name: c for c in SHIPPED}
    for domain, members in world.DOMAINS.items():
        assert len([c for c in found.values() if c.model == DEMO and c.domain == domain and c.name in members]) == 3
    assert found["nudity"].detector == "nudenet"
    assert found["van-gogh"].domain == "artist"
    assert found["church"].detector == "imagenet"
    assert all(c.name == Path(c.source).stem for c in SHIPPED)
    assert all(c.anchors or c.anchor_prompts for c in SHIPPED)
    assert all(c.implicit and c.about for c in SHIPPED)


@every
def test_evaluation_is_held_out(concept: Concept):
    forget = prompts(concept, "forget", len(captions(concept, "forget")))
    training = {*captions(concept, "forget"), *captions(concept, "retain"), *(a for p in forget for a in p.anchors)}
    for role in ("evaluate", "implicit", "evaluate-retain"):
        assert not training & set(captions(concept, role))
    assert not set(captions(concept, "forget")) & set(captions(concept, "retain"))


@every
def test_what_is_kept_never_names_the_concept(concept: Concept):
    name = re.compile("|".join(rf"\b{re.escape(word)}" for word in concept.words), re.IGNORECASE)
    for role in ("retain", "evaluate-retain", "implicit"):
        assert [text for text in captions(concept, role) if name.search(text)] == []
    assert all(not name.search(anchor) for p in prompts(concept, "forget", 100) for anchor in p.anchors)


@every
def test_there_is_enough_to_keep(concept: Concept):
    assert len(captions(concept, "retain")) > 500


@every_demo
def test_demo_prompts_say_what_the_model_was_trained_on(concept: Concept):
    for role in ROLES:
        assert [text for text in captions(concept, role) if text not in spoken()] == []
        assert {word for text in captions(concept, role) for word in re.findall(r"\w+", text)} <= set(world.words())


@every_demo
def test_demo_retain_prompts_neither_describe_the_concept_nor_leave_it_open(concept: Concept):
    described = [text.removeprefix("a ") for text in world.IMPLICIT[concept.name]]
    for role in ("retain", "evaluate-retain"):
        assert not [text for text in captions(concept, role) if any(d in text for d in described)]
        for prompt in prompts(concept, role, 200):
            assert prompt.attributes[concept.domain] in set(world.DOMAINS[concept.domain]) - {concept.name}
            assert prompt.attributes[concept.domain] in prompt.text


@every_demo
def test_demo_implicit_prompts_use_both_descriptions(concept: Concept):
    described = [text.removeprefix("a ") for text in world.IMPLICIT[concept.name]]
    counts = Counter(next(d for d in described if d in p.text) for p in prompts(concept, "implicit", 300))
    assert sorted(counts) == sorted(described)
    assert max(counts.values()) - min(counts.values()) <= 30


@every_demo
def test_demo_evaluation_names_every_domain(concept: Concept):
    for role in ("evaluate", "implicit", "evaluate-retain"):
        for prompt in prompts(concept, role, 100):
            assert all(prompt.attributes[domain] in members for domain, members in world.DOMAINS.items())


@pytest.mark.parametrize("name", ["star", "red", "striped"])
def test_files_of_one_domain_differ_in_the_concept_only(name: str):
    """The nine files are alike on purpose; an edit to one that is not made in the others shows here."""
    example = load_concept(name)
    for other in (c for c in SHIPPED if c.domain == example.domain and c.model == DEMO):
        assert (other.forget, other.retain, other.evaluate) == (example.forget, example.retain, example.evaluate)
        swapped = embedded_concept(other.name, KNOWN_MODELS[DEMO])
        assert set(swapped.implicit) == set(other.implicit)
        assert {k: set(v) for k, v in swapped.vocabulary.items()} == {k: set(v) for k, v in other.vocabulary.items()}


# --- drawing --------------------------------------------------------------------------------------------------------


@every
def test_draws_are_deterministic_and_a_short_list_begins_a_long_one(concept: Concept):
    for role in ROLES:
        long = prompts(concept, role, 90, seed=3)
        assert long == prompts(concept, role, 90, seed=3)
        assert prompts(concept, role, 20, seed=3) == long[:20]
        assert [p.index for p in long] == list(range(len(long)))
        assert {p.role for p in long} <= {role}
        if len(captions(concept, role)) > 20:
            assert prompts(concept, role, 20, seed=4) != long[:20]


def test_draws_are_the_same_on_every_machine():
    assert [p.text for p in prompts(load_concept("star"), "evaluate", 2)] == [
        "a drawing of a yellow checkered star on a white background",
        "a drawing of a star, dotted, red, grey background",
    ]


@every
def test_no_text_twice_before_all_have_come(concept: Concept):
    for role in ROLES:
        different = captions(concept, role)
        drawn = [p.text for p in prompts(concept, role, 2 * len(different))]
        assert len(set(different)) == len(different)
        assert set(Counter(drawn).values()) <= {2}
        assert set(drawn[: len(different)]) == set(different)


@every_demo
@pytest.mark.parametrize("role", ["retain", "evaluate-retain"])
@pytest.mark.parametrize("count", [64, 300])
def test_the_rest_of_the_domain_comes_equally_often(concept: Concept, role: str, count: int):
    counts = Counter(p.attributes[concept.domain] for p in prompts(concept, role, count))
    expected = count / (len(world.DOMAINS[concept.domain]) - 1)
    assert set(counts) == set(world.DOMAINS[concept.domain]) - {concept.name}
    assert max(abs(n - expected) for n in counts.values()) <= 0.2 * expected + 2


@pytest.mark.parametrize("sizes", [[1], [4], [4, 4], [7, 5, 4, 3], [6, 4, 2], [2, 3, 6, 4], []])
def test_balanced_meets_every_combination_once_and_every_index_equally_often(sizes: list[int]):
    picks = list(balanced(sizes))
    assert sorted(picks) == sorted(product(*map(range, sizes)))
    for slot, size in enumerate(sizes):
        for end in range(1, len(picks)):
            counts = Counter(pick[slot] for pick in picks[:end])
            assert max(counts.values()) - min(counts[i] for i in range(size)) <= 1 + end // 12


def test_templates_take_turns():
    star = load_concept("star")
    assert Counter(p.text[:9] for p in prompts(star, "evaluate", 120)) == {"a picture": 60, "a drawing": 60}


def test_a_forget_prompt_carries_itself_with_each_anchor():
    for prompt in prompts(load_concept("star"), "forget", 50):
        assert prompt.anchors == tuple(prompt.text.replace("star", a) for a in ("cross", "diamond", "triangle"))
        assert prompt.attributes["shape"] == "star"


def test_whole_prompt_anchors_keep_what_they_share_with_the_forget_prompt():
    for prompt in prompts(load_concept("nudity"), "forget", 100):
        person = prompt.attributes["person"]
        assert person in prompt.text
        assert f"a photo of a {person} wearing clothes" in prompt.anchors


def test_implicit_prompts_mean_the_concept():
    assert {p.attributes["colour"] for p in prompts(load_concept("red"), "implicit", 50)} == {"red"}
    assert prompts(load_concept("garden gnome"), "implicit", 5) == []


def test_articles_follow_the_word():
    church = {p.text for p in prompts(load_concept("church"), "retain", 3000)}
    assert "a photo of an English springer" in church
    text = "\n".join(p.text for name in ("church", "nudity", "hourglass", "unicorn") for p in prompts(load_concept(name), "forget", 300))
    assert not re.search(r"\b(a [aeio]|an [^aeiouhE])", text)
    assert "a photo of an hourglass" in text
    assert "a photo of a unicorn" in text


def test_unknown_role():
    with pytest.raises(ValueError, match="evaluate-retain"):
        prompts(load_concept("star"), "keep", 1)


# --- anchors --------------------------------------------------------------------------------------------------------


def test_with_anchors_sets_words_or_whole_prompts():
    star = with_anchors(load_concept("star"), ["ring"])
    assert prompts(star, "forget", 1)[0].anchors == (prompts(star, "forget", 1)[0].text.replace("star", "ring"),)
    nudity = with_anchors(load_concept("nudity"), ["a photo of a dressed {person}"])
    assert {len(p.anchors) for p in prompts(nudity, "forget", 9)} == {1}
    assert with_anchors(load_concept("Snoopy"), ["a person"]).anchors == ("a person",)


@pytest.mark.parametrize(("anchors", "said"), [([], "empty"), ([" "], "empty"), (["red star"], "names the concept itself")])
def test_with_anchors_refuses(anchors: list[str], said: str):
    with pytest.raises(InputError, match=said):
        with_anchors(load_concept("star"), anchors)


@every
def test_neutral_candidates_fit_the_concept(concept: Concept):
    candidates = neutral_candidates(concept)
    assert candidates
    if concept.model == DEMO:
        assert set(candidates) <= set(world.words())
    if not concept.anchor_prompts:
        assert all(p.anchors for p in prompts(with_anchors(concept, candidates), "forget", 5))


# --- names, paths and free text -------------------------------------------------------------------------------------


def test_names_paths_and_words_of_the_demo():
    star = load_concept("star")
    assert star == load_concept("star", model="demo") == load_concept(" Star ")
    assert star == load_concept(prompts_folder() / "star.toml")
    assert load_concept("Van Gogh").name == "van-gogh"
    circle = load_concept("circle")
    assert (circle.model, circle.detector, circle.domain, circle.anchors) == (DEMO, "judge", "shape", ())
    assert "star" in circle.vocabulary["shape"]
    assert "circle" not in circle.vocabulary["shape"]
    assert "perfectly round" in " ".join(circle.implicit)


def test_concepts_of_the_demo_are_for_the_demo(tmp_path: Path):
    assert load_concept("star", model="someone/diffusion").model == "someone/diffusion"
    assert "{background}" not in "".join(load_concept("star", model="someone/diffusion").forget)
    assert load_concept("nudity", model="someone/diffusion").name == "nudity"
    copy = tmp_path / "tokenizer"
    copy.mkdir()
    (copy / "tokenizer.json").write_text('{"model": {"vocab": {"checkered</w>": 1}}}')
    assert load_concept("circle", model=str(tmp_path)).detector == "judge"
    for word in ("nudity", "dog", "red star"):
        with pytest.raises(InputError, match="it knows circle, ring"):
            load_concept(word, model="demo")
    with pytest.raises(InputError, match='did you mean "triangle"'):
        load_concept("triangel", model="demo")


def test_a_slip_in_a_name_is_not_taken_for_a_word_of_ones_own():
    with pytest.raises(InputError, match=r"'starr' is not the name of a concept, did you mean \"star\"\?.* name a --model"):
        load_concept("starr")
    assert load_concept("starr", "some/model").name == "starr"
    assert load_concept("spring").name == "spring"


def test_free_style_and_free_object():
    style = load_concept("Van Gogh style")
    assert (style.domain, style.words, style.name, style.anchors) == ("style", ("Van Gogh",), "van-gogh-style", ())
    assert any(re.fullmatch(r"a painting of .+ in Van Gogh style", text) for text in captions(style, "forget"))
    assert load_concept("in the style of Picasso").words == load_concept("Picasso's style").words == ("Picasso",)
    assert not [text for text in captions(load_concept("anime style"), "retain") if "anime" in text]
    assert "a photo of Snoopy" in captions(load_concept("Snoopy"), "forget")
    assert "a photo of unicorns" in captions(load_concept("unicorns"), "forget")
    assert "a photo of a dog" in captions(load_concept("a dog"), "forget")
    assert "a photo of the moon" in captions(load_concept("the moon"), "forget")
    assert "a photo of fire" in captions(load_concept("fire"), "forget")
    assert load_concept("garden gnome", model="a/b").model == "a/b"
    assert not [text for text in captions(load_concept("photo"), "retain") if "photo" in text]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ("!?", "not words"),
        ("a {place}", "not words"),
        ("a", "word of every prompt"),
        ("no/such.toml", "star"),
    ],
)
def test_bad_text(text: str, said: str):
    with pytest.raises(InputError, match=said) as caught:
        load_concept(text)
    assert "\n" not in str(caught.value)


# --- bad files ------------------------------------------------------------------------------------------------------

BAD = {
    "unknown key": ('name = "gnome"', 'name = "gnome"\ndomian = "x"', ["domian", 'did you mean "domain"', "allowed: name"]),
    "unknown key in a section": ("implicit =", "implict =", ["evaluate.implict", 'did you mean "evaluate.implicit"']),
    "unknown section": ("[forget]", "[forgot]", ["forgot.prompts", 'did you mean "forget.prompts"']),
    "missing key": ('domain = "object"\n', "", ['"domain" is missing', "a text"]),
    "missing section": ("[retain]", "[settings]", ['"retain.prompts" is missing', "a list"]),
    "wrong type": ('name = "gnome"', "name = 3", ['"name" holds 3', "a text"]),
    "text for a list": ('words = ["garden gnome", "gnome"]', 'words = "gnome"', ['"words" holds', "a list"]),
    "table for a text": ('name = "gnome"', 'name = {x = "gnome"}', ["name.x"]),
    "text for a table": ('name = "gnome"', 'name = "gnome"\nsettings = "scope"', ['"settings" holds', "a table"]),
    "empty list": ('["a photo of a {concept} {place}", "a {concept}"]', "[]", ['"forget.prompts" holds []', "a list"]),
    "empty prompt": ('"a {concept}"]\n\n[anchor]', '" "]\n\n[anchor]', ["forget.prompts", "none of them empty"]),
    "empty vocabulary": ('["on a lawn", "by a pond"]', "[]", ["vocabulary.place"]),
    "slot without vocabulary": ("place =", "palce =", ["{place}", "without a vocabulary", 'did you mean "palce"']),
    "unused vocabulary": ("[vocabulary]", '[vocabulary]\nlight = ["at night"]', ["vocabulary.light", "no prompt"]),
    "reserved vocabulary": ("[vocabulary]", '[vocabulary]\nconcept = ["elf"]', ["vocabulary.concept", "words"]),
    "loose brace": ('"a {concept}"]\n\n[anchor]', '"a {concept"]\n\n[anchor]', ["loose brace"]),
    "bad name": ('name = "gnome"', 'name = "Garden Gnome"', ['"name"', "small letters"]),
    "bad detector": ('detector = "clip"', 'detector = "clipp"', ['did you mean "clip"', "nudenet"]),
    "two kinds of anchor": ("[anchor]", '[anchor]\nprompts = ["a pot"]', ['"anchor"', "keep one"]),
    "anchor without a place": ('"a {concept}"]\n\n[anchor]', '"an elf"]\n\n[anchor]', ["an elf", "no {concept}"]),
    "anchor is the concept": ('"flower pot"', '"red gnome"', ["anchor.concepts", "red gnome"]),
    "kept prompt names it": ('"a photo of {scene}"]', '"two gnomes in {scene}"]', ["retain.prompts", "two gnomes", "must not"]),
    "kept word names it": ('"bird bath"', '"big Garden Gnome"', ["retain.prompts", "{object}", "must not"]),
    "implicit names it": ("small bearded statue", "gnome", ["evaluate.implicit", "must not"]),
    "forget shows others": (
        '"a {concept}"]\n\n[anchor]',
        '"a {object} and a {concept}"]\n\n[anchor]',
        ["forget.prompts", "{object}", "{concept}"],
    ),
    "not held out": ('"a picture of a {object}"', '"a {object}"', ["evaluate", "also a training prompt"]),
    "domain left open": ('detector = "clip"', 'detector = "judge"', ["retain.prompts", "leaves the object open", "{object}"]),
    "not TOML": ('name = "gnome"', "name = gnome", ["not valid TOML", "line 1"]),
}


@pytest.mark.parametrize(("old", "new", "said"), BAD.values(), ids=BAD.keys())
def test_a_bad_file_gives_one_line_that_names_file_and_key(tmp_path: Path, old: str, new: str, said: list[str]):
    assert EXAMPLE.count(old) == 1, "the case no longer changes the example"
    path = tmp_path / "mine.toml"
    path.write_text(EXAMPLE.replace(old, new))
    with pytest.raises(InputError) as caught:
        load_concept(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    assert [part for part in said if part not in line] == []


def test_a_file_that_is_not_text(tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        read_concept(path)
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(InputError, match="is a folder; expected a file"):
        load_concept(tmp_path / "folder.toml")


def test_the_documented_example_loads_and_the_table_is_the_code(tmp_path: Path):
    path = tmp_path / "gnome.toml"
    path.write_text(EXAMPLE)
    concept = load_concept(path)
    assert {p.text for p in prompts(concept, "forget", 2)} & {"a garden gnome", "a gnome"}
    rows = re.findall(r"^\| `([a-z.]+)` \| (yes|no) \|", DOCS.read_text(), re.MULTILINE)
    assert rows == [(key, "yes" if required else "no") for key, (_, required) in KEYS.items()]
    assert all(f"`{c.name}`" in DOCS.read_text() for c in SHIPPED)


def test_the_templates_for_free_text_are_concept_files_too():
    for path in (prompts_folder() / "free").glob("*.toml"):
        assert "replaced" in path.read_text()
        assert read_raw(path)["name"] == path.stem


def test_the_prompts_are_found_inside_an_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(files, "__file__", str(tmp_path / "erase" / "concepts" / "files.py"))
    assert prompts_folder() == tmp_path / "prompts"
    (tmp_path / "erase" / "prompts").mkdir(parents=True)
    assert prompts_folder() == tmp_path / "erase" / "prompts"


# --- prompt sets ----------------------------------------------------------------------------------------------------


def test_a_prompt_set(tmp_path: Path):
    path = tmp_path / "set.csv"
    path.write_text(
        '\ufeffprompt,role,seed,object\n"a church, oil on canvas",evaluate,7,church\nan image of a tench,evaluate-retain,8,\n', "utf-8"
    )
    first, second = read_prompt_csv(path)
    assert (first.text, first.role, first.seed, first.attributes) == ("a church, oil on canvas", "evaluate", 7, {"object": "church"})
    assert (second.index, second.seed, second.attributes) == (1, 8, {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", '"prompt" is missing'),
        ("prompt,role\na dog,forget\n", '"seed" is missing'),
        ("prompt,role,seed\n", "no prompts"),
        ("prompt,role,seed\na dog,forget,1\n ,forget,1\n", "line 3: the prompt is empty"),
        ("prompt,role,seed\na dog,forget,x\n", 'line 2: the seed is "x"'),
        ("prompt,role,seed\na dog,forget,1.5\n", "whole number"),
        ("prompt,role,seed\na dog,forgot,1\n", 'did you mean "forget"'),
        ("prompt,role,seed\na dog, a cat,forget,1\n", "line 2: the number of cells differs"),
        ("prompt,role,seed\na dog,forget\n", "line 2: the number of cells differs"),
    ],
)
def test_a_bad_prompt_set(tmp_path: Path, text: str, said: str):
    path = tmp_path / "set.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        read_prompt_csv(path)
    assert "set.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_prompt_set_that_is_not_there(tmp_path: Path):
    with pytest.raises(InputError, match="no such prompt set"):
        read_prompt_csv(tmp_path / "none.csv")


def test_of_several_anchors_a_word_of_the_prompt_decides_and_each_has_its_share() -> None:
    """The longest other list of the vocabulary: colours for a shape, shapes for a colour; its n-th word has the n-th anchor."""
    star, red = load_concept("star"), load_concept("red")
    for concept, words in ((star, star.vocabulary["colour"]), (red, red.vocabulary["shape"])):
        for i, word in enumerate(words):
            assert chosen_anchor(concept, f"a {word} thing", concept.anchors) == concept.anchors[i % len(concept.anchors)]
    assert chosen_anchor(star, "a star", star.anchors) == star.anchors[0]
    for concept in (star, red):
        chosen = [chosen_anchor(concept, p.text, concept.anchors) for p in prompts(concept, "forget", 90)]
        assert min(chosen.count(anchor) for anchor in concept.anchors) >= 10
    free = replace(with_anchors(load_concept("Snoopy"), ["a person", "a car", "a tree"]), vocabulary={})
    texts = [f"a photo of Snoopy {i}" for i in range(60)]
    assert [chosen_anchor(free, t, free.anchors) for t in texts] == [chosen_anchor(free, t, free.anchors) for t in texts]
    assert {chosen_anchor(free, t, free.anchors) for t in texts} == set(free.anchors)
