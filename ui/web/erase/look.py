"""The look of the tab Erase."""

CSS = """
#erase-form{position:relative}
#erase-about p{margin:0;font-size:.86rem;color:var(--muted)}
#from{gap:4px}#erase-model .secondary-wrap input{padding-right:4px!important}
#refresh-models{align-self:flex-end;width:auto;min-height:28px}
#tab-erase h2{font-size:1.2rem;margin:0}#erase-hello p{margin:0;color:var(--muted)}
#erase-problem:not(:has(p)),#job-notice:not(:has(p)){display:none}
#erase-effort .wrap{display:grid;gap:6px;grid-template-columns:repeat(2,minmax(0,1fr))}
#erase-effort label{padding:6px 8px}#erase-effort label span{font-size:.85rem;margin-left:6px;white-space:nowrap}
@media(max-width:640px){#erase-effort label span{white-space:normal}}
@media(min-width:1500px){#erase-effort .wrap{grid-template-columns:repeat(4,minmax(0,1fr))}}
#erase-form .html-container,#job-card .html-container{padding:0}#erase-form,#job-card{gap:12px}
#job-card #queue{flex:none}
#head a{color:var(--mark);text-decoration:underline;margin:0;padding:0}
#start{white-space:nowrap}
ol.promise{margin:.4em 0;padding-left:1.5em;color:var(--muted)}
#go{position:sticky;bottom:0;top:0;z-index:5;background:var(--body-background-fill);padding:8px 0;align-items:center}
.cost{border-left:4px solid var(--mark);padding:4px 0 4px 12px}.cost p{margin:0}
.cost b{font-size:1.06rem}.cost small{color:var(--muted)}
.cost.warn{border-left-color:var(--bad)}.cost ul.warnings{margin:4px 0 0;padding-left:1.1em;color:var(--bad);font-weight:600}
.started{border-left:4px solid var(--good);padding:2px 0 2px 12px;margin:0}
#options h3{font-size:.95rem;margin:10px 0 2px}
#options-reset{flex:0 0 auto!important;align-self:flex-end;height:42px}
.options-group .form>.block{display:flex}.options-group .form>.block>:is(label,.container){display:flex;flex-direction:column;width:100%}
.options-group .form>.block>:is(label,.container)>:last-child{margin-top:auto}
#options [data-testid="block-info"]::after{margin-left:8px;font-weight:600;color:var(--mark);font-size:.78rem}
#head h2.job{font-size:1.2rem;margin:0}#head .name{margin:0 0 6px;font-size:.84rem;overflow-wrap:anywhere}
.previews{display:grid;gap:14px;grid-template-columns:repeat(auto-fit,minmax(min(100%,230px),1fr))}
.previews section{min-width:0}
#pictures .prompt{margin:4px 0;font-size:.88rem;min-height:2.5em}
.previews figure{margin:0}.previews figcaption{font-size:.78rem;color:var(--muted);text-align:center}
.previews .latest img{width:100%;max-height:300px;aspect-ratio:1;object-fit:contain;border:1px solid var(--grid);border-radius:6px}
.previews .latest figcaption{font-weight:600;color:var(--ink)}
.previews .strip{display:grid;grid-template-columns:repeat(auto-fill,minmax(44px,1fr));gap:4px;margin-top:6px;overflow:visible}
.previews .strip figure{width:auto}.previews .strip img{width:100%;height:auto;aspect-ratio:1}
.previews .strip figcaption{font-size:.66rem;line-height:1.2;overflow-wrap:anywhere}
#curves .chart svg{min-width:0;max-width:100%}
pre.log{max-height:320px;overflow:auto;font-size:.78rem;white-space:pre-wrap;overflow-wrap:anywhere;margin:0}
"""
