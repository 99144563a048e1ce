"""What follows from every change of the form: the cost, the times of the efforts, the marks of what was changed, what the browser keeps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr
from gradio.blocks import Block

from erase.errors import InputError
from erase.methods import METHODS
from ui.web.context import Page
from ui.web.erase.cost import Cost, cost_of, duration, line, plan_for, settled
from ui.web.erase.effort import EFFORTS, offered
from ui.web.erase.estimates import Estimates
from ui.web.erase.form import START, EraseForm, effort_choices
from ui.web.erase.handlers import PREVIEW, SETTINGS, Choice, ErasureRequest, Order, filled, filled_counts, order_of
from ui.web.erase.local_models import device_of, folder_of
from ui.web.erase.option_controls import changes_of, marks
from ui.web.erase.pace import key_of
from ui.web.forms import form
from ui.web.frame import PRIVATE, Changes, Frame, Values
from ui.web.messages import problem
from ui.web.visitor import owner, page_for

PENDING = "<p class=muted>This machine is being timed …</p>"


class Price:
    """The events of a form. `stored`: what the browser keeps of it."""

    def __init__(self, page: Page, form: EraseForm, stored: gr.BrowserState) -> None:
        self.page, self.form, self.stored = page, form, stored
        self.estimates = Estimates(page)
        self.waiting = gr.Timer(2.0, active=False)
        self.kept, self.sent = gr.State(None), gr.State({})
        form.cost.value, efforts = self.first()
        form.effort.choices = list(efforts)

    def connect(self, frame: Frame, opened: gr.Tab) -> None:
        """The form follows a choice; the cost follows the form."""
        form = self.form
        self.session = frame.session
        self.stored.render()  # here, outside all tabs: what lies in a tab is not read by the browser before the tab is opened
        inputs, outputs = {frame.session, self.sent, *form.inputs}, self.outputs
        choices = [form.concept.change, form.model.change, form.options.method.change, form.options.preset.input, form.effort.input]
        # One listener: the last answer belongs to the last choice, whichever control it was.
        followed = gr.on(choices, form.follow, form.inputs, form.followers, trigger_mode="always_last", **PRIVATE)
        details: list[Any] = form.details
        changed = [component.input for component in details]
        gr.on(changed, self.priced, inputs, outputs, trigger_mode="always_last", concurrency_limit=None, **PRIVATE)
        reset = form.options.reset.click(form.reset, form.inputs, form.options.components, **PRIVATE)
        # In two events: the second touches every control of the form, which takes a browser a while, and a first visit needs none of it.
        frame.blocks.load(lambda kept: kept, self.stored, self.kept, **PRIVATE)
        restored = self.kept.change(self.restore, self.kept, [*form.followers, form.model, form.options.method], **PRIVATE)
        given = form.own_images.connect(frame)
        for event in (followed.then, reset.then, restored.then, given.then, opened.select, self.waiting.tick):
            event(self.priced, inputs, outputs, concurrency_limit=None, **PRIVATE)
        for listener in (form.refresh.click, opened.select):
            listener(self.refreshed, frame.session, form.model, **PRIVATE)

    @property
    def outputs(self) -> list[Block]:
        form = self.form
        return [form.cost, form.effort, form.options.marks, form.fold, self.stored, self.waiting, self.sent]

    def restore(self, kept: Any) -> Changes:
        """The form as the browser has kept it."""
        return self.form.restored(kept) or {self.form.filled_for: gr.skip()}

    def refreshed(self, session: Any) -> Any:
        """The list of models as it is now."""
        return self.form.refreshed(page_for(self.page, session))

    def first(self) -> tuple[str, list[tuple[str, str]]]:
        """The cost and the efforts of a form that nobody has touched."""
        request = ErasureRequest(START, filled_for=START)
        efforts = effort_choices(START.method, self._times(self.page, START))
        return line(cost_of(self.page, order_of(self.page, request))), efforts

    def priced(self, values: Values) -> Changes:
        """The form's cost, or what is wrong in it; and the marks."""
        session, form = values[self.session], self.form
        page, visitor = page_for(self.page, session), owner(self.page, session)
        request = form.request(values)
        differing = self._differing(page, request)
        shown: dict[str, Any] = {"marks": marks(differing), "kept": form.kept(values), "pending": False}
        shown["label"] = f"All options · {len(differing)} changed" if differing else "All options"
        try:
            order = order_of(page, request)
            cost = cost_of(page, order)
        except InputError as error:
            self.estimates.drop(visitor)
            shown["cost"] = problem(error)
        else:
            shown["pending"] = self._timed(visitor, order, cost)
            shown["efforts"] = effort_choices(request.choice.method, self._times(page, request.choice))
            shown["cost"] = line(cost) + (PENDING if shown["pending"] else "")
        return self._changes(shown, values[self.sent] or {})

    def _changes(self, shown: dict[str, Any], before: dict[str, Any]) -> Changes:
        """The components for what differs from what the browser shows: each of them costs it a moment."""
        form = self.form
        updates: dict[str, tuple[Block, Any]] = {
            "cost": (form.cost, shown["cost"]),
            "marks": (form.options.marks, shown["marks"]),
            "kept": (self.stored, shown["kept"]),
            "pending": (self.waiting, gr.Timer(active=shown["pending"])),
            "label": (form.fold, gr.Accordion(label=shown["label"])),
            "efforts": (form.effort, gr.Radio(choices=shown.get("efforts"))),
        }
        return dict(updates[name] for name, value in shown.items() if before.get(name) != value) | {self.sent: shown}

    def _timed(self, visitor: str, order: Order, cost: Cost) -> bool:
        """Have this machine timed where that was not done and needs no download; whether it is under way."""
        busy = any(entry.active for entry in self.page.jobs.entries())  # a job would be slowed down, and slow down what is measured
        if cost.exact or cost.download or busy or folder_of(order.model) is None:
            self.estimates.drop(visitor)
            return False
        job = settled(order)
        key = key_of(order.model, job, device_of(self.page.device))
        return self.estimates.want(visitor, key, order.arguments, plan_for(order, job))

    @staticmethod
    def _times(page: Page, choice: Choice) -> dict[str, str]:
        """The time of each effort, as the form would be filled in for it."""
        times: dict[str, str] = {}
        for name in offered(choice.method):
            other = replace(choice, effort=name, preset=EFFORTS[name].preset)
            try:
                order = order_of(page, ErasureRequest(other, filled_for=other, settings=filled_counts(page, other)))
                seconds = cost_of(page, order).seconds
            except InputError:
                continue
            times |= {name: duration(seconds).replace(" minutes", " min").replace(" minute", " min")} if seconds is not None else {}
        return times

    @staticmethod
    def _differing(page: Page, request: ErasureRequest) -> dict[str, str]:
        """The options that hold something else than the choice has filled in."""
        choice = request.filled_for or request.choice
        usual = {field.name: PREVIEW.get(field.name, field.default) for field in SETTINGS} | filled_counts(page, choice)
        followed = request.choice.method == choice.method
        own = changes_of(request.values, form(METHODS[choice.method]), filled(page, choice)) if followed else {}
        return own | changes_of(request.settings, SETTINGS, usual)
