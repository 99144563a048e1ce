"""The web page: its tabs and the server. What the tabs show comes from run folders and from two services."""

from __future__ import annotations

import html
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from erase.errors import InputError
from ui.web.compare.suggestions import expected
from ui.web.context import Page
from ui.web.drawing.queue import MEMORY, Drawing
from ui.web.example.unpack import offer
from ui.web.gradio_import import no_type_stubs
from ui.web.jobs.queue import Jobs
from ui.web.security.access import HANDED_IN_BYTES, check_address, loopback
from ui.web.security.login import guard
from ui.web.security.request_filter import RequestFilter
from ui.web.style import head, theme
from ui.web.surroundings import direct_to_this_machine, processors, temporary_folder
from ui.web.visitor import secret

if TYPE_CHECKING:
    import gradio as gr

TITLE = "# erase-concept\nRemove a concept from an image model, check that it is gone, and that everything else still works."
TOGGLE_DARK = "() => localStorage.setItem('erase-concept-dark', document.body.classList.toggle('dark') ? '1' : '0')"
# Gradio's tabs do not listen to the arrow keys, which every other row of tabs does.
ARROWS = """() => {
  if (window.eraseArrows) return;
  window.eraseArrows = true;
  document.addEventListener('keydown', (event) => {
    const tab = event.target.closest?.('[role=tab]'), by = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (!tab || !by) return;
    const all = [...tab.closest('[role=tablist]').querySelectorAll('[role=tab]')].filter((other) => other.offsetParent);
    const next = all[(all.indexOf(tab) + by + all.length) % all.length];
    next.focus();
    next.click();
    event.preventDefault();
  });
}"""
DARK_AGAIN = """() => {
  const kept = localStorage.getItem('erase-concept-dark');
  if (kept !== null) document.body.classList.toggle('dark', kept === '1');
}"""
MINUTE = 60


@dataclass(frozen=True)
class ServerOptions:
    """Where the page is served and who may see it. Only this machine can unless `host` or `share` says otherwise."""

    host: str = "127.0.0.1"
    port: int | None = None
    share: bool = False
    auth: Mapping[str, str] = field(default_factory=dict)

    @property
    def shared(self) -> bool:
        """Whether others than this machine can reach the page."""
        return self.share or not loopback(self.host)


def build(page: Page) -> gr.Blocks:
    """The page as gradio Blocks."""
    import gradio as gr

    from ui.web.compare.tab import CompareTab
    from ui.web.controls import tabs as wrapping_tabs
    from ui.web.erase.tab import EraseTab
    from ui.web.evidence.tab import EvidenceTab
    from ui.web.frame import Frame
    from ui.web.session_state import keep_component_ids
    from ui.web.shelf.tab import RunsTab

    keep_component_ids()
    blocks: gr.Blocks
    with gr.Blocks(title="erase-concept", analytics_enabled=False, delete_cache=(10 * MINUTE, 60 * MINUTE)) as blocks:
        with gr.Row(elem_id="title"):
            gr.Markdown(TITLE)
            gr.Button("Dark / light", size="sm", elem_id="theme").click(None, None, None, js=TOGGLE_DARK)
            if page.login:
                gr.Button("Log out", size="sm", elem_id="log-out", link="/logout")
        for script in (DARK_AGAIN, ARROWS):
            blocks.load(None, None, None, js=script)
        session = gr.BrowserState(None, storage_key="erase-concept-seat", secret=secret(page))
        with wrapping_tabs(elem_id="tabs") as tabs:
            compare, erase, runs, evidence = CompareTab(page), EraseTab(page), RunsTab(page), EvidenceTab(page)
        frame = Frame(blocks, session, tabs, compare, erase, runs, evidence)
        for tab in (compare, evidence, erase, runs):
            tab.connect(frame)
    blocks.queue(default_concurrency_limit=20, max_size=500, api_open=False)
    return blocks


@contextmanager
def opened(
    runs: Path,
    server: ServerOptions = ServerOptions(),
    *,
    allowed: tuple[Path, ...] = (),
    hub: tuple[str, ...] = (),
    device: str = "auto",
    memory: int = MEMORY,
) -> Iterator[tuple[Page, str]]:
    """The page while it is served, and its address. `memory`: bytes of models that stay loaded for Compare."""
    check_address(server.host, server.share, server.auth, server.port)
    with ExitStack() as stack:
        stack.enter_context(temporary_folder())
        drawing = stack.enter_context(Drawing(device, memory))
        if processors() > 1:
            drawing.start()  # its imports take longer than those of the page
        with direct_to_this_machine(server.host, server.share):
            _import_gradio()
        jobs = stack.enter_context(Jobs(runs))
        offer(runs, jobs.home)
        page = Page(runs, jobs, drawing, allowed, hub, device, server.shared, login=bool(server.auth))
        blocks = build(page)
        stack.callback(blocks.close, verbose=False)
        with direct_to_this_machine(server.host, server.share):
            address = _launch(blocks, page, server)
        if (order := expected(page)) is not None:
            drawing.prepare(order)
        yield page, address


def serve(served: AbstractContextManager[tuple[Page, str]]) -> None:
    """Serve what `opened` returned until Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: children end, a running job stays resumable
    try:
        with served as (_, address):
            print(f"erase-concept is open at {address}", flush=True)
            print("Ctrl-C ends it; a running job is resumed when the page is opened again.", flush=True)
            threading.Event().wait()
    except KeyboardInterrupt:
        print("closed", flush=True)


def _import_gradio() -> None:
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # it would call home
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ["GRADIO_RUN_HISTORY"] = "False"  # it would keep images in the browser; gradio before 6.24 has no argument for it
    try:
        with no_type_stubs():
            import gradio  # noqa: F401
    except ImportError as error:
        if error.name == "gradio":
            raise InputError('the web page needs gradio; install it with: pip install "erase-concept[ui]"') from None
        raise InputError(f"gradio cannot be imported ({error}); install what it lacks") from error


def _launch(blocks: gr.Blocks, page: Page, server: ServerOptions) -> str:
    """Start the server; returns the address to open."""
    from starlette.middleware import Middleware

    auth: Any = guard(server.auth)  # gradio awaits it, which its annotation does not say
    request_filter = Middleware(RequestFilter, local=not server.shared, uploads=True, files=page.downloads.file)
    try:
        _, local, public = blocks.launch(
            server_name=server.host, server_port=server.port, share=server.share, auth=auth, prevent_thread_lock=True,
            quiet=True, max_threads=80, max_file_size=HANDED_IN_BYTES, app_kwargs={"middleware": [request_filter]}, footer_links=[],
            enable_monitoring=False, ssr_mode=False, mcp_server=False, pwa=False, show_error=False, state_session_capacity=1000,
            theme=theme(), head=head(), auth_message=f"erase-concept on {html.escape(socket.gethostname())}: sign in to open its page.",
        )  # fmt: skip
    except OSError as error:
        where = f"{server.host}, port {server.port or '7860 to 7959'}"
        raise InputError(f"the page cannot be opened on {where} ({error}); give another --port") from None
    return str(public or reachable(str(local), server.host))


def reachable(address: str, host: str) -> str:
    """The address for other machines, where the page listens on every address of this one: no browser opens 0.0.0.0."""
    if host not in ("0.0.0.0", "::"):
        return address
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # nothing is sent: the system only picks the address of its own
        try:
            probe.connect(("192.0.2.1", 9))
            own = str(probe.getsockname()[0])
        except OSError:
            own = socket.gethostname()
    return urlsplit(address)._replace(netloc=f"{own}:{urlsplit(address).port}").geturl()
