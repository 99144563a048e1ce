"""HTML reports: one file each that needs nothing else. No script, no outside address, light and dark, printable.

Python computes, the templates in `eval/rendering/templates` speak; everything a user wrote is escaped by Jinja. An image to be
blurred is blurred before it is embedded.
"""

from __future__ import annotations

from eval.rendering.html.environment import framed, render_page, render_section
from eval.rendering.html.pictures import THUMB, Figure, Image, Panel, shows_nudity, thumbnail
from eval.rendering.html.report import command, numbers_page, page, protocol_page, write_html
from eval.rendering.html.sections import protocol_entries
from eval.rendering.html.worse import groups

__all__ = [
    "THUMB",
    "Figure",
    "Image",
    "Panel",
    "command",
    "framed",
    "groups",
    "numbers_page",
    "page",
    "protocol_entries",
    "protocol_page",
    "render_page",
    "render_section",
    "shows_nudity",
    "thumbnail",
    "write_html",
]
