"""The web page: its frame, its tabs, and the server. What the tabs show comes from run folders and from two services."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from erase.errors import InputError
from ui.web.context import Page
from ui.web.drawing.queue import MEMORY, Drawing
from ui.web.jobs.queue import Jobs
from ui.web.security.access import UPLOAD_BYTES, check_address, guard, loopback
from ui.web.security.request_filter import Door
from ui.web.style import css, theme

TABS = {"compare": "Compare", "erase": "Erase", "evidence": "Evidence", "inside": "Inside"}
MODULES = {"compare": "ui.web.compare.tab", "evidence": "ui.web.evidence.tab", "erase": "ui.web.erase.tab", "inside": "ui.web.inside.tab"}
TITLE = "# erase-concept\nTake a concept out of an image model, see that it is gone, and that the rest is kept."
DARKER = "() => { document.body.classList.toggle('dark') }"
MINUTE = 60


def build(page: Page) -> Any:
    """The page as gradio Blocks."""
    import gradio as gr

    with gr.Blocks(title="erase-concept", analytics_enabled=False, delete_cache=(10 * MINUTE, 60 * MINUTE)) as blocks:
        page.links["blocks"] = blocks
        with gr.Row(elem_id="title"):
            gr.Markdown(TITLE)
            gr.Button("Dark / light", size="sm", elem_id="theme").click(None, None, None, js=DARKER)
        modules = {name: import_module(module) for name, module in MODULES.items()}
        with gr.Tabs(elem_id="tabs") as page.links["tabs"]:
            for name, label in TABS.items():
                with gr.Tab(label, id=name, elem_id=f"tab-{name}") as page.links[f"tab.{name}"]:
                    modules[name].build(page)
        for module in modules.values():
            module.connect(page)
    blocks.queue(default_concurrency_limit=20, max_size=500, api_open=False)
    return blocks


@contextmanager
def opened(
    runs: Path,
    host: str = "127.0.0.1",
    port: int | None = None,
    share: bool = False,
    auth: Mapping[str, str] | None = None,
    allowed: tuple[Path, ...] = (),
    hub: tuple[str, ...] = (),
    device: str = "auto",
    memory: int = MEMORY,
) -> Iterator[tuple[Page, str]]:
    """The page while it is served, and its address. Only this machine can see it unless `host` or `share` says otherwise."""
    check_address(host, share, auth or {}, port)
    with ExitStack() as stack:
        drawing = stack.enter_context(Drawing(device, memory))
        drawing.start()  # its imports run beside ours
        _gradio()
        jobs = stack.enter_context(Jobs(runs))
        page = Page(runs, jobs, drawing, allowed, hub, device, share or not loopback(host))
        blocks = build(page)
        stack.callback(blocks.close, verbose=False)
        yield page, _launched(blocks, page, host, port, share, auth or {})


def serve(**given: Any) -> None:
    """Open the page and stay until Ctrl-C; the arguments are those of `opened`."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: children end, a running job stays resumable
    try:
        with opened(**given) as (_, address):
            print(f"erase-concept is open at {address}\nCtrl-C ends it; a running job goes on when it is opened again.", flush=True)
            threading.Event().wait()
    except KeyboardInterrupt:
        print("closed", flush=True)


def _gradio() -> None:
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # it would call home
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ["GRADIO_RUN_HISTORY"] = "False"  # it would keep pictures in the browser; gradio before 6.24 has no argument for it
    try:
        import gradio  # noqa: F401
    except ImportError:
        raise InputError('the web page needs gradio; install it with: pip install "erase-concept[ui]"') from None


def _launched(blocks: Any, page: Page, host: str, port: int | None, share: bool, auth: Mapping[str, str]) -> str:
    """Start the server; returns the address to open."""
    from starlette.middleware import Middleware

    door = Middleware(Door, local=loopback(host) and not share, uploads=bool(page.links.get("uploads")), kept=page.shelf.file)
    try:
        _, local, public = blocks.launch(
            server_name=host, server_port=port, share=share, auth=guard(auth), prevent_thread_lock=True, quiet=True, max_threads=80,
            max_file_size=UPLOAD_BYTES, app_kwargs={"middleware": [door]}, footer_links=[], enable_monitoring=False,
            ssr_mode=False, mcp_server=False, pwa=False, show_error=False, state_session_capacity=1000, theme=theme(), css=css(),
        )  # fmt: skip
    except OSError as error:
        raise InputError(f"the page cannot be opened on {host}, port {port or '7860 to 7959'} ({error}); give another --port") from None
    return str(public or local)
