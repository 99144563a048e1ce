"""Words and numbers into HTML. All that a user wrote goes through `safe`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def safe(value: object) -> str:
    """Text, with nothing in it that HTML understands."""
    return escape(" ".join(str(value).split(" ")).replace("\x00", ""))


def titled(title: str, body: str) -> str:
    name = title.lower().replace(" ", "-")
    return f"<section aria-labelledby={name}><h2 id={name}>{safe(title)}</h2>{body}</section>"


def small(value: object) -> str:
    """The first line as it is, further ones small."""
    first, *more = str(value).split("\n")
    return safe(first) + "".join(f"<small>{safe(line)}</small>" for line in more)


def tabled(heads: Sequence[str], cells: Iterable[Sequence[str]]) -> str:
    """A table whose first column names its rows; what follows its first line there is small."""
    top = "".join(f"<th scope=col>{safe(head)}</th>" for head in heads)
    body = "".join(f"<tr><th scope=row>{small(row[0])}</th>{''.join(f'<td>{safe(cell)}</td>' for cell in row[1:])}</tr>" for row in cells)
    return f"<div class=wide><table class=plain><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
