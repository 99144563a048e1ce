"""The tab Compare: prompts drawn by the original and by erased models, from the same noise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from html import escape
from typing import Any

import gradio as gr
from gradio.blocks import Block

from erase.errors import InputError
from ui.web.compare import script
from ui.web.compare.address import restored
from ui.web.compare.choices import erased_choices, original_choices
from ui.web.compare.controls import EXAMPLE, NOTHING, Controls, Results
from ui.web.compare.handlers import RANDOM, ComparisonRequest, ComparisonUpdate, again, compare, files
from ui.web.compare.keeping import keep, kept_words
from ui.web.compare.suggestions import Setting, first, one_more, read, setting_for, with_show
from ui.web.context import Page
from ui.web.example.unpack import NAME
from ui.web.frame import PRIVATE, Changes, Frame, Values
from ui.web.messages import QUEUED, problem
from ui.web.visitor import owner, page_for, secret

HELLO = """**See for yourself.** The same prompts and seeds, drawn by the original model and by the erased ones, with what a detector
finds in each image. Press an image to enlarge it."""
HISTORY = 30  # prompts that a browser remembers


class CompareTab:
    """Layout when constructed, events when connected."""

    def __init__(self, page: Page) -> None:
        self.page = page
        with gr.Tab("Compare", id="compare", elem_id="tab-compare") as self.container:
            gr.Markdown(HELLO)
            with gr.Row(equal_height=False):
                with gr.Column(scale=2, min_width=300):
                    self.form = Controls()
                with gr.Column(scale=5, min_width=320):
                    self.results = Results(secret(page))

    def connect(self, frame: Frame) -> None:
        """Drawing: by the button, by Ctrl + Enter in the prompts, and once when the page is opened. What one control does to others."""
        form, results = self.form, self.results
        self.session = frame.session
        frame.blocks.load(None, None, None, js=script.START)
        form.draw.click(None, None, form.status, js=QUEUED)
        for listener in (form.draw.click, form.prompts.submit):
            self.draw_on(listener)
        frame.blocks.load(self.open, self._request_inputs, self._outputs, concurrency_limit=None, **PRIVATE)
        form.stop.click(self.stop, None, None, **PRIVATE)
        frame.blocks.unload(self.stop)
        results.start.click(lambda: gr.Tabs(selected="erase"), None, frame.tabs, **PRIVATE)
        self.container.select(self.list_models, frame.session, [form.models, form.original], **PRIVATE)
        chosen = [frame.session, form.models, form.original, form.concept]
        settings = [form.steps, form.guidance, form.example, form.concept, form.about, results.offer, results.settled]
        for listener in (form.models.change, form.original.input, form.concept.input):
            listener(self.follow, [*chosen, results.settled], settings, **PRIVATE)
        form.more.click(self.one_more, [*chosen, form.prompts], form.prompts, **PRIVATE)
        readers = [frame.session, form.prompts, form.models, form.original]
        for listener in (form.prompts.change, form.models.change, form.original.change):
            listener(self.read, readers, form.reading, trigger_mode="always_last", concurrency_limit=None, **PRIVATE)
        self._connect_results()

    def _connect_results(self) -> None:
        form, results = self.form, self.results
        results.offer.change(None, [form.prompts, results.auto, results.offer], [form.prompts, results.auto], js=script.SUGGEST)
        for picked in (form.example, form.history):
            picked.input(None, [picked, form.prompts], form.prompts, js=script.PICK)
        form.dice.click(None, None, form.seed, js=f"() => {RANDOM}")
        form.reuse.click(None, form.seed, form.seed, js=script.REUSE)
        results.address.change(None, results.address, None, js=script.ADDRESS)
        comparison = [results.key, form.show]
        form.show.input(self.show, comparison, [form.status, results.grid, results.files], **PRIVATE)
        results.keep.click(None, None, results.kept, js=script.MEASURING)
        results.keep.click(self.keep, [self.session, results.key], results.kept, concurrency_limit=None, **PRIVATE)
        results.reset.click(lambda: ({}, ""), None, [results.seen, results.table], **PRIVATE)

    def draw_on(self, listener: Callable[..., Any]) -> None:
        """Draw the comparison as the controls stand, on an event; this tab's own, or one of another tab that has set its models."""
        listener(self.draw, self._request_inputs, self._outputs, concurrency_limit=None, **PRIVATE)

    @property
    def _request_inputs(self) -> set[Block]:
        return {self.session, *self.form.fields.values(), self.results.key, self.results.seen, self.results.past}

    @property
    def _outputs(self) -> list[Block]:
        return [*self.form.outputs, *self.results.outputs]

    # --- handlers -------------------------------------------------------------------------------------------------------

    async def draw(self, values: Values, request: gr.Request) -> AsyncIterator[Changes]:
        """Draw, and show how far it is."""
        comparison = self._request(values)
        async for update in compare(page_for(self.page, values[self.session]), comparison, str(request.session_hash)):
            changes = self._changes(update, comparison.show)
            if update.key:
                changes |= {self.results.address: update.address, **self._remember(values[self.results.past], update.prompts)}
            yield changes

    async def open(self, values: Values, request: gr.Request) -> AsyncIterator[Changes]:
        """Suggest a first comparison, or the one of the address, and draw it where that is quick."""
        form, results, page = self.form, self.results, page_for(self.page, values[self.session])
        address = list(request.query_params.multi_items()) if request.query_params else []
        opening, quick = await asyncio.to_thread(first, page, address)
        named = bool(restored(address))
        names = await asyncio.to_thread(erased_choices, page)
        setting = await asyncio.to_thread(setting_for, page, opening.models, opening.original, opening.concept)
        set_by_address = {getattr(form, name): value for name, value in _named(opening).items()}
        yield {
            **set_by_address,
            form.models: gr.Dropdown(choices=names, value=list(opening.models)),
            form.original: gr.Dropdown(choices=original_choices(page), value=opening.original),
            form.concept: gr.Dropdown(choices=list(setting.concepts), value=opening.concept),
            form.example: gr.Dropdown(choices=list(setting.examples), value=None),
            form.about: _about(setting),
            form.history: gr.Dropdown(choices=_history(values[results.past]), value=None),
            results.nothing: gr.Row(visible=opening.models in ([], [NAME])),
            results.hint: f"<p>{EXAMPLE if opening.models else NOTHING}</p>",
            **({form.prompts: opening.prompts, results.settled: list(opening.models)} if named else {results.offer: opening.prompts}),
        }
        comparison = with_show(opening, self._request(values))
        if quick:
            async for update in compare(page, comparison, str(request.session_hash)):
                yield self._changes(update, comparison.show)

    def stop(self, request: gr.Request) -> None:
        """Withdraw what this visitor is waiting for."""
        self.page.drawing.leave(str(request.session_hash))

    def list_models(self, session: Any) -> tuple[Any, Any]:
        """The models to choose from, read again."""
        page = page_for(self.page, session)
        return gr.Dropdown(choices=erased_choices(page)), gr.Dropdown(choices=original_choices(page))

    def follow(self, session: Any, models: list[str], original: str, concept: str, settled: list[str] | None) -> tuple[Any, ...]:
        """Settings and prompts of the chosen models; not where an address has just set both."""
        setting = setting_for(page_for(self.page, session), models or [], original, concept)
        examples = gr.Dropdown(choices=list(setting.examples), value=None)
        concepts = gr.Dropdown(choices=list(setting.concepts), value=setting.concept)
        if settled is not None and settled == models:
            return gr.skip(), gr.skip(), examples, concepts, _about(setting), gr.skip(), None
        return setting.steps, setting.guidance, examples, concepts, _about(setting), setting.prompts or gr.skip(), None

    def one_more(self, session: Any, models: list[str], original: str, concept: str, text: str) -> str:
        """The prompts, and one more to keep."""
        return one_more(page_for(self.page, session), text, models or [], original, concept)

    async def read(self, session: Any, text: str, models: list[str], original: str) -> str:
        """How the model reads the prompts."""
        return await asyncio.to_thread(read, page_for(self.page, session), text, models or [], original)

    def show(self, key: str, show: bool) -> Changes:
        """The same images, blurred or not, without drawing them again."""
        form, results = self.form, self.results
        if not key:
            return {results.files: gr.skip()}
        try:
            return {results.grid: again(self.page, key, show), results.files: files(key, show)}
        except InputError as error:
            return {form.status: problem(error)}

    async def keep(self, session: Any, key: str) -> str:
        """The shown comparison as a measurement."""
        page = page_for(self.page, session)
        try:
            return kept_words(await asyncio.to_thread(keep, page, key, owner(self.page, session)))
        except InputError as error:
            return problem(error)

    def _request(self, values: Values) -> ComparisonRequest:
        fields = {name: values[component] for name, component in self.form.fields.items()}
        fields["models"] = fields["models"] or []
        return ComparisonRequest(**fields, key=values[self.results.key], seen=values[self.results.seen])

    def _remember(self, past: Any, prompts: Iterable[str]) -> Changes:
        """The prompts of this browser, newest first."""
        kept = list(dict.fromkeys([*prompts, *_history(past)]))[:HISTORY]
        return {self.results.past: kept, self.form.history: gr.Dropdown(choices=kept, value=None)}

    def _changes(self, update: ComparisonUpdate, show: bool) -> Changes:
        form, results = self.form, self.results
        changes: Changes = {
            form.status: update.status,
            form.draw: gr.Button(interactive=not update.busy),
            form.stop: gr.Button(interactive=update.busy),
        }
        if update.failed:  # what was drawn before belongs to other choices
            hidden = {results.afterwards: gr.Row(visible=False), results.keep: gr.Button(visible=False)}
            changes |= {results.grid: "", results.files: "", results.kept: "", **hidden}
        if update.grid is not None:
            changes[results.grid] = update.grid
        if update.key:
            changes |= {
                results.key: update.key,
                results.seen: update.seen,
                results.table: update.table,
                results.files: files(update.key, show),
                results.afterwards: gr.Row(visible=True),
                results.keep: gr.Button(visible=update.pairs),
                results.kept: "",
                results.reset: gr.Button(visible=bool(update.table)),
            }
            if update.covered:
                changes[form.show] = gr.Checkbox(visible=True)
        return changes


def _named(opening: ComparisonRequest) -> dict[str, Any]:
    """The fields of a first comparison that are plain values of controls."""
    return {name: getattr(opening, name) for name in ("negative", "seed", "count", "steps", "guidance", "sampler", "size")}


def _history(past: Any) -> list[str]:
    """The prompts that a browser has stored, whatever else it sends."""
    return [str(text)[:1000] for text in past[:HISTORY] if isinstance(text, str)] if isinstance(past, list) else []


def _about(setting: Setting) -> str:
    return f"<details><summary>What the model draws</summary>{escape(setting.about)}</details>" if setting.about else ""
