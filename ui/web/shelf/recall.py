"""The settings of a run as the form of the tab Erase holds them, to use them again. Without gradio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from erase.concepts.record import concept_of, names_of
from erase.concepts.several import JOINT
from erase.errors import InputError
from erase.methods import METHODS
from ui.web.erase.handlers import SETTINGS
from ui.web.erase.prompts import texts
from ui.web.forms import displayed, form, presets
from ui.web.shelf.listing import Shelved


def settings(run: Shelved) -> dict[str, Any]:
    """What the form keeps of itself (`EraseForm.kept`): the choice, prompts, the method's options and the job's.

    InputError for a run that no form can make: of another command, or of a method that is not here.
    """
    options = run.options
    method, preset = str(options.get("method")), str(options.get("preset"))
    values = options.get("method_options")
    if run.kind or method not in METHODS or not isinstance(values, Mapping):
        raise InputError(f"{run.name} was not made by the form of the tab Erase; its command stands under Protocol")
    preset = preset if preset in presets(method) else presets(method)[0]
    choice = [JOINT.join(names_of(options)), str(options.get("model") or ""), method, preset, ""]
    own: dict[str, str] = {}
    if len(options.get("concepts") or [1]) == 1 and isinstance(options.get("concept_file"), Mapping):
        own = texts(concept_of(options["concept_file"]))
    return {
        "choice": choice,
        "filled_for": choice,
        "texts": own,
        "values": {field.name: displayed(field, values[field.name]) for field in form(METHODS[method]) if field.name in values},
        "settings": {field.name: displayed(field, options[field.name]) for field in SETTINGS if field.name in options},
    }
