"""The look of the page: one theme, one style sheet, light and dark. The colours are those of eval.rendering.theme."""

from __future__ import annotations

import re
from typing import Any

from eval.rendering.theme import COLOURS, DARK
from ui.web.compare.script import STYLE as COMPARE
from ui.web.erase.look import CSS as ERASE
from ui.web.shelf.look import CSS as SHELF

FONT = ["system-ui", "-apple-system", "Segoe UI", "DejaVu Sans", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "DejaVu Sans Mono", "monospace"]


def theme() -> Any:
    """The theme, with system fonts: nothing is downloaded."""
    import gradio as gr

    default = gr.themes.Default(primary_hue="blue", secondary_hue="blue", neutral_hue="slate", font=FONT, font_mono=MONO)
    return default.set(
        button_primary_background_fill="#2a5db0",
        button_primary_background_fill_hover="#234f96",
        button_primary_background_fill_dark="#2a5db0",
        button_primary_background_fill_hover_dark="#3568bd",
        button_primary_text_color="white",
        block_info_text_color="#4b5563",
        block_info_text_color_dark="#b6bec9",
        body_text_color_subdued="#4b5563",
        body_text_color_subdued_dark="#b6bec9",
        input_placeholder_color="#6b7280",
        input_placeholder_color_dark="#a3acb7",
        **_contrasts(),
    )


def _contrasts() -> dict[str, str]:
    """Colours with which text has a contrast of 4.5 and a control of 3; in the dark one grey for every surface."""
    surfaces = ("block_background_fill", "background_fill_primary", "background_fill_secondary", "panel_background_fill")
    dark = dict.fromkeys((f"{name}_dark" for name in surfaces), DARK["paper"])
    borders = ("checkbox_border_color", "checkbox_border_color_hover")
    return {
        **dark,
        "body_background_fill_dark": "#15181c",
        "input_background_fill_dark": "#23282e",
        "border_color_primary_dark": DARK["grid"],
        "block_border_color_dark": DARK["grid"],
        "input_border_color_dark": "#525b66",
        **dict.fromkeys(borders, "#6b7280"),
        **dict.fromkeys((f"{name}_dark" for name in borders), "#8b949e"),
        "button_cancel_background_fill": COLOURS["bad"],
        "button_cancel_background_fill_dark": COLOURS["bad"],
        "button_cancel_text_color": "white",
        "button_cancel_text_color_dark": "white",
    }


def head() -> str:
    """What goes into the document's head: the style sheet.

    Not Gradio's `css` argument: Gradio prefixes every rule with the page's container and splits selectors at each comma, also inside
    `:is()`, which loses most rules of media queries.
    """
    light, dark = ("".join(f"--{name}:{value};" for name, value in colours.items()) for colours in (COLOURS, DARK))
    charts = "".join(f".f-{name}{{fill:var(--{name})}}.s-{name}{{stroke:var(--{name})}}" for name in COLOURS)
    return f"<style>:root{{{light}}}.dark{{{dark}}}{raised(f'{charts}{SHEET}{JOBS}{COMPARE}{ERASE}{SHELF}')}</style>"


def raised(sheet: str) -> str:
    """The sheet with selectors that weigh as much as three classes more, to win against Gradio's own; those of keyframes stay."""

    def rule(match: re.Match[str]) -> str:
        if match["selectors"] is None:
            return match[0]
        selectors = ",".join(f"{WEIGHT} {selector.strip()}" for selector in COMMA.split(match["selectors"]))
        return f"{selectors}{{{match['body']}}}"

    return RULE.sub(rule, COMMENT.sub("", sheet))


WEIGHT = ":root:root:root"
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
COMMA = re.compile(r",(?![^(]*\))")  # not within parentheses
RULE = re.compile(r"@keyframes[^{]+\{(?:[^{}]*\{[^{}]*\})*\s*\}|@media[^{]+\{|(?P<selectors>[^{}]+)\{(?P<body>[^{}]*)\}")

