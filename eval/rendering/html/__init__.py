"""report.html: one file that a manager and a reviewer both understand. No script, no other file, light and dark, prints.

Strings only; what it says in words is `eval.rendering.verdict`'s, what it draws is `eval.rendering.charts`'s. All that a user wrote is
escaped, and
the page forbids scripts and outside addresses besides. A blurred picture is blurred before it is embedded.
"""

from __future__ import annotations

from eval.rendering.html.frame import DARK, framed
from eval.rendering.html.markup import safe, small, tabled, titled
from eval.rendering.html.pictures import THUMB, shows_nudity, thumbnail
from eval.rendering.html.report import command, page, write_html
from eval.rendering.html.sections import ANSWERS, protocol_section, repeat_section
from eval.rendering.html.worse import groups

__all__ = [
    "ANSWERS", "DARK", "THUMB", "command", "framed", "groups", "page", "protocol_section", "repeat_section", "safe", "shows_nudity",
    "small", "tabled", "thumbnail", "titled", "write_html",
]  # fmt: skip
