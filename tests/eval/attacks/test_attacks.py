"""Each attack does what it says: it lowers its own objective, its bounds are exact, and a seed gives the same again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import attacking
import pytest
import torch
from torch.testing import assert_close

from erase.diffusion import open_model
from erase.errors import InputError
from erase.images import load_pixels
from eval.attacks.attack import Goal, facts, noise_of, sources
from eval.attacks.latents import ddim
from eval.attacks.latents.completion import Completion, side
from eval.attacks.latents.likelihood import Likelihood
from eval.attacks.latents.null_text import NullText, followed
from eval.attacks.latents.partial import Partial
from eval.attacks.latents.regenerate import Regenerate
from eval.attacks.latents.seeds import Seeds
from eval.attacks.papers import PAPER
from eval.attacks.registry import ATTACKS, QUICK, chosen, lacking
from eval.attacks.text.coordinate_descent import CoordinateDescent
from eval.attacks.text.denoising_error import levels_of
from eval.attacks.text.direction import Direction, without
from eval.attacks.text.hard_prompt import HardPrompt, as_the_original
from eval.attacks.text.inversion import Inversion, captioned, embed_with, marker
from eval.attacks.text.listed import listed
from eval.attacks.text.paraphrase import Paraphrase, misspelt, tried
from eval.attacks.text.prefix import Prefix
from eval.attacks.text.random_tokens import RandomTokens
from eval.attacks.text.token_search import descend, drawn, joined, sweep, vocabulary
from eval.attacks.victim import Victim
from eval.attacks.weights.arithmetic import between, most_moved, plus, rounded, same_names, weights_of
from eval.attacks.weights.interpolate import Interpolate
from eval.attacks.weights.relearn import Relearn
from eval.attacks.weights.training import named
from eval.attacks.weights.transfer import Transfer

# the same attacks, as short as they can be
SHORT = {
    **ATTACKS,
    "paraphrase": Paraphrase(wordings=2),
    "random-tokens": RandomTokens(words=2, tries=2),
    "prefix": Prefix(words=2, steps=2, candidates=2, levels=1),
    "hard-prompt": HardPrompt(words=3, steps=2, levels=1),
    "direction": Direction(words=3, steps=1, candidates=2, strengths=(2.0,)),
    "inversion-1": Inversion(vectors=1, steps=(1,), batch=2),
    "inversion": Inversion(vectors=2, steps=(1, 2), batch=2),
    "inversion-8": Inversion(vectors=8, steps=(1,), batch=2),
    "regenerate": Regenerate(steps=(2,)),
    "likelihood": Likelihood(steps=2),
    "coordinate-descent": CoordinateDescent(words=2, sweeps=1, candidates=2, levels=1),
    "null-text": NullText(steps=2, inner=(1,)),
    "seeds": Seeds(seeds=4),
    "partial": Partial(shares=(0.5,)),
    "completion": Completion(given=(0.5,), tries=2, again=2),
    "relearn": Relearn(steps=2, batch=2),
    "relearn-fast": replace(ATTACKS["relearn-fast"], steps=2, batch=2),
    "benign": replace(ATTACKS["benign"], steps=2, batch=2),
    "transfer": Transfer(steps=1, times=(1.0,)),
    "revive": replace(ATTACKS["revive"], steps=2, batch=2),
    "prefix-paper": replace(PAPER["prefix-paper"], words=2, steps=2, candidates=2, rounds=3),
    "hard-prompt-paper": replace(PAPER["hard-prompt-paper"], words=3, steps=4, levels=1, every=2),
    "direction-paper-16": replace(PAPER["direction-paper-16"], words=3, steps=1, candidates=2),
}


@pytest.fixture(scope="module")
def goal(tmp_path_factory: pytest.TempPathFactory) -> Goal:
    return attacking.goal(tmp_path_factory.mktemp("pictures"))


def looks(attack: object, victim: Victim, goal: Goal, attempts: list[int], seed: int = 0) -> list:
    return list(attack(victim, goal, attempts, seed))  # type: ignore[operator]


# --- all of them ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*ATTACKS, "prefix-paper", "hard-prompt-paper", "direction-paper-16"])
def test_an_attack_gives_a_picture_an_attempt_the_same_for_the_same_seed_in_the_passes_that_it_says(
    name: str, tiny_pipeline: Path, goal: Goal
):
    victims = [attacking.victim(tiny_pipeline, tiny_pipeline) for _ in range(2)]
    first, again = (looks(SHORT[name], victim, goal, [0, 1]) for victim in victims)
    assert first
    for one, two in zip(first, again, strict=True):
        assert len(one.images) == len(one.by) == 2
        assert one.images[0].size == (64, 64)
        assert list(one.by) == list(two.by)
        assert attacking.same_pictures(one.images, two.images)
    took = victims[0].passes.drawing + victims[0].passes.other
    assert 0 < took <= SHORT[name].passes(2, 2 * victims[0].steps) <= 1.5 * took


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
@pytest.mark.parametrize("name", ["prefix", "hard-prompt", "coordinate-descent", "direction", "inversion", "null-text", "relearn"])
def test_families_are_attacked_by_the_same_code(family: str, name: str, family_folders: dict[str, Path], goal: Goal):
    folder = family_folders[family]
    found = looks(SHORT[name], attacking.victim(folder, folder), goal, [0])
    assert all(len(look.images) == 1 for look in found)


def test_unknown_names_are_said_and_quick_is_a_part_of_all():
    assert set(QUICK) <= set(ATTACKS)
    assert set(chosen(["quick", "inversion-8"])) == {*QUICK, "inversion-8"}
    with pytest.raises(InputError, match='"inverson" is unknown, did you mean "inversion'):
        chosen(["inverson"])


def test_the_attacks_of_papers_have_their_counts(tiny_pipeline: Path, goal: Goal):
    """UnlearnDiffAtk: 40 steps at each of 50 timesteps, an image after each; P4D: 16 words, 3,000 steps, an image every 50."""
    assert chosen(["paper"]) == PAPER
    prefix, hard = PAPER["prefix-paper"], PAPER["hard-prompt-paper"]
    assert (prefix.words, prefix.steps, prefix.rounds, prefix.plain) == (5, 40, 50, True)
    assert (hard.words, hard.steps, len(hard.stops), hard.stops[-1]) == (16, 3000, 60, 3000)
    directions = [attack for name, attack in PAPER.items() if name.startswith("direction")]
    assert [(each.words, each.strengths, each.named, each.mean) for each in directions] == [(n, (3.0,), True, True) for n in (16, 38, 75)]
    inversion = PAPER["inversion-paper"]
    assert (inversion.vectors, inversion.steps, inversion.batch) == (1, (5000,), 16)
    short = looks(SHORT["prefix-paper"], attacking.victim(tiny_pipeline), goal, [0, 1])
    assert len(short) == 1 + 3  # the plain prompt, then one look after each round
    assert list(short[0].by) == [goal.of(0).text, goal.of(1).text]
    assert all(text.endswith(f" {goal.of(0).text}") for text in (look.by[0] for look in short[1:]))


def test_options_of_papers_leave_the_records_of_earlier_attacks_as_they_were():
    """A turn on disk is known by its record: what is new counts only where it is used."""
    assert set(facts(ATTACKS["prefix"])["options"]) == {"words", "steps", "candidates", "levels"}
    assert set(facts(ATTACKS["direction"])["options"]) == {"words", "steps", "candidates", "strengths"}
    assert facts(PAPER["prefix-paper"])["options"] == {"words": 5, "steps": 40, "candidates": 4, "levels": 3, "rounds": 50, "plain": True}


def test_a_prompt_with_a_seed_of_its_own_starts_from_it_once(goal: Goal):
    own = replace(goal, targets=(replace(goal.targets[0], seed=7), *goal.targets[1:]))
    first, second, again = own.sources(3, [0, 1, len(own.targets)])
    assert torch.equal(torch.randn(4, generator=first), torch.randn(4, generator=torch.Generator().manual_seed(7)))
    for source, attempt in ((second, 1), (again, len(own.targets))):
        assert torch.equal(torch.randn(4, generator=source), torch.randn(4, generator=noise_of(3, attempt)))


def test_what_an_attack_lacks_is_said_in_a_line():
    missing = {"original": "it is not at hand", "pictures": None}
    assert lacking(ATTACKS["hard-prompt"], missing) == "needs the model before the erasure: it is not at hand"
    assert lacking(ATTACKS["inversion"], missing) is None


# --- what a victim is told and draws --------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["sd2", "sdxl"])
def test_a_victim_draws_what_the_pipeline_draws(family: str, family_folders: dict[str, Path]):
    victim = attacking.victim(family_folders[family])
    texts = ["a red star", "a blue ring"]
    mine = victim.draw(victim.embed(texts), sources(3, [0, 1]))
    theirs = open_model(family_folders[family]).sampler(2, 2.0)(texts, sources(3, [0, 1]))
    assert attacking.same_pictures(mine, theirs)
    assert victim.passes.drawing == 2 * 2 * 2
    assert victim.passes.other == 0


def test_a_victim_draws_with_the_sampler_of_the_runs_images(tiny_pipeline: Path):
    model = open_model(tiny_pipeline)
    victim = Victim(model, 2, 2.0, 4, None, "LMSDiscreteScheduler")
    texts = ["a red star", "a blue ring"]
    mine = victim.draw(victim.embed(texts), sources(3, [0, 1]))
    theirs, own = (model.sampler(2, 2.0, name)(texts, sources(3, [0, 1])) for name in ("LMSDiscreteScheduler", None))
    assert attacking.same_pictures(mine, theirs)
    assert not attacking.same_pictures(mine, own)


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_the_words_own_vectors_say_what_the_words_say(family: str, family_folders: dict[str, Path], goal: Goal):
    """Vectors put in the place of a marker are read as the word whose vectors they are."""
    victim = attacking.victim(family_folders[family])
    words = vocabulary(victim)
    mark = marker(words, ["a red star"])
    number = words.words.index("star")
    vectors = [table[numbers[[number]]] for table, numbers in zip(victim.tables(), words.numbers, strict=True)]
    embeddings = embed_with(victim, words, mark, vectors, [f"a red {mark}"])
    wanted = victim.embed(["a red star"])
    assert_close(embeddings.text, wanted.text)
    if wanted.pooled is not None:
        assert_close(embeddings.pooled, wanted.pooled)


def test_vectors_take_turns_where_the_marker_stands(goal: Goal):
    assert captioned(goal, goal.targets[0], "xyz", 3) == "a red xyz xyz xyz"
    assert goal.renamed("two stars and a square", "ring") == "two ring and a square"
    assert goal.renamed("a square", "ring") == "ring, a square"
    assert without(goal, "a red star", 1) == "a red ring"


def test_every_word_of_the_vocabulary_is_one_token_and_none_is_banned(tiny_pipeline: Path):
    victim = attacking.victim(tiny_pipeline)
    words = vocabulary(victim, ["star"])
    assert "star" not in words.words
    assert {"circle", "red"} <= set(words.words)
    read = victim.model.pipeline.tokenizer(list(words.words)).input_ids
    assert [numbers[1:-1] for numbers in read] == [[number] for number in words.numbers[0].tolist()]


# --- prompts --------------------------------------------------------------------------------------------------------


def test_wordings_mean_the_concept_or_misspell_it(goal: Goal):
    found = tried(goal, 0, 4, 0)
    assert found[0] == "a five-pointed shape"
    assert len(set(found)) == 4
    assert "star star star" in misspelt("star")
    assert {"str", "staar", "satr", "s t a r"} <= set(misspelt("star"))
    assert all(text != goal.of(0).text for text in found)


def test_the_descent_never_raises_its_objective_and_lowers_it(tiny_pipeline: Path, goal: Goal):
    victim = attacking.victim(tiny_pipeline)
    words = vocabulary(victim, goal.words)
    attempts = [0, 1]
    levels = levels_of(victim, goal, attempts, 0, 2)
    draws = [noise_of(0, i) for i in attempts]
    rows, rests = drawn(words, 3, draws), [goal.of(i).text for i in attempts]
    first = levels.loss(victim, victim.embed(joined(words, rows, rests)), torch.arange(2)).detach()
    path = list(descend(victim, words, rows, rests, lambda embeddings, owner: levels.loss(victim, embeddings, owner), 6, 6, draws))
    losses = torch.stack([first, *(best for _, best in path)])
    assert (losses[1:] <= losses[:-1]).all()
    assert (losses[-1] < losses[0]).all()
    again = levels.loss(victim, victim.embed(joined(words, path[-1][0], rests)), torch.arange(2)).detach()
    assert_close(again, losses[-1])  # the text itself has the loss that was reported


def test_a_pass_over_all_positions_takes_the_best_of_the_words_at_each_and_ends_where_nothing_is_better(tiny_pipeline: Path, goal: Goal):
    """With every word as a candidate it is exhaustive: after it, no other word at the last position has a lower loss."""
    victim = attacking.victim(tiny_pipeline)
    words = vocabulary(victim, goal.words)
    levels = levels_of(victim, goal, [0, 1], 0, 1)
    rows = drawn(words, 2, [noise_of(0, i) for i in (0, 1)])

    def loss(embeddings: object, owner: torch.Tensor) -> torch.Tensor:
        return levels.loss(victim, embeddings, owner)  # type: ignore[arg-type]

    first = loss(victim.embed([words.text(row) for row in rows]), torch.arange(2)).detach()
    found, best = sweep(victim, words, rows, first, loss, len(words))
    assert (best <= first).all()
    assert_close(loss(victim.embed([words.text(row) for row in found]), torch.arange(2)).detach(), best)
    for k in (0, 1):
        others = found[k].repeat(len(words), 1)
        others[:, 1] = torch.arange(len(words))
        with torch.no_grad():
            every = loss(victim.embed([words.text(row) for row in others]), torch.full((len(words),), k))
        assert every.min() >= best[k] - 1e-6
    again, same = sweep(victim, words, found, torch.full((2,), -1.0), loss, 2)
    assert torch.equal(again, found)
    assert torch.equal(same, torch.full((2,), -1.0))


def test_the_original_answers_as_the_original_where_the_concept_is_named(tiny_pipeline: Path, goal: Goal):
    victim = attacking.victim(tiny_pipeline, tiny_pipeline)
    levels = as_the_original(victim, goal, [0, 1], 5, 3)
    index = torch.arange(2)
    with torch.no_grad():
        named = levels.loss(victim, victim.embed([goal.of(i).text for i in (0, 1)]), index)
        swapped = levels.loss(victim, victim.embed([goal.of(i).text for i in (1, 0)]), index)
    assert_close(named, torch.zeros(2), atol=1e-10, rtol=0)
    assert (swapped > 1e-8).all()


def test_a_list_brings_its_prompts_and_seeds(tmp_path: Path, tiny_pipeline: Path, goal: Goal):
    path = tmp_path / "list.csv"
    path.write_text("case_number,prompt,evaluation_seed\n0,a red star,7\n1,stars,8\n")
    attack = listed(path)
    assert (attack.texts, attack.seeds, attack.most) == (("a red star", "stars"), (7, 8), 2)
    look = looks(attack, attacking.victim(tiny_pipeline), goal, [1])[0]
    theirs = open_model(tiny_pipeline).sampler(2, 2.0)(["stars"], [torch.Generator().manual_seed(8)])
    assert attacking.same_pictures(look.images, theirs)
    path.write_text("caption\nred star\n")
    with pytest.raises(InputError, match=r"has no column .*it has caption"):
        listed(path)


def test_a_row_is_attacked_and_drawn_with_its_own_guidance(tmp_path: Path, tiny_pipeline: Path, goal: Goal):
    path = tmp_path / "list.csv"
    path.write_text("prompt,evaluation_seed,evaluation_guidance\na red star,7,9\nstars,8,\na ring,9,9.0\n")
    look = looks(listed(path), attacking.victim(tiny_pipeline), goal, [0, 1, 2])[0]
    seeds, model = [torch.Generator().manual_seed(seed) for seed in (7, 9)], open_model(tiny_pipeline)
    nine = model.sampler(2, 9.0)(["a red star", "a ring"], seeds)
    two = model.sampler(2, 2.0)(["stars"], [torch.Generator().manual_seed(8)])
    assert attacking.same_pictures(look.images, [nine[0], two[0], nine[1]])
    own = replace(goal, targets=(replace(goal.targets[0], guidance=9.0), goal.targets[1]))
    named, plain = (looks(ATTACKS["named"], attacking.victim(tiny_pipeline), each, [0, 1])[0].images for each in (own, goal))
    assert not attacking.same_pictures(named[:1], plain[:1])


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_a_direction_leads_from_the_harmless_prompt_to_the_one_that_names_it(
    strength: float, tiny_pipeline: Path, goal: Goal, monkeypatch: pytest.MonkeyPatch
):
    """At strength 0 nothing is nearer than the harmless prompt itself, at 1 the prompt with the name: both are hit exactly."""
    victim, seen = attacking.victim(tiny_pipeline), []

    def asked(victim, words, rows, rests, loss, *more):
        texts = [goal.of(i).text if strength else without(goal, goal.of(i).text, i) for i in (0, 1)]
        seen.append(loss(victim.embed(texts), torch.arange(2)))
        yield rows, seen[-1]

    monkeypatch.setattr("eval.attacks.text.direction.descend", asked)
    looks(replace(SHORT["direction"], strengths=(strength,)), victim, goal, [0, 1])
    assert_close(seen[0], torch.zeros(2))


# --- embeddings -----------------------------------------------------------------------------------------------------


def test_inversion_lowers_the_training_loss_of_its_pictures(tiny_pipeline: Path, goal: Goal):
    victim = attacking.victim(tiny_pipeline)
    attack = Inversion(vectors=2, steps=(1, 40), batch=6, rate=0.05)
    first, last = ([table.detach() for table in look.tensors.values()] for look in looks(attack, victim, goal, [0]))
    words = vocabulary(victim, goal.words)
    mark = marker(words, [target.text for target in goal.targets])
    losses = [_error(victim, goal, words, mark, vectors) for vectors in (first, last)]
    assert losses[1] < losses[0]


@torch.no_grad()
def _error(victim: Victim, goal: Goal, words: object, mark: str, vectors: list[torch.Tensor]) -> float:
    levels = levels_of(victim, goal, [0, 1, 2], 5, 8)
    texts = [captioned(goal, target, mark, len(vectors[0])) for target in goal.targets]
    return float(levels.loss(victim, embed_with(victim, words, mark, vectors, texts), torch.arange(3)).mean())  # type: ignore[arg-type]


# --- latents --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["sd1", "sd2"])
def test_latents_come_back_from_their_noise_and_the_nearer_the_smaller_the_steps(family: str, family_folders: dict[str, Path], goal: Goal):
    victim = attacking.victim(family_folders[family])
    clean = victim.model.encode(load_pixels([goal.targets[0].picture], 64))
    answer = ddim.predictor(victim, victim.embed([""]))
    off = []
    for steps in (5, 50):
        at = ddim.times(victim, steps)
        path = ddim.inverted(victim, clean, answer, at)
        assert len(path) == steps + 1
        assert torch.equal(path[-1], clean)
        off.append(float((ddim.drawn(victim, path[0], answer, at) - clean).square().mean()))
    assert off[1] < off[0]


def test_a_noise_that_is_answered_everywhere_is_undone_exactly(family_folders: dict[str, Path]):
    victim = attacking.victim(family_folders["sd1"])
    clean, noise = (torch.randn(1, *victim.shape, generator=noise_of(0, k)) for k in (0, 1))
    at = ddim.times(victim, 7)
    path = ddim.inverted(victim, clean, lambda latents, time: noise, at)
    assert_close(ddim.drawn(victim, path[0], lambda latents, time: noise, at), clean, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["sd1", "sd2"])
def test_a_step_to_noise_that_is_refined_is_undone_more_nearly_and_exactly_in_the_end(family: str, family_folders: dict[str, Path]):
    """Of answers that change little with the latents, as those of small steps do, the refinements converge."""
    victim = attacking.victim(family_folders[family])
    clean, at = torch.randn(1, *victim.shape, generator=noise_of(0, 0)), ddim.times(victim, 6)

    def answer(latents: torch.Tensor, time: int) -> torch.Tensor:
        return 0.2 * torch.tanh(latents) + 0.1 * time / 1000

    paths = [ddim.inverted(victim, clean, answer, at, refinements) for refinements in (0, 2, 60)]
    off = [float((ddim.drawn(victim, path[0], answer, at) - clean).square().mean()) for path in paths]
    assert off[0] > off[1] > off[2]
    assert off[2] < 1e-6


def test_the_likelihood_of_an_attempt_is_that_of_the_noise_that_it_keeps(tiny_pipeline: Path, goal: Goal):
    victim = attacking.victim(tiny_pipeline)
    (look,) = looks(Likelihood(steps=3), victim, goal, [0, 1])
    noise = look.tensors["noise"].double()
    expected = -torch.distributions.Normal(0.0, 1.0).log_prob(noise).flatten(1).mean(dim=1)
    assert list(look.numbers["nll"]) == pytest.approx(expected.tolist())
    assert set(look.numbers) == {"nll", "nll_others", "psnr", "psnr_autoencoder", "values"}
    alone = looks(Likelihood(steps=3), victim, replace(goal, others=()), [0])[0]
    assert "nll_others" not in alone.numbers
    assert alone.numbers["nll"] == pytest.approx(look.numbers["nll"][:1])


def test_a_step_to_the_clean_picture_gives_the_clean_picture_of_a_right_answer(family_folders: dict[str, Path]):
    """With the very noise for an answer, one step from any time lands on the picture exactly."""
    for family in ("sd1", "sd2"):
        victim = attacking.victim(family_folders[family])
        clean, noise = torch.randn(2, *victim.shape, generator=noise_of(0, 0)), torch.randn(2, *victim.shape, generator=noise_of(0, 1))
        at = torch.tensor([400, 400])
        noisy, right = victim.noised(clean, noise, at)
        assert_close(ddim.ddim_step(victim, noisy, right, 400, -1), clean, atol=1e-5, rtol=1e-5)
        assert_close(ddim.ddim_step(victim, noisy, right, 400, 700), victim.noised(clean, noise, at + 300)[0], atol=1e-5, rtol=1e-5)


def test_an_embedding_at_every_step_follows_the_path_more_nearly(tiny_pipeline: Path, goal: Goal):
    victim = attacking.victim(tiny_pipeline)
    clean = victim.model.encode(load_pixels([goal.targets[0].picture], 64))
    nothing = victim.embed([""])
    at = ddim.times(victim, 4)
    path = ddim.inverted(victim, clean, ddim.predictor(victim, nothing), at)
    off = [float((followed(victim, path, nothing, at, inner) - clean).square().mean()) for inner in (0, 8)]
    assert off[1] < off[0]


def test_what_is_given_of_a_picture_stays_and_sides_take_turns(tiny_pipeline: Path, goal: Goal):
    shown = [side((4, 8, 8), 0.25, turn) for turn in range(4)]
    assert [int(where.sum()) for where in shown] == [16] * 4
    assert bool(shown[0][0, :, :2].all())
    assert bool(shown[1][0, :2].all())
    assert bool(shown[2][0, :, 6:].all())
    assert bool(shown[3][0, 6:].all())
    victim = attacking.victim(tiny_pipeline)
    whole = looks(Completion(given=(1.0,), tries=1), victim, goal, [0])[0]
    clean = victim.model.encode(load_pixels([goal.targets[0].picture], 64))
    assert attacking.same_pictures(whole.images, victim.decode(clean))
    first, second = looks(Completion(given=(0.5,), tries=2), victim, goal, [0])
    assert not attacking.same_pictures(first.images, second.images)  # other noise


def test_of_each_doubling_of_the_seeds_the_nearest_are_looked_at_and_none_twice(
    tiny_pipeline: Path, goal: Goal, monkeypatch: pytest.MonkeyPatch
):
    """Of seeds 0, 1 | 2, 3 | 4 to 7 with the distances below, two a round."""
    far = iter([[5.0, 3.0], [4.0, 1.0], [2.0, 9.0, 8.0, 0.0]])
    monkeypatch.setattr("eval.attacks.latents.seeds.distances", lambda *given: next(far))
    found = looks(Seeds(seeds=8, nearest=2), attacking.victim(tiny_pipeline), goal, [0])
    assert [look.by[0] for look in found] == [f"seed {j} of {end}" for j, end in ((1, 2), (0, 2), (3, 4), (2, 4), (7, 8), (4, 8))]


# --- weights --------------------------------------------------------------------------------------------------------


def test_rounding_is_exact_on_a_hand_case():
    weights = {"w": torch.tensor([[0.7, -0.31, 0.05], [7.0, 1.4, -3.6]]), "b": torch.tensor([0.123])}
    found = rounded(weights, 4)  # seven steps to the largest of each row: 0.1 and 1.0
    assert_close(found["w"], torch.tensor([[0.7, -0.3, 0.0], [7.0, 1.0, -4.0]]))  # 0.5 rounds to even
    assert torch.equal(found["b"], weights["b"])
    for bits in (4, 8):
        step = weights["w"].abs().amax(dim=1, keepdim=True) / (2 ** (bits - 1) - 1)
        assert ((rounded(weights, bits)["w"] - weights["w"]).abs() <= step / 2 + 1e-6).all()
    assert torch.equal(rounded(found, 4)["w"], found["w"])  # what is on the grid stays


def test_the_ends_of_the_way_are_the_two_models_and_the_middle_is_the_mean():
    a, b = {"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([3.0, 6.0])}
    assert torch.equal(between(a, b, 0.0)["w"], a["w"])
    assert torch.equal(between(a, b, 1.0)["w"], b["w"])
    assert_close(between(a, b, 0.5)["w"], torch.tensor([2.0, 4.0]))
    assert_close(plus(a, b, a, 2.0)["w"], torch.tensor([5.0, 10.0]))
    with pytest.raises(InputError, match=r"have different parameters, e\.g\. v; give the original from which it was erased"):
        same_names(a, {**b, "v": b["w"]})


def test_interpolation_to_the_end_draws_what_the_base_draws(family_folders: dict[str, Path], tmp_path: Path, goal: Goal):
    from tiny_pipeline import build_family

    other = build_family("sd1", tmp_path / "other", seed=5)
    base = attacking.victim(family_folders["sd1"])
    victim = attacking.victim(other, family_folders["sd1"])
    assert not attacking.same_weights(victim.network, base.network)
    looks(Interpolate(shares=(1.0,)), victim, goal, [0])
    assert attacking.same_weights(victim.network, base.network)


def test_the_mask_holds_what_moved_furthest_of_what_changed():
    before = {"a": torch.zeros(4), "b": torch.zeros(4)}
    now = {"a": torch.tensor([0.0, 3.0, -5.0, 1.0]), "b": torch.zeros(4)}
    assert most_moved(now, before, 0.5)["a"].tolist() == [False, True, True, False]
    assert "b" not in most_moved(now, before, 0.5)
    assert most_moved(before, before, 0.5) == {}


def test_revival_changes_nothing_outside_the_mask_and_restoring_nothing_else(family_folders: dict[str, Path], tmp_path: Path, goal: Goal):
    from tiny_pipeline import build_family

    other = build_family("sd1", tmp_path / "other", seed=5)
    for name in ("revive", "restore"):
        victim = attacking.victim(other, family_folders["sd1"])
        own, base = weights_of(victim.network), weights_of(open_model(family_folders["sd1"]).network())
        attack = replace(SHORT[name], **({"fraction": 0.02} if name == "revive" else {"fractions": (0.02,)}))
        looks(attack, victim, goal, [0])
        masks = most_moved(own, base, 0.02)
        now = weights_of(victim.network)
        assert any(not torch.equal(now[key], own[key]) for key in own)
        for key, weight in now.items():
            assert torch.equal(weight[~masks[key]], own[key][~masks[key]])
            if name == "restore":
                assert torch.equal(weight[masks[key]], base[key][masks[key]])


def test_relearning_lowers_the_loss_on_the_concept_and_what_is_named_changes(tiny_pipeline: Path, goal: Goal):
    victim = attacking.victim(tiny_pipeline)
    levels = levels_of(victim, goal, [0, 1, 2], 9, 4)
    embeddings = victim.embed([target.text for target in goal.targets])
    first, drawn_first = float(levels.loss(victim, embeddings, torch.arange(3)).detach().mean()), named(victim, goal, [0], 0)
    looks(Relearn(steps=20, batch=3, rate=1e-3), victim, goal, [0])
    assert float(levels.loss(victim, embeddings, torch.arange(3)).detach().mean()) < first
    assert not attacking.same_pictures(named(victim, goal, [0], 0), drawn_first)


def test_a_rate_so_many_times_as_high_moves_every_weight_so_many_times_as_far_at_first(tiny_pipeline: Path, goal: Goal):
    far = []
    for times in (1.0, 5.0):
        victim = attacking.victim(tiny_pipeline)
        before = weights_of(victim.network)
        looks(Relearn(steps=1, batch=3, times=times), victim, goal, [0])
        far.append(max(float((weight - before[name]).abs().max()) for name, weight in weights_of(victim.network).items()))
    assert far == pytest.approx([1e-4, 5e-4], rel=0.02)  # Adam's first step is the rate
