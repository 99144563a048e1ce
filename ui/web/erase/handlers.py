"""What Erase does: the values of the form become a command in the queue. Plain functions, without gradio.

Everything is checked here, before anything waits: a command that is queued is one that starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

from erase.concepts import DEMO, Concept, list_concepts, own_words
from erase.concepts.published import kind_of_all
from erase.concepts.several import JOINT, Concepts, load_concepts, settings_of, together
from erase.errors import InputError
from erase.files.disk import disk_errors
from erase.methods import METHODS, DiffusionMethod, make_method
from erase.pipeline.job import Job
from erase.run import next_run_folder
from ui.web.context import Page
from ui.web.erase.effort import EFFORTS, counts, of_method, offered
from ui.web.erase.local_models import check_scopes, small
from ui.web.erase.prompts import TEXTS, edited, examples, texts
from ui.web.forms import changed, flags, form, labels_of, preset_values, presets
from ui.web.jobs.entry import DONE, Entry
from ui.web.messages import labelled, problem

FIRST = "heart"  # the package has a model that never knew it, so its reports have a gold standard
OWN = "(the concept's default model)"
# Fields of a job that have a control of their own, or none.
APART = ("concepts", "model", "method", "preset", "output", "overwrite", "device", "anchor")
METHOD_PATHS = ("gold",)
PATHS = ("tokenizer", "parts", "forget_images", "forget_image_captions", "retain_images", "retain_image_captions")
SETTINGS = [field for field in form(Job) if field.name not in APART]
PREVIEW = {"preview_every": 10}  # steps; the command has it off
LABELS = {"concepts": "Concept", "model": "Model", "method": "Method", "preset": "Preset", "effort": "How", **labels_of(SETTINGS)}
LONGEST = 200  # letters of a concept


@dataclass(frozen=True)
class Choice:
    """What the rest of the form depends on. `effort`: one of `ui.web.erase.effort`, or empty."""

    concept: str
    model: str = OWN
    method: str = "scissorhands"
    preset: str = "balanced"
    effort: str = ""


@dataclass(frozen=True)
class ErasureRequest:
    """The values of the form. `texts`, `values` and the counts in `settings` were filled in for `filled_for`."""

    choice: Choice
    texts: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    filled_for: Choice | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Order:
    """A form that has been checked: what is erased, in words, the flags of the command, and what its cost follows from."""

    concept: str
    arguments: tuple[str, ...]
    model: str
    job: Job
    method: DiffusionMethod
    concepts: Concepts

    @property
    def title(self) -> str:
        """What the job is called in the queue."""
        return f"{self.concept} from {short(self.model)}"


def labels(method: str) -> dict[str, str]:
    """Option -> label, of everything in the form with this method's options."""
    return {**LABELS, **labels_of(form(METHODS[method]))}


def concepts(model: str = OWN) -> list[str]:
    """The concepts to choose from, those of the embedded model first: they need neither a download nor a GPU.

    What is typed filters the list by parts of words, and Enter takes the first: so red comes before checkered. Where an embedded model
    with words of its own is chosen: its files, then every other word that it knows.
    """
    if own := own_words(model):
        return own
    domains = ("shape", "colour", "style")

    def place(concept: Concept) -> tuple[bool, bool, int, str]:
        domain = domains.index(concept.domain) if concept.domain in domains else len(domains)
        return concept.model != DEMO, concept.name != FIRST, domain, concept.name

    return [concept.name for concept in sorted(list_concepts(), key=place)]


def about(page: Page, concept: str, model: str) -> tuple[str, dict[str, str], str]:
    """A concept, or several, in words; the prompts of a single one for editing; and example prompts. Or what is wrong with it."""
    try:
        loaded, source = concept_for(page, concept, model)
    except InputError as error:
        return problem(labelled(error, LABELS)), dict.fromkeys(TEXTS, ""), ""
    lists = "".join(
        f"<dt>{escape(label)}</dt>{''.join(f'<dd>{escape(text)}</dd>' for text in prompts)}"
        for one in loaded
        for label, prompts in examples(one).items()
    )
    descriptions = "; ".join(escape(one.about or one.name) for one in loaded)
    html = f"<p>{descriptions[:1].upper()}{descriptions[1:]}. Detected by {escape(loaded[0].detector)}. Model: <b>{escape(source)}</b>.</p>"
    if len(loaded) > 1:
        html += "<p>Each keeps its own prompts; to edit them, erase one after another, the second from the run of the first.</p>"
    return html, texts(loaded[0]) if len(loaded) == 1 else dict.fromkeys(TEXTS, ""), f"<dl class=examples>{lists}</dl>"


def filled(page: Page, choice: Choice) -> dict[str, Any]:
    """The values of a method's form for a preset and an amount of work."""
    try:
        loaded = concept_for(page, choice.concept, choice.model)[0]
        recommended, kind = settings_of(loaded), kind_of_all(loaded)
    except InputError:
        recommended, kind = {}, None
    values = preset_values(choice.method, choice.preset, recommended, kind)
    values |= of_method(choice.effort, values)
    return {field.name: values[field.name] for field in form(METHODS[choice.method])}


def filled_counts(page: Page, choice: Choice) -> dict[str, Any]:
    """The options of the job that the amount of work sets."""
    try:
        return counts(choice.effort, small(concept_for(page, choice.concept, choice.model)[1]))
    except InputError:
        return counts(choice.effort, True)


