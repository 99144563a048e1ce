"""report.html: one file that a manager and a reviewer both understand. No script, no other file, light and dark, prints.

Strings only; what it says in words is `eval.card`'s, what it draws is `eval.chart`'s. All that a user wrote is escaped, and
the page forbids scripts and outside addresses besides. A blurred picture is blurred before it is embedded.
"""

from __future__ import annotations

from eval.html.frame import DARK, framed
from eval.html.markup import safe, small, tabled, titled
from eval.html.pictures import THUMB, shows_nudity, thumbnail
from eval.html.report import command, page, write_html
from eval.html.sections import ANSWERS, protocol_section, repeat_section
from eval.html.worse import groups

__all__ = [
    "ANSWERS", "DARK", "THUMB", "command", "framed", "groups", "page", "protocol_section", "repeat_section", "safe", "shows_nudity",
    "small", "tabled", "thumbnail", "titled", "write_html",
]  # fmt: skip
