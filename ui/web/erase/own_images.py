"""The place of the form where images of the concept are handed in, by drag and drop or as a zip."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from erase.errors import InputError
from ui.web.context import Page
from ui.web.erase.option_controls import Options
from ui.web.erase.uploads import MOST, taken
from ui.web.frame import PRIVATE, Frame
from ui.web.messages import problem
from ui.web.visitor import owner, page_for

INFO = (
    f"Images of the concept, instead of drawing them: at most {MOST} files, or one zip of them without folders. They are checked, kept as "
    "PNG beside the runs, and deleted with the run that uses them; those of no run after a day."
)


class OwnImages:
    """Layout when constructed, events when connected."""

    def __init__(self, page: Page, options: Options) -> None:
        self.page, self.options = page, options
        with gr.Accordion("Your own images of the concept", open=False, elem_id="own-images"):
            gr.Markdown(INFO)
            self.files = gr.File(label="Drop images or a zip here", file_count="multiple", elem_id="handed-in", height=130)
            # gradio's own would leave an empty temporary file behind for each. A subclass would do, but gradio writes a stub beside it.
            setattr(self.files, "_process_single_file", lambda file: file.path)  # noqa: B010
            self.status = gr.HTML(elem_id="handed-in-status")

    def connect(self, frame: Frame) -> Any:
        """They are checked when they have arrived. Returns the event, after which the cost is another one."""
        fields = self.options.settings
        outputs = [self.files, self.status, fields["forget_images"], fields["forget_count"]]
        return self.files.upload(self.take, [frame.session, self.files], outputs, concurrency_limit=2, concurrency_id="uploads", **PRIVATE)

    def take(self, session: Any, files: list[str] | None) -> list[Any]:
        """Check what was handed in, and fill in where it lies."""
        paths = [Path(file) for file in files or []]
        try:
            self.page.rate.click(owner(self.page, session))
        except InputError as error:
            for path in paths:
                path.unlink(missing_ok=True)
            return [None, problem(error), gr.skip(), gr.skip()]
        try:
            place, count = taken(page_for(self.page, session), paths)
        except InputError as error:
            return [None, problem(error), gr.skip(), gr.skip()]
        said = f"{count} {'image is' if count == 1 else 'images are'} used instead of drawing images of the concept."
        return [None, f'<p role="status" class="started">{escape(said)}</p>', place, ""]