def concept_for(page: Page, text: str, model: str) -> tuple[Concepts, str]:
    """The concept, or several separated by ` + `, and the model to remove them from; InputError where either is unknown or closed."""
    names = _names(page, text)
    if len(text or "") > LONGEST:
        raise InputError(f"the concept has {len(text)} letters; expected at most {LONGEST}, a name or a few words")
    chosen = None if model in ("", OWN, None) else page.model(str(model))
    loaded = load_concepts(names, chosen)
    return loaded, chosen or page.model(loaded[0].model)


def _names(page: Page, text: str) -> tuple[str, ...]:
    """The names in the text box, ` + ` between several: with single spaces, and paths inside the allowed folders."""
    parts = " ".join(str(text or "").split()).split(JOINT)
    return tuple(str(page.inside(part)) if part.endswith(".toml") else part for part in parts)


def order_of(page: Page, request: ErasureRequest) -> Order:
    """The form as a job; InputError for the first mistake in it."""
    request = _current(page, request)
    choice = request.choice
    loaded, model = concept_for(page, choice.concept, choice.model)
    names = _names(page, choice.concept)
    if request.texts and len(loaded) == 1:
        names = (str(edited(loaded[0], request.texts, page.runs.resolve() / ".ui" / "concepts") or names[0]),)
    preset = preset_values(choice.method, choice.preset, settings_of(loaded), kind_of_all(loaded))
    values: dict[str, Any] = of_method(choice.effort, preset)
    if request.values:
        values = changed(form(METHODS[choice.method]), request.values, preset)
        values = {name: str(page.inside(str(value))) if name in METHOD_PATHS else value for name, value in values.items()}
    settings = _settings(page, request.settings)
    if settings.get("forget_images") and settings.get("forget_count") == filled_counts(page, choice)["forget_count"]:
        settings.pop("forget_count", None)  # of the ready-made amount: with images of one's own none is drawn
    chosen = {"model": model, "method": choice.method, "preset": choice.preset, "device": page.device}
    job, method = _checked({"concepts": names, **chosen}, preset | values, settings)
    arguments = [*(f"--concept={name}" for name in names), *flags(chosen | settings | values)]
    return Order(together(loaded), tuple(arguments), model, job, method, loaded)


def _current(page: Page, request: ErasureRequest) -> ErasureRequest:
    """A click may come before the form has followed a choice: values that were filled in for another choice are left out."""
    now, before = request.choice, request.filled_for
    if before == now:
        return request
    same_concept = before is not None and (before.concept, before.model) == (now.concept, now.model)
    if before is not None and before.method != now.method:
        now = replace(now, preset=presets(now.method)[0], effort=now.effort if now.effort in offered(now.method) else "")
    if before is not None and before.effort != now.effort and now.effort in EFFORTS:
        now = replace(now, preset=EFFORTS[now.effort].preset)
    texts = request.texts if same_concept else {}
    settings = {**request.settings, **(filled_counts(page, now) if before is not None and now.effort else {})}
    return replace(request, texts=texts, values={}, choice=now, settings=settings)


def _settings(page: Page, entered: Mapping[str, Any]) -> dict[str, Any]:
    """The job's own options that differ from the defaults; paths inside the allowed folders."""
    defaults = {field.name: field.default for field in SETTINGS}
    values = changed(SETTINGS, {**defaults, **entered}, defaults) if entered else {}
    return {name: str(page.inside(str(value))) if name in PATHS else value for name, value in values.items()}


def _checked(chosen: Mapping[str, Any], values: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[Job, DiffusionMethod]:
    """The job and its method, with what the engine checks beyond single fields; InputError with the label of the control."""
    try:
        job, method = Job(**chosen, **settings), make_method(chosen["method"], chosen["preset"], **values)
        check_scopes(str(chosen["model"]), method)
    except InputError as error:
        raise labelled(error, labels(chosen["method"])) from None
    return job, method


def start(page: Page, request: ErasureRequest, owner: str = "", expected: float = 0.0) -> Entry:
    """Queue the job; its run folder is created at once, so that no other job takes the name. `expected`: seconds that it may take."""
    order = order_of(page, request)
    folder = _reserved(page.runs, order.concept, short(order.model), request.choice.method)
    try:
        return page.jobs.add([*order.arguments, f"--output={folder.resolve()}"], folder, order.title, owner, expected)
    except InputError:
        folder.rmdir()
        raise


def identical(page: Page, order: Order, owner: str = "") -> Entry | None:
    """A job of this owner with the same command that waits, runs or is finished: the same command gives the same model."""
    same = [entry for entry in page.jobs.entries() if entry.owner == owner and entry.arguments[:-1] == order.arguments]
    kept = [entry for entry in same if entry.active or (entry.state == DONE and Path(entry.output).is_dir())]
    return kept[-1] if kept else None


def _reserved(root: Path, concept: str, model: str, method: str) -> Path:
    with disk_errors(root):
        while True:
            folder = next_run_folder(root, concept, model, method)
            try:
                folder.mkdir(parents=True)
            except FileExistsError:  # another visitor was faster
                continue
            return folder


def short(model: str) -> str:
    """What a model is called in a name: the last part, and of a run its run."""
    path = Path(model)
    return path.parent.name if path.name == "model" and path.parent.name else path.name or model
