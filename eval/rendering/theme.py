"""Colours and font of charts, reports and the page. A chart names a colour by its class: f-NAME fills, s-NAME strokes."""

from __future__ import annotations

COLOURS = {  # on light
    "paper": "#ffffff",
    "ink": "#1f2328",
    "muted": "#59636e",
    "grid": "#d4d9df",
    "good": "#12715b",
    "bad": "#b42318",
    "mark": "#2a5db0",
}
DARK = {"paper": "#1b1f24", "ink": "#e6e9ed", "muted": "#a3acb7", "grid": "#3a414a", "good": "#5fc9a3", "bad": "#ff8f80", "mark": "#86b4ff"}
FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
