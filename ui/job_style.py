"""How the tabs Erase and Inside look: more of the style sheet. Colours are those of ui/style.py, by name."""

from __future__ import annotations

JOBS = """
.job{margin:0 0 4px;font-size:1.1rem;font-weight:600}
.badge{display:inline-block;margin-left:8px;padding:1px 10px;border-radius:999px;border:1px solid var(--muted);color:var(--ink);
 font-size:.78rem;font-weight:600;vertical-align:middle}
.badge.running,.badge.stopping{border-color:var(--mark);color:var(--mark)}
.badge.done{border-color:var(--good);color:var(--good)}
.badge.failed{border-color:var(--bad);color:var(--bad)}
:is(#head,#attacking) .said{margin:0 0 8px}
:is(#head,#attacking) progress{display:block;width:100%;height:8px}
:is(#head,#attacking) .clock{margin:6px 0 10px;color:var(--muted);font-variant-numeric:tabular-nums}
:is(#head,#attacking) ol.stages{list-style:none;margin:8px 0 0;padding:0}
:is(#head,#attacking) ol.stages li{margin:0;padding:5px 0;border-top:1px solid var(--grid);overflow:hidden}
:is(#head,#attacking) ol.stages li.later{color:var(--muted)}
:is(#head,#attacking) ol.stages li.now{font-weight:600}
:is(#head,#attacking) ol.stages li.done>span:first-child{color:var(--good)}
:is(#head,#attacking) ol.stages .right{float:right;color:var(--muted);font-weight:400;font-variant-numeric:tabular-nums}
:is(#head,#attacking) ol.stages progress{margin-top:5px;height:6px}
#queue{flex:1 1 200px}
#queue ol.line{margin:0;padding-left:1.4em}
.claims{display:grid;gap:12px;grid-template-columns:repeat(auto-fit,minmax(min(100%,240px),1fr));margin-bottom:8px}
.claim{border:1px solid var(--grid);border-left:5px solid var(--muted);border-radius:6px;padding:8px 12px;
 background:var(--paper);color:var(--ink)}
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