SHEET = """
.gradio-container{width:100%!important;max-width:1560px!important;margin:0 auto!important}
#title{align-items:center;flex-wrap:nowrap}
#title h1{font-size:1.5rem;margin:0;line-height:1.2}
#title p{margin:2px 0 0;color:var(--muted)}
#theme{flex:0 0 auto;min-width:0}
#tabs .tab-container button.selected{color:var(--mark)}
#tabs .html-container{padding:0}#tabs .html-container a:not(.file){padding-inline:0;margin-inline:0}
iframe{color-scheme:light}.dark iframe{color-scheme:dark}
#head .wrap.hide,#cost .wrap.hide,#status .wrap.hide{visibility:hidden}
.secondary-wrap input{padding-right:24px!important;text-overflow:ellipsis}
.secondary-wrap:has(.token-remove) input{padding-right:0!important;min-width:0!important}
.secondary-wrap:has(.token-remove)>:not(input){flex:none}
.token-remove{min-width:24px;min-height:24px}#theme,#log-out{min-height:32px}
#status p{margin:0 0 6px}
progress{width:100%;height:8px;appearance:none;border:0;border-radius:4px;overflow:hidden;background:var(--grid);accent-color:var(--mark)}
progress::-webkit-progress-bar{background:var(--grid)}progress::-webkit-progress-value{background:var(--mark)}
progress::-moz-progress-bar{background:var(--mark)}
progress:indeterminate{animation:wait 2s linear infinite;
background:linear-gradient(90deg,var(--grid) 40%,var(--mark) 50%,var(--grid) 60%) 0/300% 100%}
progress:indeterminate::-webkit-progress-bar{background:none}
@keyframes wait{from{background-position:100% 0}to{background-position:0 0}}
@media(prefers-reduced-motion:reduce){progress:indeterminate{animation:none}}
.problem{border-left:4px solid var(--bad);padding:2px 0 2px 12px;color:var(--bad);font-weight:600;overflow-wrap:anywhere}
a.file{display:inline-block;margin:8px 16px 0 0;color:var(--mark);text-decoration:underline}
.wide{overflow-x:auto}
table.tally,table.runs{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums;color:var(--ink)}
.tally th,.tally td,.runs th,.runs td{padding:5px 14px 5px 0;text-align:left;border-bottom:1px solid var(--grid);font-weight:400}
.tally thead th,.runs thead th{color:var(--muted);font-weight:600;vertical-align:bottom}
.tally small,.runs small{color:var(--muted)}
.runs tbody th{font-weight:600;min-width:9em}
.runs td,.runs th{font-size:.84rem;padding-right:12px}.runs td{white-space:nowrap}.runs td:nth-child(3){white-space:normal}
table.plan{border-collapse:collapse;font-size:.86rem;color:var(--ink);width:100%}
.plan th,.plan td{padding:6px 14px 6px 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--grid);font-weight:400}
.plan thead th{color:var(--muted);font-weight:600}.plan tbody th{font-weight:600;white-space:nowrap}
.notes{margin:.3em 0;padding-left:1.4em;overflow-wrap:anywhere}
.chart{overflow-x:auto}.chart svg{width:100%;max-width:760px;height:auto;min-width:460px}
.muted{color:var(--muted)}
:focus-visible{outline:3px solid var(--mark)!important;outline-offset:2px}
footer{display:none!important}
@media(max-width:640px){#tabs .tab-container button{padding-left:7px;padding-right:7px;font-size:.92rem}
.gradio-container{padding:0!important}.gradio-container .main.app{padding:16px!important}
#title h1{font-size:1.25rem}#title p{font-size:.88rem}
.plan thead{display:none}.plan :is(tr,th,td){display:block;border:0;padding:0}.plan tr{padding:8px 0;border-bottom:1px solid var(--grid)}
.plan td:last-child{color:var(--muted)}.plan td:last-child::before{content:"The attacker knows: "}}
"""

# The tabs Erase and Inside.
JOBS = """
.job{margin:0 0 4px;font-size:1.1rem;font-weight:600}
.badge{display:inline-block;margin-left:8px;padding:1px 10px;border-radius:999px;border:1px solid var(--muted);color:var(--ink);
 font-size:.78rem;font-weight:600;vertical-align:middle}
.badge.running,.badge.stopping{border-color:var(--mark);color:var(--mark)}
.badge.done{border-color:var(--good);color:var(--good)}
.badge.failed{border-color:var(--bad);color:var(--bad)}
:is(#head,#attacking) .words{margin:0 0 8px}
:is(#head,#attacking) progress{display:block;width:100%;height:8px}
:is(#head,#attacking) .clock{margin:6px 0 10px;color:var(--muted);font-variant-numeric:tabular-nums}
:is(#stages,#attacking) ol.stages{list-style:none;margin:8px 0 0;padding:0}
:is(#stages,#attacking) ol.stages li{margin:0;padding:5px 0;border-top:1px solid var(--grid);overflow:hidden}
:is(#stages,#attacking) ol.stages li.later{color:var(--muted)}
:is(#stages,#attacking) ol.stages li.now{font-weight:600}
:is(#stages,#attacking) ol.stages li.done>span:first-child{color:var(--good)}
:is(#stages,#attacking) ol.stages .right{float:right;color:var(--muted);font-weight:400;font-variant-numeric:tabular-nums}
:is(#stages,#attacking) ol.stages progress{margin-top:5px;height:6px}
#queue{flex:1 1 200px}
#queue ol.queue{margin:0;padding-left:1.4em}
.claims{display:grid;gap:12px;grid-template-columns:repeat(auto-fit,minmax(min(100%,240px),1fr));margin-bottom:8px}
.claim{border:1px solid var(--grid);border-radius:6px;padding:8px 12px;background:var(--paper);color:var(--ink)}
.claim{border-left:5px solid var(--muted)}
.claim:is(.fair,.unsure,.few){border-left-color:var(--mark)}
.claim.good{border-left-color:var(--good)}.claim.bad{border-left-color:var(--bad)}
.claim p{margin:0}.claim .question{font-weight:600}.claim .answer{font-size:1.3rem;font-weight:700}
#verdict img.sheet{width:100%;border:1px solid var(--grid);border-radius:6px}
#pictures .prompt{margin:10px 0 4px;font-weight:600}
.strip{display:flex;gap:8px;overflow-x:auto;padding-bottom:4px}
.strip figure{margin:0;flex:0 0 auto;width:88px}
.strip img{display:block;width:88px;height:88px;object-fit:contain;border:1px solid var(--grid);border-radius:4px;image-rendering:auto}
.strip figcaption{font-size:.78rem;color:var(--muted);text-align:center}
dl.estimate{display:grid;grid-template-columns:auto 1fr;gap:2px 14px;margin:0}
dl.estimate dt{color:var(--muted)}dl.estimate dd{margin:0}
dl.examples{font-size:.85rem;margin:0}dl.examples dt{font-weight:600;margin-top:8px}dl.examples dd{margin:0;color:var(--muted)}
.chart.map svg{width:auto;max-width:none;min-width:0}
.chart.map g:hover rect{stroke:var(--ink);stroke-width:2}
"""
