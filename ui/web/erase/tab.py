"""The tab Erase: the form, the line, and the shown job as it goes. Layout and wiring; erasing.py and watching.py do the rest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from erase.errors import InputError
from ui.web.context import Page
from ui.web.erase.export import DTYPES, FORMATS, export
from ui.web.erase.form import PRIVATE, build_form, inputs_of, wire_form, wish_of
from ui.web.erase.handlers import estimate, start
from ui.web.erase.view import View
from ui.web.erase.watch import again, choices, look, queue, run_of, stop, watched
from ui.web.messages import TAKEN, problem
from ui.web.runs import erased_runs
from ui.web.units import estimated, size
from ui.web.visitor import owner, seated, secret, sight

HELLO = """**Do it.** Say what should go. The model draws pictures of it and of everything else, the weights that it depends on most are
trimmed, and the rest is repaired. The embedded model needs no GPU and takes some minutes. You may close the page: the job goes on."""
BUTTONS = {"stop": "can_stop", "again": "can_go_on", "compare": "finished", "report": "finished", "inside": "finished"}

# --- layout -----------------------------------------------------------------------------------------------------------


def build(page: Page) -> None:
    """The controls, and their wiring."""
    import gradio as gr

    gr.Markdown(HELLO)
    seat = gr.BrowserState(None, storage_key="erase-concept-seat", secret=secret(page))
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=320):
            made = build_form(page)
        with gr.Column(scale=3, min_width=320):
            out = _job()
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=320, visible=False) as out["outcome"]:
            out["verdict"] = gr.HTML(visible=False, elem_id="verdict")
        with gr.Column(scale=2, min_width=320):
            _live(out)
    wire_form(page, made)
    _wire_job(page, made, out, seat)
    page.links.update({"erase.seat": seat, **{f"erase.{name}": out[name] for name in ("compare", "report", "inside")}})


def _job() -> dict[str, Any]:
    """The line, how far the shown job is, and the presses on it."""
    import gradio as gr

    out: dict[str, Any] = {}
    with gr.Row(visible=False) as out["yours"]:
        out["job"] = gr.Dropdown([], label="Job", info="Yours, newest first; found again when the page is.", elem_id="job", min_width=280)
        out["queue"] = gr.HTML(elem_id="queue", min_width=200)
    out["head"] = gr.HTML(View().head, elem_id="head")
    with gr.Row(elem_id="presses"):
        labels = {"stop": "Stop", "again": "Go on", "compare": "Compare", "report": "Report", "inside": "Inside"}
        for name, words in labels.items():
            kind = {"stop": "stop", "compare": "primary", "again": "primary"}.get(name, "secondary")
            out[name] = gr.Button(words, variant=kind, visible=False, elem_id=f"job-{name}", min_width=100)
    out["seen"] = gr.State({})
    out["clock"] = gr.Timer(1.0, active=False)
    return out


def _live(out: dict[str, Any]) -> None:
    """What it draws on the way, its losses, and in the end its file."""
    import gradio as gr

    out["show"] = gr.Checkbox(
        False, label="Show pictures as they are", elem_id="job-show", visible=False,
        info="Pictures drawn while a model changes are blurred until you tick this, for this visit; those of the embedded model are not.",
    )  # fmt: skip
    out["pictures"] = gr.HTML(visible=False, elem_id="pictures")
    out["curves"] = gr.HTML(visible=False, elem_id="curves")
    with gr.Accordion("Export", open=True, visible=False, elem_id="export") as out["export"]:
        formats, dtypes = ([(words, name) for name, words in names.items()] for names in (FORMATS, DTYPES))
        out["format"] = gr.Radio(formats, value="folder", label="Format", info="Where you want to load it.")
        out["dtype"] = gr.Radio(dtypes, value="source", label="Numbers", info="float16 takes half the room of float32.")
        out["pack"] = gr.Button("Write the file", elem_id="pack")
        out["packed"] = gr.HTML(elem_id="packed")
        out["file"] = gr.DownloadButton("Download", visible=False, elem_id="download")


# --- wiring -----------------------------------------------------------------------------------------------------------


def _wire_job(page: Page, made: dict[str, Any], out: dict[str, Any], seat: Any) -> None:
    """Presses, the clock, and a page that is opened again."""

    def shown(seat_now: Any, show: bool, seen: dict[str, Any]) -> dict[Any, Any]:
        return changes(page, out, seat_now, show, seen)

    def opened(seat_now: Any, show: bool) -> dict[Any, Any]:
        seat_now = seated(seat_now)
        return {seat: seat_now, **changes(page, out, seat_now, show, {})}

    def started(seat_now: Any, show: bool, *values: Any) -> dict[Any, Any]:
        seat_now = seated(seat_now)
        try:
            page.rate.press(owner(page, seat_now))
            entry = start(sight(page, seat_now), wish_of(values), owner(page, seat_now))
        except InputError as error:
            return {made["problem"]: problem(error)}
        seat_now = {**seat_now, "job": entry.id}
        return {made["problem"]: "", seat: seat_now, **changes(page, out, seat_now, show, {})}

    def asked(seat_now: Any, *values: Any) -> Iterator[str]:
        try:
            page.rate.press(owner(page, seat_now))
            yield '<p role="status">Estimating …</p>'
            yield estimated(estimate(sight(page, seat_now), wish_of(values)))
        except InputError as error:
            yield problem(error)

    def pressed(press: Any) -> Any:
        def handler(seat_now: Any, show: bool) -> dict[Any, Any]:
            try:
                press(page, seat_now)
            except InputError as error:
                return {made["problem"]: problem(error)}
            return changes(page, out, seat_now, show, {})

        return handler

    def chosen(seat_now: Any, show: bool, id: str) -> dict[Any, Any]:
        seat_now = {**seated(seat_now), "job": id or ""}
        return {seat: seat_now, **changes(page, out, seat_now, show, {})}

    everything = [*(out[name] for name in out if name not in ("format", "dtype", "pack", "packed", "file")), seat, made["problem"]]
    page.links["blocks"].load(opened, [seat, out["show"]], everything, **PRIVATE)
    out["clock"].tick(shown, [seat, out["show"], out["seen"]], everything, concurrency_limit=None, **PRIVATE)
    made["start"].click(None, None, made["problem"], js=TAKEN)
    made["start"].click(started, [seat, out["show"], *inputs_of(made)], everything, **PRIVATE)
    made["ask"].click(asked, [seat, *inputs_of(made)], made["estimate"], concurrency_limit=None, **PRIVATE)
    out["stop"].click(pressed(stop), [seat, out["show"]], everything, **PRIVATE)
    out["again"].click(pressed(again), [seat, out["show"]], everything, **PRIVATE)
    out["show"].input(lambda seat_now, show: changes(page, out, seat_now, show, {}), [seat, out["show"]], everything, **PRIVATE)
    out["job"].input(chosen, [seat, out["show"], out["job"]], everything, **PRIVATE)
    _wire_export(page, out, seat)


def _wire_export(page: Page, out: dict[str, Any], seat: Any) -> None:
    import gradio as gr
    from gradio.utils import get_upload_folder

    def packed(seat_now: Any, form: str, dtype: str) -> Iterator[tuple[str, Any]]:
        yield '<p role="status">Writing …</p>', gr.DownloadButton(visible=False)
        try:
            page.rate.press(owner(page, seat_now))
            path = export(run_of(page, seat_now), form, dtype, Path(get_upload_folder()))
        except InputError as error:
            yield problem(error), gr.DownloadButton(visible=False)
            return
        yield (
            f'<p role="status">{path.name}: {size(path.stat().st_size)}.</p>',
            gr.DownloadButton(f"Download {path.name}", str(path), visible=True),
        )

    three = [seat, out["format"], out["dtype"]]
    out["pack"].click(packed, three, [out["packed"], out["file"]], concurrency_limit=None, **PRIVATE)


def changes(page: Page, out: dict[str, Any], seat: Any, show: bool, seen: dict[str, Any]) -> dict[Any, Any]:
    """Component -> its new value, for those that show something else than what was `seen`."""
    import gradio as gr

    now, entry = look(page, seat, show), watched(page, seat)
    values = {name: getattr(now, name) for name in ("head", "verdict", "pictures", "curves")} | {"queue": queue(page, seat)}
    values |= {name: getattr(now, flag) for name, flag in BUTTONS.items()}
    values |= {"outcome": bool(now.verdict), "export": now.finished, "clock": now.active, "show": now.covered, "yours": entry is not None}
    values["job"] = (choices(page, seat), entry.id if entry else None)
    made: dict[Any, Any] = {}
    for name, value in values.items():
        if name not in seen or seen[name] != value:
            made[out[name]] = _update(gr, name, value)
    return made | {out["seen"]: values}


def _update(gr: Any, name: str, value: Any) -> Any:
    if name == "job":
        return gr.Dropdown(choices=value[0], value=value[1])
    if name == "clock":
        return gr.Timer(active=value)
    kinds = {"show": gr.Checkbox, "yours": gr.Row, "outcome": gr.Column, "export": gr.Accordion}
    if name in kinds:
        return kinds[name](visible=value)
    if isinstance(value, str):
        return gr.HTML(value, visible=bool(value))
    return gr.Button(visible=value)


def connect(page: Page) -> None:
    """What leads to other tabs."""
    import gradio as gr

    def leads(tab: str, many: bool) -> Any:
        def handler(seat_now: Any) -> tuple[Any, Any]:
            name = run_of(page, seat_now).name
            return gr.Tabs(selected=tab), gr.Dropdown(choices=erased_runs(sight(page, seat_now)), value=[name] if many else name)

        return handler

    for press, tab, many in (("compare", "compare", True), ("report", "evidence", False), ("inside", "inside", False)):
        if f"{tab}.run" in page.links:
            outputs = [page.links["tabs"], page.links[f"{tab}.run"]]
            pressed = page.links[f"erase.{press}"].click(leads(tab, many), page.links["erase.seat"], outputs, **PRIVATE)
            if tab == "compare":
                pressed.then(**page.links["compare.draw"])
