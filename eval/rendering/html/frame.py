"""The frame of every page: head, style sheet for light, dark and paper, and a rule against scripts and outside addresses."""

from __future__ import annotations

from collections.abc import Iterable

from eval.rendering.charts import COLOURS
from eval.rendering.html.markup import safe

DARK = {"paper": "#1b1f24", "ink": "#e6e9ed", "muted": "#a3acb7", "grid": "#3a414a", "good": "#5fc9a3", "bad": "#ff8f80", "mark": "#86b4ff"}
STYLE = """
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif}
main{max-width:1080px;margin:0 auto;padding:32px 20px 64px}
h1{font-size:2rem;line-height:1.2;margin:.1em 0 .2em;overflow-wrap:anywhere}
h2{font-size:1.3rem;margin:0 0 .4em}
h3{font-size:1rem;margin:0 0 .5em;overflow-wrap:anywhere}
p{margin:.3em 0 .9em;max-width:78ch}
header p{margin:0}
.eyebrow{color:var(--mark);font-weight:600;font-size:.9rem}
.muted,small,.small{color:var(--muted)}
.small{font-size:.86rem}
.hidden{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
section{background:var(--paper);border:1px solid var(--grid);border-radius:12px;padding:22px 24px;margin-top:20px}
.verdict{font-size:1.16rem;line-height:1.5;font-weight:500;overflow-wrap:anywhere}
.warning{border-left:4px solid var(--bad);padding:2px 0 2px 12px}
.claims{display:grid;grid-template-columns:repeat(auto-fit,minmax(250px,1fr));gap:14px;margin:14px 0}
.claim{border:1px solid var(--grid);border-top:5px solid var(--muted);border-radius:8px;padding:12px 16px}
.claim.good{border-top-color:var(--good)}.claim.bad{border-top-color:var(--bad)}.claim.fair,.claim.unsure{border-top-color:var(--mark)}
.claim h3{color:var(--muted);font-weight:600;margin:0}
.claim p{margin:.2em 0;font-size:.92rem}
.claim .answer{font-size:1.6rem;font-weight:700;line-height:1.3}
.good .answer{color:var(--good)}.bad .answer{color:var(--bad)}.fair .answer,.unsure .answer{color:var(--mark)}
.claim ul{margin:.3em 0 0;padding-left:1.2em;font-size:.92rem}
.panel{margin-top:18px;padding-top:12px;border-top:3px solid var(--grid)}
.panel.good{border-top-color:var(--good)}.panel.bad{border-top-color:var(--bad)}
.panel.good h3{color:var(--good)}.panel.bad h3{color:var(--bad)}
.pictures{display:grid;grid-template-columns:repeat(8,minmax(0,1fr));gap:12px}
figure{margin:0;min-width:0}
img{display:block;width:100%;height:auto;border:1px solid var(--grid);border-radius:4px;margin-bottom:6px}
figcaption{font-size:.76rem;line-height:1.35;overflow-wrap:anywhere}
.yes,.no{display:block;font-weight:600}.yes{color:var(--good)}.no{color:var(--bad)}
.wide,.chart{overflow-x:auto}
.chart svg{width:100%;max-width:920px;height:auto;min-width:520px}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums;margin:.3em 0 1em}
th,td{padding:7px 12px 7px 0;text-align:left;vertical-align:middle;border-bottom:1px solid var(--grid)}
thead th{color:var(--muted);font-weight:600;white-space:nowrap}
tbody th{font-weight:600}
td,thead th+th{padding-left:8px}
.plain td,.plain thead th+th{text-align:right;padding-left:20px}
td small,th small{display:block;font-weight:400;max-width:34ch}
.numbers td{white-space:nowrap}
.numbers{width:100%}.strip svg{display:block}
.protocol{width:100%;table-layout:fixed}.protocol th{width:34%;font-weight:500;color:var(--muted)}
.protocol th,.protocol td{overflow-wrap:anywhere;vertical-align:top;padding-top:4px;padding-bottom:4px}
pre{background:var(--ground);border:1px solid var(--grid);border-radius:8px;padding:14px;white-space:pre-wrap;overflow-wrap:anywhere}
pre,code{font-family:ui-monospace,SFMono-Regular,"DejaVu Sans Mono",monospace;font-size:.86rem}
small code{font-size:.8rem}
@media screen and (max-width:760px){.pictures{grid-template-columns:repeat(4,minmax(0,1fr))}section{padding:16px}h1{font-size:1.5rem}}
@media screen and (max-width:480px){
 .pictures{grid-template-columns:repeat(3,minmax(0,1fr));gap:8px}main{padding:16px 8px 32px}section{padding:12px}
}
@media print{
 body{background:#fff;font-size:10.5pt}main{max-width:none;padding:0}
 section{border:0;border-top:1px solid var(--grid);border-radius:0;padding:12px 0;margin-top:10px}
 .strip svg{width:96px;height:auto}.numbers{font-size:8pt}.pictures{gap:6px}figcaption{font-size:6.5pt}
 .panel,figure,tr,.claim,.chart{break-inside:avoid}h2,h3{break-after:avoid}
 .wide,.chart{overflow:visible}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
}
"""
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none';img-src data:;style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def framed(title: str, kind: str, about: str, parts: Iterable[str]) -> str:
    """A whole page of a kind of report: its head, and its sections but those that are empty."""
    head = f"<header><p class=eyebrow>{kind}</p><h1>{safe(title)}</h1><p class=muted>{safe(about)}</p></header>"
    return PAGE.format(title=safe(title), style=_style(), body="\n".join([head, *filter(None, parts)]))


def _style() -> str:
    light, dark = ("".join(f"--{name}:{value};" for name, value in colours.items()) for colours in (COLOURS, DARK))
    charts = "".join(f".f-{name}{{fill:var(--{name})}}.s-{name}{{stroke:var(--{name})}}" for name in COLOURS)
    return (
        f":root{{{light}--ground:#f4f6f8}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}--ground:#12151a}}}}{charts}{STYLE}"
    )
