"""What the browser does by itself on the tab Compare: the lightbox, Ctrl + Enter, the address, suggestions that respect what was typed."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
START = HERE.joinpath("lightbox.js").read_text(encoding="utf-8")
STYLE = HERE.joinpath("compare.css").read_text(encoding="utf-8")

# At the moment a suggestion arrives: what the visitor has typed since it was requested stays.
SUGGEST = "(prompts, auto, offer) => prompts === '' || prompts === auto ? [offer, offer] : [prompts, auto]"
MEASURING = '() => \'<p role="status">Measuring …</p><progress aria-label="measuring"></progress>\''
PICK = "(picked, prompts) => picked || prompts"
REUSE = "seed => Number(document.querySelector('#grid .bench')?.dataset.seed ?? seed)"
# Whatever else the address says (the dark theme) stays. While it names a run, that is what is shown, and the comparison is behind it.
ADDRESS = """query => {
  if (!query) return;
  const address = new URL(location.href), theme = address.searchParams.get('__theme');
  if (address.searchParams.has('run')) return;
  address.search = query;
  if (theme) address.searchParams.set('__theme', theme);
  history.replaceState(history.state, '', address);
}"""
