"""A larger network begins as the smaller one: it computes the same until it is trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from erase.demo import networks, pipeline_path
from erase.demo.scenes import world as scenes
from erase.demo.shapes.train import Denoiser
from erase.demo.training.grow import begin, grow, keep_words

CAPTIONS = ["a red star on a white background", "a drawing of a green shape like a box", ""]


@torch.no_grad()
def drawn(model: Denoiser, tokenizer) -> torch.Tensor:
    """What the UNet predicts for captions that both vocabularies can say."""
    tokens = tokenizer(CAPTIONS, padding="max_length", return_tensors="pt").input_ids
    noise = torch.randn(len(CAPTIONS), 8, 8, 8, generator=torch.Generator().manual_seed(0))
    return model.unet(noise, torch.tensor([900, 500, 100]), model.text_encoder(tokens)[0]).sample


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return networks.build_tokenizer(tmp_path_factory.mktemp("tokens"), scenes.words())


def test_the_network_of_scenes_begins_as_the_demo_s(tokenizer) -> None:
    torch.manual_seed(0)
    known = networks.build_tokenizer(pipeline_path() / "tokenizer")
    small = Denoiser(networks.build_unet(), networks.build_text_encoder(known)).eval()
    large = Denoiser(networks.build_unet(2), networks.build_text_encoder(tokenizer, 4)).eval()
    assert sum(p.numel() for p in large.parameters()) > sum(p.numel() for p in small.parameters())
    begin(small.unet, small.text_encoder, known, pipeline_path())
    begin(large.unet, large.text_encoder, tokenizer, pipeline_path())
    torch.testing.assert_close(drawn(large, tokenizer), drawn(small, known), rtol=0, atol=1e-5)
    shipped = load_file(pipeline_path() / "unet" / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(small.unet.state_dict()[name], tensor.float()) for name, tensor in shipped.items())


def test_what_is_new_can_learn(tokenizer) -> None:
    """Silent is not dead: the gradient of a silent last matrix is not zero."""
    torch.manual_seed(0)
    model = Denoiser(networks.build_unet(2), networks.build_text_encoder(tokenizer, 4))
    begin(model.unet, model.text_encoder, tokenizer, pipeline_path())
    tokens = tokenizer(CAPTIONS, padding="max_length", return_tensors="pt").input_ids
    model.unet(torch.randn(3, 8, 8, 8), torch.tensor([900, 500, 100]), model.text_encoder(tokens)[0]).sample.pow(2).mean().backward()
    silent = [(name, p) for name, p in model.named_parameters() if p.ndim == 2 and not p.any()]
    assert len(silent) == 3 * 3 + 2  # three matrices in each of three new transformers, two in the text encoder's new layer
    assert all(p.grad is not None and p.grad.abs().max() > 0 for _, p in silent)


def test_weights_that_the_larger_network_lacks_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="no other"):
        grow(nn.Linear(2, 2), {"other": torch.zeros(2)})


def test_words_keep_their_rows_and_new_ones_their_own() -> None:
    table = nn.Embedding(3, 2)
    before = table.weight.detach().clone()
    keep_words(table, torch.tensor([[1.0, 2.0], [3.0, 4.0]]), {"star": 0, "cross": 1}, {"two": 0, "star": 2, "left": 1})
    assert table.weight.tolist() == [before[0].tolist(), before[1].tolist(), [1.0, 2.0]]


def test_every_word_of_scenes_is_one_token(tokenizer) -> None:
    assert not [word for word in scenes.words() if len(tokenizer.tokenize(word)) != 1]
    captions = [scenes.caption(scene, np.random.default_rng(i)) for i, scene in enumerate(scenes.scenes(500, seed=1))]
    assert max(len(ids) for ids in tokenizer(captions).input_ids) <= networks.TOKENS
