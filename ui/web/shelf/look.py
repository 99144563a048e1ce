"""The look of the tab Runs."""

from __future__ import annotations

CSS = """
.out-of-sight{display:none!important}
#shelf-controls{align-items:end}
ol.shelf{list-style:none;margin:0;padding:0}
ol.shelf>li{display:grid;grid-template-columns:200px minmax(0,1fr) 250px;gap:18px;align-items:center;margin:0;padding:14px 4px;
 border-bottom:1px solid var(--grid);position:relative}
ol.shelf>li:hover{background:color-mix(in srgb,var(--mark) 6%,transparent)}
ol.shelf a{color:var(--ink);text-decoration:none;font-size:1.06rem}
ol.shelf a::after{content:"";position:absolute;inset:0}
ol.shelf a:hover b{text-decoration:underline;text-decoration-color:var(--mark)}
ol.shelf p{margin:0 0 2px;overflow-wrap:anywhere;color:var(--ink)}
ol.shelf p.muted{color:var(--muted);font-size:.88rem}
ol.shelf p.note{margin-top:4px;padding-left:10px;border-left:3px solid var(--grid);white-space:pre-line}
.thumbnail img{display:block;width:auto;max-width:100%;max-height:100px;height:auto;border-radius:6px}
.thumbnail.none{display:grid;place-items:center;height:84px;border:1px dashed var(--grid);border-radius:6px;color:var(--muted);
 font-size:.84rem}
dl.answers{margin:0;display:grid;gap:4px}
dl.answers div{display:grid;grid-template-columns:82px 1fr;gap:10px;padding-left:9px;border-left:4px solid var(--muted)}
dl.answers .good{border-color:var(--good)}dl.answers .bad{border-color:var(--bad)}
dl.answers :is(.fair,.unsure,.few){border-color:var(--mark)}
dl.answers dt{color:var(--muted);font-size:.86rem}dl.answers dd{margin:0;color:var(--ink);font-size:.9rem}
@media(max-width:900px){ol.shelf>li{grid-template-columns:1fr;gap:8px}.thumbnail img{max-width:300px;width:100%}
 .thumbnail.none{height:48px}}
#run-page{gap:10px}#run-page :is(#run-head,#run-answers,#run-problem){padding:0!important}
#run-top{flex-wrap:nowrap;align-items:end}#run-head{flex:1 1 auto!important}
#run-buttons{flex:0 0 auto!important;width:auto!important;gap:8px;flex-wrap:nowrap}
#run-buttons button{flex:0 0 auto;width:auto;min-width:0!important;padding:4px 14px;white-space:nowrap}
#run-label .row,#delete-question .row{justify-content:flex-start}
#run-label button,#delete-question button{flex:0 0 auto!important;width:auto!important}
@media(max-width:900px){#run-top{flex-wrap:wrap}#run-buttons{flex:1 1 100%!important;width:100%!important;flex-wrap:wrap}}
#run-head p{margin:0 0 3px;overflow-wrap:anywhere}
#run-head h2{margin:4px 0 2px;font-size:1.45rem;line-height:1.2;overflow-wrap:anywhere;color:var(--ink)}
#run-head a{color:var(--mark)}
#run-cards{gap:12px}#run-answers{flex:3 1 560px!important;min-width:min(100%,300px)!important;padding:0}
.four{display:grid;gap:12px;margin-bottom:8px;grid-template-columns:repeat(3,minmax(0,1fr))}
.four .claim{border:1px solid var(--grid);border-radius:8px;padding:10px 14px;
 background:var(--paper);color:var(--ink);min-width:0;overflow-wrap:anywhere}
.four .claim.claim{border-left:1px solid var(--grid)}.four .claim.claim{border-top:5px solid var(--muted)}
.four .claim.claim.good{border-top-color:var(--good)}.four .claim.claim.bad{border-top-color:var(--bad)}
.four .claim.claim:is(.fair,.unsure,.few){border-top-color:var(--mark)}
.four .claim p{margin:0 0 4px}.four .question{font-weight:600;color:var(--muted)}
.four .answer{font-size:1.4rem;font-weight:700;line-height:1.25}
.four .claim.good .answer{color:var(--good)}.four .claim.bad .answer{color:var(--bad)}
.four .claim:is(.fair,.unsure,.few) .answer{color:var(--mark)}
.four .numbers{font-size:.88rem;color:var(--muted)}
.four a{display:inline-block;margin-top:4px;color:var(--mark);text-decoration:underline;font-weight:600}
@media(max-width:760px){.four{grid-template-columns:1fr}}
.gallery h3{font-size:1rem;margin:14px 0 8px;color:var(--ink)}
.gallery .pairs{display:grid;gap:14px 10px;align-items:start;grid-template-columns:repeat(auto-fill,minmax(112px,1fr))}
.gallery button{all:unset;cursor:zoom-in;display:block;min-width:0;border-radius:6px}
.gallery button img{display:block;width:100%;aspect-ratio:1;object-fit:contain;margin-bottom:4px;
 border:1px solid var(--grid);border-radius:4px}
.gallery button span{display:block;font-size:.76rem;line-height:1.3;color:var(--ink);overflow-wrap:anywhere}
.gallery .yes{color:var(--good);font-weight:600}.gallery .no{color:var(--bad);font-weight:600}
dialog.enlarged{font:inherit;border:0;padding:0;margin:auto;background:transparent;width:min(1100px,96vw);max-width:none;max-height:none;color:#fff}
dialog.enlarged::backdrop{background:rgba(0,0,0,.86)}
dialog.enlarged>div:first-child{display:grid;grid-auto-flow:column;grid-auto-columns:minmax(0,1fr);gap:10px}
dialog.enlarged figure{margin:0;min-width:0}dialog.enlarged figcaption{text-align:center;color:#fff;margin-top:4px}
dialog.enlarged img{width:100%;max-height:78vh;object-fit:contain;background:#16181c;border-radius:6px}
dialog.enlarged .bar{display:flex;gap:10px;align-items:center;margin-top:10px}
dialog.enlarged .bar p{flex:1;margin:0;text-align:center;color:#fff;overflow-wrap:anywhere}
dialog.enlarged .bar button{all:unset;cursor:pointer;min-width:44px;height:44px;text-align:center;font-size:1.3rem;border-radius:8px;
 background:#30343b;color:#fff}
@media(max-width:640px){dialog.enlarged>div:first-child{grid-auto-flow:row}dialog.enlarged img{max-height:36vh}}
#inside-map .chart.map svg{width:100%;height:auto;min-width:720px}#inside-curves .chart svg{max-width:900px}
table.runs thead th{white-space:normal;min-width:5em;max-width:13em;overflow-wrap:break-word}
.fitted{display:block;width:100%;height:480px;border:1px solid var(--grid);border-radius:8px;background:var(--paper)}
pre.lines{margin:6px 0;padding:10px 12px;background:var(--paper);border:1px solid var(--grid);border-radius:6px;color:var(--ink);
 white-space:pre-wrap;overflow-wrap:anywhere;font-size:.84rem}
pre.lines.log{max-height:60vh;overflow:auto}
#take-away{flex:1 1 270px!important;border:1px solid var(--grid)!important;border-radius:8px;padding:10px 14px;
 background:var(--paper);gap:8px}
#take-away{border-top:5px solid var(--mark)!important}
#take-away .html-container,#take-away .prose{padding:0!important}
#take-away .question{font-weight:600;color:var(--muted);margin:0}
#take-away p{margin:0 0 4px;overflow-wrap:anywhere}#take-away code{font-size:.8rem}
#take-words pre.lines{white-space:pre;overflow:auto;font-size:.74rem;padding:8px 10px}
#take-away a,#measuring a,#measured a{color:var(--mark);text-decoration:underline}
#delete-question .problem{margin:0}
"""
