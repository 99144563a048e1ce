"""The concept's tokens are found wherever a prompt names it."""

from __future__ import annotations

from pathlib import Path

from transformers import CLIPTokenizer

from erase.diffusion.token_marks import marks_of


def test_every_word_of_the_concept_is_marked_and_the_end_of_text(tiny_pipeline: Path) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(tiny_pipeline / "tokenizer")
    prompts = ["a red star", "two stars and a star", "", "a blue ring"]
    marks = marks_of(tokenizer, prompts, ["star", "stars"])
    ids = tokenizer(prompts, padding="max_length", max_length=tokenizer.model_max_length, truncation=True).input_ids
    words = [
        [tokenizer.decode(i).strip() for i, mark in zip(row, line, strict=True) if mark == 1]
        for row, line in zip(ids, marks.tolist(), strict=True)
    ]
    assert ["".join(word) for word in words] == ["star", "starsstar", "", "abluering"]
    for row, line in zip(ids, marks.tolist(), strict=True):
        assert line.index(2) == row.index(tokenizer.eos_token_id)
        assert line.count(2) == 1
