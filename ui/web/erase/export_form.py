"""The finished model of the shown job as a file."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from erase.errors import InputError
from ui.web.context import Page
from ui.web.erase.export import DTYPES, FORMATS, export
from ui.web.erase.watch import run_of
from ui.web.frame import PRIVATE
from ui.web.messages import problem
from ui.web.units import size
from ui.web.visitor import owner


class ExportForm:
    """The finished model as a file."""

    def __init__(self, page: Page) -> None:
        self.page = page
        with gr.Accordion("Export", open=True, visible=False, elem_id="export") as self.container:
            formats, dtypes = ([(label, name) for name, label in names.items()] for names in (FORMATS, DTYPES))
            self.format = gr.Radio(formats, value="folder", label="Format", info="Where you want to load it.")
            self.dtype = gr.Radio(dtypes, value="source", label="Precision", info="float16 is half the size of float32.")
            self.write = gr.Button("Prepare download", elem_id="pack")
            self.status = gr.HTML(elem_id="packed")
            self.file = gr.DownloadButton("Download", visible=False, elem_id="download")

    def connect(self, session: gr.BrowserState) -> None:
        """The file is written on a click."""
        inputs = [session, self.format, self.dtype]
        self.write.click(self.export, inputs, [self.status, self.file], concurrency_limit=None, **PRIVATE)

    def export(self, session: Any, form: str, dtype: str) -> Iterator[tuple[str, Any]]:
        """Write the file of the shown job's model and offer it."""
        from gradio.utils import get_upload_folder

        yield '<p role="status">Writing …</p>', gr.DownloadButton(visible=False)
        try:
            self.page.rate.click(owner(self.page, session))
            path = export(run_of(self.page, session), form, dtype, Path(get_upload_folder()))
        except InputError as error:
            yield problem(error), gr.DownloadButton(visible=False)
            return
        button = gr.DownloadButton(f"Download {path.name}", str(path), visible=True)
        yield f'<p role="status">{escape(path.name)}: {size(path.stat().st_size)}.</p>', button
