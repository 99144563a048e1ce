"""Inside: every weight in one field, numbers that are those of layers.json, a drawing that says what it shows."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from page_runs import erased_run, measured_run

from erase.errors import InputError
from erase.run import append_lines
from ui.web.context import Page
from ui.web.inside.layers import TYPES, Cell, block_of, cells, parameters, read_layers, summary, type_of
from ui.web.inside.unet_map import METRICS, formatted, unet_map

pytest.importorskip("gradio")
from ui.web.inside.view import HEADS, NONE, OLD, inside_of, listed

ATTN = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight"
OUT = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_out.0.bias"
WEIGHTS = [
    {"name": ATTN, "numel": 30, "sensitivity": 2.0, "trimmed": 0.5, "moved": 0.3},
    {"name": OUT, "numel": 10, "sensitivity": 6.0, "trimmed": 0.0, "moved": 0.5},
    {"name": "mid_block.resnets.0.conv1.weight", "numel": 60, "sensitivity": 1.0, "trimmed": 0.0, "moved": 0.1},
]


def page_of(runs: Path) -> Page:
    """The page as its owner sees it; Inside asks neither service."""
    return Page(runs, None, None)  # type: ignore[arg-type]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = erased_run(tmp_path)
    (folder / "layers.json").write_text(json.dumps({"weights": WEIGHTS}))
    steps = [{"step": k, "cosine": 0.5 - 0.1 * k, "coefficient": 1.0, "projected": k == 9} for k in range(1, 11)]
    append_lines(folder / "stats.jsonl", steps)
    return folder


@pytest.mark.parametrize(
    ("name", "block", "kind"),
    [
        (ATTN, "down 1", "cross-attention"),
        ("up_blocks.3.attentions.2.transformer_blocks.0.attn1.to_q.weight", "up 3", "self-attention"),
        ("transformer_blocks.7.attn.add_k_proj.weight", "block 7", "text stream"),
        ("transformer_blocks.7.attn.to_out.0.bias", "block 7", "image stream"),
        ("transformer_blocks.7.attn2.to_q.weight", "block 7", "self-attention"),
        ("transformer_blocks.7.ff_context.net.2.weight", "block 7", "feed-forward"),
        ("single_transformer_blocks.3.norm.linear.weight", "single 3", "modulation"),
        ("context_embedder.weight", "text in", "text stream"),
        ("time_text_embed.text_embedder.linear_1.weight", "text in", "text stream"),
        ("time_text_embed.timestep_embedder.linear_1.weight", "time", "time"),
        ("text_encoder.encoder.layers.11.self_attn.q_proj.weight", "text 11", "attention"),
        ("text_encoder_2.encoder.layers.0.mlp.fc1.weight", "text-2 0", "feed-forward"),
        ("text_encoder.final_layer_norm.weight", "text encoder", "norm"),
        ("mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj.weight", "middle", "feed-forward"),
        ("down_blocks.0.attentions.0.transformer_blocks.0.norm2.weight", "down 0", "norm"),
        ("down_blocks.0.attentions.0.proj_in.weight", "down 0", "projection"),
        ("up_blocks.0.resnets.1.time_emb_proj.bias", "up 0", "time"),
        ("up_blocks.0.resnets.1.conv_shortcut.weight", "up 0", "convolution"),
        ("down_blocks.0.downsamplers.0.conv.weight", "down 0", "resampling"),
        ("conv_in.weight", "conv in", "convolution"),
        ("conv_norm_out.weight", "conv out", "norm"),
        ("time_embedding.linear_1.weight", "time", "time"),
        ("add_embedding.linear_1.weight", "time", "time"),
        ("fc.weight", "fc", "other"),
    ],
)
def test_a_name_says_block_and_type(name, block, kind):
    assert (block_of(name), type_of(name)) == (block, kind)


def test_every_weight_of_the_network_is_in_one_field(run):
    everything = parameters(run)
    found = cells(read_layers(run), everything)
    assert sum(cell.numel for cell in found) == sum(everything.values()) > 4e6
    assert len({(cell.block, cell.kind) for cell in found}) == len(found)
    assert found[0].block == "time"
    assert {cell.kind for cell in found} <= set(TYPES)


def test_fields_are_means_over_weights():
    attention, middle = cells(WEIGHTS, {ATTN: 30, OUT: 10, "mid_block.resnets.0.conv1.weight": 60, "mid_block.resnets.0.conv2.weight": 40})
    assert (attention.sensitivity, attention.trimmed) == (pytest.approx(3.0), pytest.approx(0.375))
    assert attention.moved == pytest.approx(math.sqrt((30 * 0.09 + 10 * 0.25) / 40))
    assert (middle.numel, middle.scored, middle.sensitivity) == (100, 60, pytest.approx(1.0))


def test_what_is_not_recorded_is_none():
    [cell] = cells([], {"conv_in.weight": 5})
    assert (cell.scored, cell.sensitivity, cell.trimmed, cell.moved) == (0, None, None, None)
    [cell] = cells([{"name": "conv_in.weight", "numel": 5, "sensitivity": None, "moved": math.nan}], {})
    assert (cell.sensitivity, cell.moved) == (None, None)


def test_the_sentences_say_where_most_is(run):
    said = " ".join(summary(cells(read_layers(run), parameters(run))))
    assert "cross-attention in block down 1" in said
    assert "67% of all sensitivity in scope is in cross-attention" in said
    assert "15 weights were trimmed, 100% of them" in said
    assert "37.1% of its size" not in said  # that would be the plain mean
    assert "36.1% of its size" in said


@pytest.mark.parametrize("metric", METRICS)
def test_the_map_is_a_drawing_with_a_field_for_each_cell(run, metric):
    found = cells(read_layers(run), parameters(run))
    drawn = ET.fromstring(unet_map(found, metric, "a <run> & more"))
    space = "{http://www.w3.org/2000/svg}"
    titles = [title.text or "" for title in drawn.iter(f"{space}title")]
    assert len(titles) == len(found)
    assert sum("40 weights" in title or "in scope" in title for title in titles) == len(found)
    filled = [rect for group in drawn.iter(f"{space}g") for rect in group.iter(f"{space}rect") if rect.get("fill-opacity")]
    assert len(filled) == 2
    assert "a <run> & more" in str(drawn.get("aria-label"))
    inside = [float(str(rect.get("x"))) + float(str(rect.get("width"))) for rect in drawn.iter(f"{space}rect")]
    assert max(inside) <= float(str(drawn.get("width")))


def test_a_larger_value_is_darker_and_none_is_dashed():
    three = [Cell("down 0", "norm", 4, 4, value, value, value) for value in (0.1, 0.5, 1.0)] + [Cell("down 0", "time", 4, 0)]
    drawn = unet_map(three, "moved", "x")
    strengths = [float(text) for text in re.findall(r'<rect class="f-mark"[^>]*rx="3"[^>]*fill-opacity="([\d.]+)"', drawn)]
    assert len(strengths) == 3
    assert strengths == sorted(strengths)
    assert 'class="s-grid" fill="none"' in drawn


def test_the_blocks_stand_in_a_u():
    """Down, to the middle, and up again to the level where they began."""
    names = ["conv_in", "down_blocks.0.x", "down_blocks.1.x", "mid_block.x", "up_blocks.0.x", "up_blocks.1.x", "conv_out"]
    found = cells([{"name": f"{name}.norm", "numel": 1, "moved": 1.0} for name in names], {})
    heads = re.findall(r'y="([\d.]+)"[^>]*font-weight="600">([a-z]+(?: \w+)?)<', unet_map(found, "moved", "x"))
    height = {name: float(y) for y, name in heads}
    assert (
        height["conv in"] == height["down 0"] < height["down 1"] < height["middle"] > height["up 0"] > height["up 1"] == height["conv out"]
    )
    assert height["down 1"] == height["up 0"]


def test_the_tab_shows_a_run_and_opens_nothing_else(run, tmp_path):
    measured_run(tmp_path, "red-demo-scissorhands-1")
    assert listed(page_of(tmp_path)) == [run.name]
    drawn, numbers, curves = inside_of(page_of(tmp_path), run.name, "sensitivity")
    assert drawn.count("<svg") == 1
    assert all(f">{head}<" in numbers for head in HEADS)
    assert numbers.index("cross-attention") < numbers.index("convolution")  # the most sensitive first
    assert "In 5 of them" in curves
    assert "acted in 1" in curves
    for name in ("../star-demo-scissorhands-1", "red-demo-scissorhands-1", "x"):
        with pytest.raises(InputError, match="choose one from the list"):
            inside_of(page_of(tmp_path), name, "sensitivity")
    assert inside_of(page_of(tmp_path), None, "sensitivity") == (NONE, "", "")


def test_a_run_without_a_record_says_so(run, tmp_path):
    (run / "layers.json").write_text("{")
    drawn, numbers, curves = inside_of(page_of(tmp_path), run.name, "moved")
    assert (drawn, numbers, "<svg" in curves) == (OLD, "", True)


def test_numbers_as_text():
    assert [formatted("sensitivity", 1.234e-5), formatted("trimmed", 0.005), formatted("moved", None)] == ["1.2e-05", "0.50%", "–"]


def test_a_run_that_changed_the_text_encoder_shows_that_and_not_the_unet(run: Path) -> None:
    """Some versions of transformers have `text_model.` in the names, and so have files."""
    names = [f"text_encoder.{wrapped}encoder.layers.0.mlp.fc1.weight" for wrapped in ("", "text_model.")]
    for name in names:
        (run / "layers.json").write_text(json.dumps({"weights": [{"name": name, "numel": 10, "moved": 0.5}]}))
        everything, [weight] = parameters(run), read_layers(run)
        assert weight["name"] == names[0]
        assert everything
        assert all(key.startswith("text_encoder.") and "text_model" not in key for key in everything)
        blocks = {(cell.block, cell.kind): cell.scored for cell in cells([weight], everything)}
        assert blocks["text 0", "feed-forward"] == 10
        assert ("text 0", "attention") in blocks
