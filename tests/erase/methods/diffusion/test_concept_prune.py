"""ConceptPrune chooses by hand-worked scores, and takes a layer's inputs from the network as it runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusion_toys import made_up, task_of
from toys import copied

from erase.diffusion import StableDiffusion
from erase.diffusion.batches import required_anchor
from erase.errors import InputError
from erase.methods import make_method
from erase.methods.diffusion.concept_prune import ConceptPrune, chosen, input_norms


def test_on_paper_the_largest_of_a_row_that_the_concept_excites_more_than_the_base() -> None:
    """Scores |W| n of row 0 are (2, 6, 4), of row 1 (3, 2, 4): the largest of each, but input 1 is larger under the base."""
    weight = torch.tensor([[-2.0, 2.0, 1.0], [3.0, -2 / 3, 1.0]])
    concept, base = torch.tensor([[1.0, 3.0, 4.0]]), torch.tensor([[0.5, 3.5, 3.0]])
    assert chosen(weight, concept, base, 1 / 3).tolist() == [[False, False, False], [False, False, True]]
    assert chosen(weight, concept, base, 2 / 3).tolist() == [[False, False, True], [True, False, True]]
    both = chosen(weight, torch.cat([concept, base]), torch.cat([base, concept]), 1 / 3)  # the second window the other way round
    assert both.tolist() == [[False, True, False], [False, False, True]]


def test_a_share_of_no_entry_is_refused() -> None:
    with pytest.raises(InputError, match=r"^--fraction 0.01 prunes none of the 3 entries of a row; give a larger share$"):
        chosen(torch.ones(2, 3), torch.ones(1, 3), torch.ones(1, 3), 0.01)


def test_inputs_are_those_of_the_layer_by_window_of_timesteps(tiny_pipeline: Path) -> None:
    task = task_of(StableDiffusion(tiny_pipeline), scope=ConceptPrune().scope)
    name = next(iter(task.weights))
    layer, seen = task.network.get_submodule(name.removesuffix(".weight")), []
    concept, base = input_norms(task, 2, 2)
    handle = layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    batches = [task.forget(i) for i in range(2)]
    with torch.no_grad():
        for batch in [*batches, *(replace(batch, prompt=required_anchor(batch)) for batch in batches)]:
            task.loss(task.network, batch)
    handle.remove()
    order = torch.cat([batch.timesteps for batch in batches]).argsort(descending=True)
    for norms, rows in ((concept, torch.cat(seen[:2])), (base, torch.cat(seen[2:]))):
        unit = rows / rows.norm(dim=-1, keepdim=True)
        expected = torch.stack([unit[order[:4]].flatten(0, 1).norm(dim=0), unit[order[4:]].flatten(0, 1).norm(dim=0)])
        torch.testing.assert_close(norms[name], expected)
    task.micro_batch = 1
    torch.testing.assert_close(input_norms(task, 2, 2)[0][name], concept[name])


@pytest.mark.parametrize("initialisation", ["zero", "uniform"])
def test_what_is_pruned_gets_new_values_and_the_rest_stays(tiny_pipeline: Path, initialisation: str) -> None:
    task = task_of(StableDiffusion(tiny_pipeline), scope=ConceptPrune().scope)
    before = copied(task.network)
    method = make_method("concept_prune", fraction=0.1, batches=1, windows=2, initialisation=initialisation)
    concept, base = input_norms(task, 1, 2)
    masks = {name: chosen(weight.detach(), concept[name], base[name], 0.1) for name, weight in task.weights.items()}
    [step] = method(task)
    assert step.unlearn_loss < 0
    for name, weight in task.weights.items():
        assert masks[name].any()
        assert torch.equal(weight.detach() != before[name], masks[name])
        assert (weight.detach()[masks[name]] == 0).all() == (initialisation == "zero")
        assert task.layers[name]["trimmed"] == pytest.approx(float(masks[name].float().mean()))


def test_without_an_anchor_there_is_no_base(tiny_pipeline: Path) -> None:
    bare = replace(made_up().forget, anchors=torch.zeros(5, 0, dtype=torch.int64))
    task = task_of(StableDiffusion(tiny_pipeline), latents=replace(made_up(), forget=bare), scope=ConceptPrune().scope)
    with pytest.raises(InputError, match="the batches carry no anchor prompts"):
        list(make_method("concept_prune", batches=1)(task))
