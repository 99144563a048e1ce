"""Which tokens of a prompt name the concept, as methods that read attention maps ask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

NAMED, END = 1, 2


def marks_of(tokenizer: Any, prompts: Sequence[str], words: Sequence[str]) -> Tensor:
    """For each token of the prompts (n, tokens): NAMED where it belongs to one of the words, END for the first end of text, else 0.

    A prompt in which none of the words is found means the concept as a whole: all of its tokens are NAMED. The empty prompt has none.
    """
    length = tokenizer.model_max_length
    ids = tokenizer(list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
    names = [tokenizer(word, add_special_tokens=False).input_ids for word in words]
    marks = torch.zeros_like(ids, dtype=torch.int8)
    for row, mark in zip(ids.tolist(), marks, strict=True):
        end = row.index(tokenizer.eos_token_id, 1)
        spans = [(i, i + len(name)) for name in names if name for i in range(1, end) if row[i : i + len(name)] == name]
        for start, stop in spans or [(1, end)]:
            mark[start:stop] = NAMED
        mark[end] = END
    return marks
