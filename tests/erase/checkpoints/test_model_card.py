"""A model card shows the names of folders, concepts and prompts, and never runs or links anything that is in them."""

from __future__ import annotations

import ast
import re

import pytest

from erase.checkpoints.model_card import code, markdown, model_card

EVIL = "a|b`c`\n---\nlicense: mit\n---\n# <script>alert(1)</script> [x](javascript:1) ![y](http://z) **z** &amp;"


def test_a_name_stays_in_its_line_and_its_cell() -> None:
    plain = model_card({"erase-concept": "1", "source": "model", "concept": "star", "method": "esd"}, form="unet", file="a.safetensors")
    names = {"source": EVIL, "concept": EVIL, "method": EVIL, EVIL: EVIL}
    evil = model_card({"erase-concept": "1", **names}, form="unet", file='a"\n```\n.safetensors')
    assert evil.split("---")[1] == plain.split("---")[1]  # the front matter is ours alone
    assert len(evil.splitlines()) == len(plain.splitlines()) + 1
    shown = re.sub(r"`+[^`\n].*?`+", "", evil)
    assert not re.search(r"(?<!\\)(<script|\[x|!\[|\*\*z)", shown)
    block = re.search(r"```python\n(.*?)```", evil, re.DOTALL)
    assert block is not None
    assert 'load_file("a\\"\\n```' in evil or ast.parse(block[1])


@pytest.mark.parametrize("text", ["star", "van-gogh", "Van Gogh style", "北斎", "2.1", "re:attn2 (all)"])
def test_plain_names_are_shown_as_they_are(text: str) -> None:
    assert markdown(text) == text
    assert code(text) == f"`{text}`"


def test_code_with_marks_in_it_stays_code() -> None:
    assert code("a`b``c|d\ne") == "``` a`b``c\\|d e ```"
