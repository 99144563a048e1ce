"""Scopes name the weights they say, and say so when they name none."""

import pytest
import torch
from torch import nn

from erase.demo.networks import build_unet
from erase.errors import InputError
from erase.scope import SCOPE_HELP, SCOPES, in_scope, open_scope, trimmable


@pytest.fixture(scope="module")
def unet():
    return build_unet()


class Resnet(nn.Module):
    """Named like a torchvision residual network."""

    def __init__(self):
        super().__init__()
        self.layer3 = nn.Conv2d(2, 2, 3)
        self.layer4 = nn.Sequential(nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2))
        self.fc = nn.Linear(2, 3)


def test_every_scope_is_described():
    assert SCOPES.keys() == SCOPE_HELP.keys()
    assert all(SCOPE_HELP.values())


def test_attention_is_self_and_cross_attention_without_overlap(unet):
    both, self_, cross = (set(in_scope(unet, name)) for name in ("attention", "self-attention", "cross-attention"))
    assert both == self_ | cross
    assert not self_ & cross
    assert all(".attn1." in name for name in self_)
    assert all(".attn2." in name for name in cross)


def test_keys_and_values_are_two_matrices_a_cross_attention(unet):
    layers = sum(name.endswith("attn2") for name, _ in unet.named_modules())
    found = in_scope(unet, "cross-attention-kv")
    assert len(found) == 2 * layers
    assert {weight.shape[1] for weight in found.values()} == {unet.config.cross_attention_dim}


def test_cross_attention_and_its_complement_are_the_full_network(unet):
    cross, others, full = (in_scope(unet, name) for name in ("cross-attention", "not-cross-attention", "full"))
    assert len(full) == len(list(unet.parameters())) == len(cross) + len(others)
    assert cross.keys() | others.keys() == full.keys()


def test_noxattn_is_the_complement_without_output_layers_and_the_timesteps_embedding(unet):
    others, first = (set(in_scope(unet, name)) for name in ("not-cross-attention", "noxattn"))
    assert {name.split(".")[0] for name in others - first} == {"conv_out", "conv_norm_out", "time_embedding"}
    assert first < others
    assert "conv_in.weight" in first


def test_decoder_self_attention_is_output_blocks_4_and_7_of_stable_diffusion():
    """Its decoder has three blocks a level and attention in all levels but the lowest: 3 1 + 1 = 4 and 3 2 + 1 = 7."""
    names = [f"up_blocks.{level}.attentions.{i}.transformer_blocks.0.attn{a}.to_q" for level in (1, 2, 3) for i in range(3) for a in (1, 2)]
    decoder = nn.Module()
    for name in [*names, "down_blocks.1.attentions.1.transformer_blocks.0.attn1.to_q"]:
        place = decoder
        *parts, last = name.split(".")
        for part in parts:
            if part not in dict(place.named_children()):
                place.add_module(part, nn.Module())
            place = place.get_submodule(part)
        place.add_module(last, nn.Linear(1, 1, bias=False))
    blocks = {3 * int(n.split(".")[1]) + int(n.split(".")[3]) for n in in_scope(decoder, "decoder-self-attention")}
    assert blocks == {4, 7}
    assert len(in_scope(decoder, "decoder-self-attention")) == 2


def test_head_and_last_stage_of_a_classifier():
    assert set(in_scope(Resnet(), "head")) == {"fc.weight", "fc.bias"}
    assert {name.split(".")[0] for name in in_scope(Resnet(), "last-stage")} == {"layer4", "fc"}


def test_a_pattern_of_ones_own(unet):
    assert set(in_scope(unet, r"re:^conv_(in|out)\.weight$")) == {"conv_in.weight", "conv_out.weight"}


@pytest.mark.parametrize("scope", ["croos-attention", "re:nowhere", "re:(", "cross-attention", ""])
def test_a_scope_without_weights_is_refused_in_one_line_that_names_it(scope):
    with pytest.raises(InputError) as error:
        in_scope(Resnet(), scope)
    assert repr(scope) in str(error.value)
    assert "\n" not in str(error.value)
    if scope != "re:(":
        assert "not-cross-attention" in str(error.value)


def test_open_scope_opens_what_is_in_scope_and_closes_the_rest():
    network = Resnet()
    network.fc.weight.requires_grad_(False)
    opened = open_scope(network, "head")
    assert {name for name, weight in network.named_parameters() if weight.requires_grad} == opened.keys() == {"fc.weight", "fc.bias"}


def test_an_unknown_scope_leaves_the_network_as_it_was():
    network = Resnet()
    with pytest.raises(InputError):
        open_scope(network, "tail")
    assert all(weight.requires_grad for weight in network.parameters())


def test_trimmable_are_matrices_and_kernels_of_the_unet(unet):
    weights = in_scope(unet, "full")
    chosen = trimmable(weights)
    layers = {f"{name}.weight" for name, module in unet.named_modules() if isinstance(module, (nn.Linear, nn.Conv2d))}
    assert set(chosen) == layers


def test_trimmable_leaves_out_embeddings_and_gains():
    shapes = {
        "token_embedding.weight": (9, 4),
        "embeddings.position_embedding.weight": (9, 4),
        "pos_embed": (1, 9, 4),
        "cls_token": (1, 1, 4),
        "layers.0.layer_scale": (4, 1, 1),
        "scale_shift_table": (6, 4),
        "norm.weight": (4, 2, 2),
        "attn.bias_k": (1, 1, 4),
        "fc.bias": (4,),
        "class_embedding.weight": (9, 4),
        "patch_embedding.weight": (4, 3, 2, 2),
        "time_embedding.linear_1.weight": (4, 4),
        "patch_embed.proj.weight": (4, 3, 2, 2),
        "norm1.linear.weight": (4, 4),
        "conv1d.weight": (4, 4, 3),
    }
    chosen = trimmable({name: nn.Parameter(torch.zeros(shape)) for name, shape in shapes.items()})
    assert list(chosen) == list(shapes)[-5:]
