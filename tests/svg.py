"""Reading charts back: elements of an SVG, and the places of what was drawn under a name."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

NS = "{http://www.w3.org/2000/svg}"
Place = tuple[float, float]


def parts(svg: str, tag: str) -> list[ET.Element]:
    return list(ET.fromstring(svg).iter(f"{NS}{tag}"))


def texts(svg: str) -> list[str]:
    return ["".join(element.itertext()) for element in parts(svg, "text")]


def drawn(svg: str, name: str) -> list[ET.Element]:
    """The paths and markers of the groups of this name."""
    groups = [group for group in parts(svg, "g") if name in group.get("class", "").split()]
    return [e for group in groups for e in ([*group.iter(f"{NS}use")] or [*group.iter(f"{NS}path")])]


def places(element: ET.Element) -> list[Place]:
    """Where a marker is, or the corners of a path."""
    if "d" not in element.attrib:
        return [(float(element.attrib["x"]), float(element.attrib["y"]))]
    return [(float(x), float(y)) for x, y in re.findall(r"[ML] (-?[\d.]+) (-?[\d.]+)", element.attrib["d"])]


def points(svg: str, name: str = "point") -> list[Place]:
    """Of all markers of this name."""
    return [place for element in drawn(svg, name) for place in places(element)]
