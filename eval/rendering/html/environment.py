"""The Jinja templates of the HTML reports. Whatever is not Markup is escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from eval.rendering.theme import COLOURS, DARK

TEMPLATES = Path(__file__).parent.parent / "templates"


def render_page(template: str, **values: object) -> str:
    """A whole page. A value that the template names and does not get is an error."""
    return str(_environment().get_template(template).render(**values))


def render_section(template: str, **values: object) -> Markup:
    """A part of a page, which another template does not escape again."""
    return Markup(_environment().get_template(template).render(**values))


def framed(title: str, kind: str, about: str, sections: Iterable[Markup], bare: bool = False) -> str:
    """A whole page of rendered sections; empty ones are left out. `bare`: no heading, since it stands in another page."""
    filled = [section for section in sections if section]
    return render_page("page.html", title=title, kind=kind, about=about, sections=filled, bare=bare)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_without_nul,
    )
    environment.filters.update(anchor=anchor, breakable=breakable)
    environment.globals.update(light=COLOURS, dark=DARK)
    return environment


def anchor(title: str) -> str:
    """The id of a section: its title in lower case, without white space."""
    return "-".join(title.lower().split())


def breakable(label: str) -> list[str]:
    """The parts of a label like scissorhands:fraction=0.1,steps=9 after each of which a line may end."""
    return re.split(r"(?<=[:,])", label)


def _without_nul(value: object) -> object:
    """HTML has no NUL character; Markup was rendered before."""
    return value.replace("\x00", "") if isinstance(value, str) and not isinstance(value, Markup) else value
