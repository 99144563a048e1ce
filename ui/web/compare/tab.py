"""The tab Compare: original and erased model side by side, from the same prompt and seed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import gradio as gr
from gradio.blocks import Block

from erase.errors import InputError
from ui.web.compare.controls import Controls, Results
from ui.web.compare.handlers import ComparisonRequest, ComparisonUpdate, again, compare, files, slider
from ui.web.compare.suggestions import default_prompt, first, random_prompt, settings_for
from ui.web.context import Page
from ui.web.frame import PRIVATE, Changes, Frame, Values
from ui.web.messages import QUEUED, problem
from ui.web.runs import OWN, erased_runs
from ui.web.visitor import page_for

HELLO = """**See for yourself.** The same prompt and seed, drawn by the original model and by the erased one. Under each image: what a
detector finds in it. The embedded model draws in a second, without a GPU or a download."""
# In the browser, at the moment a suggestion arrives: what the visitor has typed since it was requested stays.
SUGGEST = "(prompt, auto, offer) => prompt === '' || prompt === auto ? [offer, offer] : [prompt, auto]"


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
                    self.results = Results()

    def connect(self, frame: Frame) -> None:
        """Drawing: by the button, by Enter in the prompt, and once when the page is opened. What one control does to others."""
        form, results = self.form, self.results
        self.session = frame.session
        form.draw.click(None, None, form.status, js=QUEUED)
        for listener in (form.draw.click, form.prompt.submit):
            self.draw_on(listener)
        frame.blocks.load(self.open, self._request_inputs, self._outputs, concurrency_limit=None, **PRIVATE)
        form.stop.click(self.stop, None, None, **PRIVATE)
        frame.blocks.unload(self.stop)
        results.start.click(lambda: gr.Tabs(selected="erase"), None, frame.tabs, **PRIVATE)
        self.container.select(self.list_runs, frame.session, form.models, **PRIVATE)
        chosen = [frame.session, form.models, form.concept]
        settings = [form.steps, form.guidance, form.example, results.offer]
        for listener in (form.models.change, form.concept.input):
            listener(self.follow, chosen, settings, **PRIVATE)
        form.surprise.click(self.surprise, chosen, form.prompt, **PRIVATE)
        self._connect_results()

    def _connect_results(self) -> None:
        form, results = self.form, self.results
        results.offer.change(None, [form.prompt, results.auto, results.offer], [form.prompt, results.auto], js=SUGGEST)
        form.example.input(lambda text: text or gr.skip(), form.example, form.prompt, **PRIVATE)
        comparison = [results.key, form.show, results.pair]
        form.show.input(self.show, comparison, [form.status, results.grid, results.slider, results.files], **PRIVATE)
        results.pair.input(self.pick_pair, comparison, results.slider, **PRIVATE)
        results.reset.click(lambda: ({}, ""), None, [results.tally, results.table], **PRIVATE)

    def draw_on(self, listener: Callable[..., Any]) -> None:
        """Draw the comparison as the controls stand, on an event; this tab's own, or one of another tab that has set its models."""
        listener(self.draw, self._request_inputs, self._outputs, concurrency_limit=None, **PRIVATE)

    @property
    def _request_inputs(self) -> set[Block]:
        return {self.session, *self.form.fields.values(), self.results.key, self.results.tally}

    @property
    def _outputs(self) -> list[Block]:
        return [*self.form.outputs, *self.results.outputs]

    # --- handlers -------------------------------------------------------------------------------------------------------

    async def draw(self, values: Values, request: gr.Request) -> AsyncIterator[Changes]:
        """Draw, and show how far it is."""
        comparison = self._request(values)
        async for update in compare(page_for(self.page, values[self.session]), comparison, str(request.session_hash)):
            yield self._changes(update, comparison.show)

    async def open(self, values: Values, request: gr.Request) -> AsyncIterator[Changes]:
        """Suggest a first comparison, and draw it where that is quick."""
        form, results, page = self.form, self.results, page_for(self.page, values[self.session])
        opening, names, quick = await asyncio.to_thread(first, page)
        _, _, prompts = settings_for(page, list(opening.models), OWN)
        yield {
            form.steps: opening.steps,
            form.guidance: opening.guidance,
            form.models: gr.Dropdown(choices=names, value=list(opening.models)),
            form.example: gr.Dropdown(choices=prompts, value=None),
            results.offer: opening.prompt,
            results.nothing: gr.Column(visible=not names),
        }
        current = self._request(values)
        comparison = replace(opening, key=current.key, tally=current.tally, show=current.show)
        if quick:
            async for update in compare(page, comparison, str(request.session_hash)):
                yield self._changes(update, comparison.show)

    def stop(self, request: gr.Request) -> None:
        """Withdraw what this visitor is waiting for."""
        self.page.drawing.leave(str(request.session_hash))

    def list_runs(self, session: Any) -> Any:
        """The runs to choose from, read again."""
        return gr.Dropdown(choices=erased_runs(page_for(self.page, session)))

    def follow(self, session: Any, models: list[str], concept: str) -> tuple[Any, ...]:
        """Settings and example prompts of the chosen models."""
        steps, guidance, prompts = settings_for(page_for(self.page, session), models, concept)
        return steps, guidance, gr.Dropdown(choices=prompts, value=None), default_prompt(prompts) if prompts else gr.skip()

    def surprise(self, session: Any, models: list[str], concept: str) -> str:
        """Another prompt that should still work."""
        return random_prompt(page_for(self.page, session), models, concept)

    def show(self, key: str, show: bool, pair: str) -> Changes:
        """The same images, blurred or not, without drawing them again."""
        form, results = self.form, self.results
        if not key:
            return {results.files: gr.skip()}
        try:
            grid, images = again(self.page, key, show, pair)
        except InputError as error:
            return {form.status: problem(error)}
        return {results.grid: grid, results.slider: images, results.files: files(key, show)}

    def pick_pair(self, key: str, show: bool, pair: str) -> Any:
        """Another pair of images under the slider."""
        try:
            comparison = self.page.downloads.comparison(key)
        except InputError:
            return gr.skip()
        return slider(comparison.order, comparison.images, pair, show)

    def _request(self, values: Values) -> ComparisonRequest:
        fields = {name: values[component] for name, component in self.form.fields.items()}
        return ComparisonRequest(**fields, key=values[self.results.key], tally=values[self.results.tally])

    def _changes(self, update: ComparisonUpdate, show: bool) -> Changes:
        form, results = self.form, self.results
        changes: Changes = {
            form.status: update.status,
            form.draw: gr.Button(interactive=not update.busy),
            form.stop: gr.Button(interactive=update.busy),
        }
        if update.grid is not None:
            changes[results.grid] = update.grid
        if update.key:
            pairs = list(update.pairs)
            changes |= {
                results.key: update.key,
                results.tally: update.tally,
                results.table: update.table,
                results.files: files(update.key, show),
                results.overlay: gr.Accordion(visible=bool(pairs)),
                results.detections: gr.Accordion(visible=True),
                results.slider: update.slider,
                results.pair: gr.Dropdown(choices=pairs, value=pairs[0][1] if pairs else None),
            }
        return changes
