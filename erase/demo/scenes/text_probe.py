"""A head for the training of `scenes` that reads off the text encoder's states which thing stands where; thrown away afterwards.

Through a UNet's loss alone a text encoder learns slowly which colour belongs to which shape and what "left of" is said of: both
ways of reading a caption draw a picture of the right things. The text encoder of a real pipeline comes with this from elsewhere.
Each question (what is on the left? what is named first? how many are there?) is a query that attends to the states, as the
UNet's do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from erase.demo.scenes.world import COLOURS, OPPOSITE, RELATIONS, SHAPES, Thing, relation
from erase.demo.shapes.world import OMITTED

QUESTIONS = (*RELATIONS, "first", "second", "number")
UNSAID = -1


class Reader(nn.Module):
    """States (n, tokens, width) -> (n, questions, shapes + colours + 3) logits: shape, colour, number."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.questions = nn.Parameter(0.5 * torch.randn(len(QUESTIONS), width))
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.answer = nn.Linear(width, len(SHAPES) + len(COLOURS) + 3)

    def forward(self, states: Tensor) -> Tensor:
        queries = self.questions.expand(len(states), -1, -1)
        read: Tensor = self.answer(self.attention(queries, states, states, need_weights=False)[0])
        return read


def answers(things: Sequence[Thing], hows: Sequence[Mapping[str, str]], related: bool) -> Tensor:
    """The labels of a caption, (questions, 3): shape, colour, number; UNSAID where it does not tell. `things` in the order of mention."""
    labels = torch.full((len(QUESTIONS), 3), UNSAID)
    labels[-1, 2] = len(things) - 1
    alike = len({(thing.shape, thing.colour) for thing in things}) == 1
    for place, thing, how in zip(("first", "second"), things[:1] if alike else things, hows, strict=False):
        shape = UNSAID if how.get("shape", OMITTED) == OMITTED else SHAPES.index(thing.shape)
        colour = UNSAID if how.get("colour", OMITTED) == OMITTED else COLOURS.index(thing.colour)
        rows = [QUESTIONS.index(place)]
        if related and not alike:
            side = relation(*things)
            rows.append(QUESTIONS.index(side if place == "first" else OPPOSITE[side]))
        labels[rows, 0], labels[rows, 1] = shape, colour
    return labels


def reading_loss(read: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of every answer that the captions give."""
    parts = read.split([len(SHAPES), len(COLOURS), 3], -1)
    losses = [F.cross_entropy(part.flatten(0, 1), labels[..., k].flatten(), ignore_index=UNSAID) for k, part in enumerate(parts)]
    return torch.stack(losses).mean()
