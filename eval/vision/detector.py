"""Detectors: pictures -> what was found, with scores. A detector applies its own threshold: what it returns is found.

Knows none of them by sight: one of ours is found by its name, a user's own by "package.module:function" or "file.py:function".
"""

from __future__ import annotations

import inspect
import math
import re
import reprlib
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, Protocol

from PIL import Image

from erase.errors import InputError
from erase.files import sha256
from erase.run import package_version

BUILT_IN = {
    "judge": "eval.vision.judge:Judge",
    "scenes": "eval.vision.scene_judge:SceneJudge",
    "emoji": "eval.vision.judge:EmojiJudge",
    "nudenet": "eval.vision.nudenet:NudeNet",
    "imagenet": "eval.vision.imagenet:Imagenet",
    "clip": "eval.vision.clip:ZeroShot",
    "q16": "eval.vision.q16:Q16",
}
SHOWN = 20  # names in a message


@dataclass(frozen=True)
class Detection:
    """One thing found in a picture: its label, the detector's score, and where (x, y, width, height in pixels) if it says so."""

    label: str
    score: float
    box: tuple[float, float, float, float] | None = None


class Detector(Protocol):
    """Looks at RGB pictures of any sizes, any number of them, and gives one list a picture; a classifier one label a domain."""

    def __call__(self, images: Sequence[Image.Image]) -> list[list[Detection]]: ...

    def facts(self) -> dict[str, Any]:
        """Its part of the protocol: detector (name, version, sha256, ...), threshold, labels (domain -> labels), counted."""
        ...


def make_detector(name: str, **options: Any) -> Detector:
    """One of BUILT_IN with its own options, or a user's own: "package.module:function" or "path/to/file.py:function"."""
    if name not in BUILT_IN and ":" not in name:
        own = 'or your own as "package.module:function" or "file.py:function"'
        raise InputError(f'the detector "{name}" is unknown{hint(name, BUILT_IN)}; expected {", ".join(BUILT_IN)}, {own}')
    if name not in BUILT_IN:
        return _own(name, options)
    module, _, attribute = BUILT_IN[name].partition(":")
    kind = getattr(import_module(module), attribute)  # by name: a detector that is not requested need not be installed
    _check_options(name, kind, options)
    detector: Detector = kind(**options)
    return detector


def _check_options(name: str, kind: Any, options: Mapping[str, Any]) -> None:
    """InputError for an option that this detector does not have, or requires."""
    known = inspect.signature(kind).parameters
    has = f"its options are {', '.join(known)}" if known else "it takes none"
    for option in options:
        if option not in known:
            raise InputError(f'the detector "{name}" has no option "{option}"{hint(option, known)}; {has}')
    for option, rule in known.items():
        if rule.default is rule.empty and option not in options:
            raise InputError(f'the detector "{name}" needs the option "{option}"; {has}')


# --- a user's own ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Own:
    """A user's function: pictures -> a list a picture of (label, score) or Detection. What comes back is checked.

    The function may carry `labels` (domain -> labels; then no others may come back), `threshold` and `counted` as attributes.
    """

    name: str
    function: Callable[[Sequence[Image.Image]], Any]
    path: Path
    version: str | None = None

    def __call__(self, images: Sequence[Image.Image]) -> list[list[Detection]]:
        answer = self._asked(images)
        if not isinstance(answer, list | tuple) or len(answer) != len(images):
            self._fail(f"gave {_shown(answer)} for {len(images)} pictures", "a list with one list a picture")
        detections = [[self._detection(item) for item in self._listed(image)] for image in answer]
        if self._labels():
            check_labels(self, {detection.label for image in detections for detection in image})
        return detections

    def facts(self) -> dict[str, Any]:
        """The detector's part of a protocol; the hash is that of the file that the function was taken from."""
        return {
            "detector": {"name": self.name, "version": self.version, "sha256": sha256(self.path)},
            "threshold": getattr(self.function, "threshold", None),
            "labels": self._labels(),
            "counted": getattr(self.function, "counted", "pictures"),
        }

    def _labels(self) -> dict[str, list[str]]:
        return {domain: list(members) for domain, members in getattr(self.function, "labels", {}).items()}

    def _asked(self, images: Sequence[Image.Image]) -> Any:
        try:
            return self.function(images)
        except Exception as error:  # anything may go wrong in there, and where is what its author needs
            last = traceback.extract_tb(error.__traceback__)[-1]
            what = f"{type(error).__name__}: {error}".splitlines()[0]
            raise InputError(f'the detector "{self.name}" failed ({what}; {last.filename}, line {last.lineno}); mend it') from error

    def _listed(self, picture: Any) -> Sequence[Any]:
        if not isinstance(picture, list | tuple):
            self._fail(f"gave {_shown(picture)} for one picture", "a list of (label, score)")
        listed: Sequence[Any] = picture
        return listed

    def _detection(self, item: Any) -> Detection:
        if isinstance(item, Detection):
            return item
        try:
            label, score = item
            number = float(score)
        except (TypeError, ValueError):
            label, number = None, math.nan
        if not isinstance(label, str) or not math.isfinite(number):
            self._fail(f"found {_shown(item)}", "(label, score), a text and a finite number, or a Detection")
        return Detection(str(label), number)

    def _fail(self, what: str, expected: str) -> NoReturn:
        raise InputError(f'the detector "{self.name}" {what}; expected {expected}')


def _shown(value: Any) -> str:
    size = f" of {len(value)}" if isinstance(value, list | tuple) else ""
    return f"a {type(value).__name__}{size}: {reprlib.repr(value)}"


def _own(name: str, options: Mapping[str, Any]) -> Own:
    """From "package.module:function" or "path/to/file.py:function"."""
    where, _, attribute = name.rpartition(":")
    module = _module(name, where)
    function = getattr(module, attribute, None)
    if not callable(function):
        ours = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise InputError(f'the detector "{name}": {where} has no function "{attribute}"{hint(attribute, ours)}; write FILE.py:FUNCTION')
    if options:
        raise InputError(f'the detector "{name}" is your own and takes no options; {", ".join(options)} was given: set it in its file')
    if not (file := getattr(module, "__file__", None)):
        raise InputError(f'the detector "{name}": {where} has no file, so it cannot be named in a report; give path/to/file.py:function')
    path = Path(file)
    if where.endswith(".py"):
        return Own(f"{path.name}:{attribute}", function, path)  # without its folder: that is no part of a protocol
    version = package_version(where.split(".")[0])
    return Own(name, function, path, None if version == "not installed" else version)


def _module(name: str, where: str) -> ModuleType:
    if where.endswith(".py") and not Path(where).is_file():
        raise InputError(f'the detector "{name}": there is no file {where}; expected path/to/file.py:function')
    try:
        return _load(Path(where)) if where.endswith(".py") else import_module(where)
    except Exception as error:  # a user's file may fail in any way while it is loaded
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        remedy = "mend it, or give its file: path/to/file.py:function"
        raise InputError(f'the detector "{name}": {where} cannot be imported ({what}); {remedy}') from error


def _load(path: Path) -> ModuleType:
    spec = spec_from_file_location(f"detector_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None  # there is one for every name that ends in .py
    module = module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


# --- what a concept asks for ----------------------------------------------------------------------------------------


def detector_for(concept: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name and options, for make_detector, of what a concept file (as options.json holds it) asks for."""
    name = concept["detector"]
    return name, {"labels": labels_of(concept)} if name == "clip" else {}


def labels_of(concept: Mapping[str, Any]) -> dict[str, list[str]]:
    """What a zero-shot classifier is to tell apart, by domain: the concept from the rest of its domain, and what else the prompts vary.

    The rest of the domain is its vocabulary, so that it does not depend on the anchors that a run has chosen; those stand in
    only where there is no vocabulary. A slot that shares a word with one before is left out: a label belongs to one domain.
    """
    domain, word, vocabulary = concept["domain"], concept["words"][0], concept["vocabulary"]
    others = [other for other in vocabulary.get(domain) or concept["anchors"] if other not in concept["words"]]
    if not others:
        remedy = f"add the vocabulary {domain} = [...] to the concept file, words for what else there is of its kind"
        raise InputError(f'{concept["name"]}: the detector "clip" has nothing to tell "{word}" from; {remedy}')
    labels = {domain: [word, *others]}
    for slot in _slots([*concept["evaluate"], *concept["implicit"], *concept["evaluate_retain"]]):
        words = list(vocabulary.get(slot, ()))
        if len(words) > 1 and not any(set(words) & set(members) for members in labels.values()):
            labels[slot] = words
    return labels


def _slots(templates: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(slot for template in templates for slot in re.findall(r"\{([a-z_]+)\}", template) if slot != "concept"))


# --- labels ---------------------------------------------------------------------------------------------------------


def most_likely(detections: Sequence[Sequence[Detection]], labels: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Domain -> for each picture the label of that domain with the highest score, "" where there is none: what `judged` takes.

    ValueError if two domains share a label: a detection names only its label.
    """
    everything = [label for members in labels.values() for label in set(members)]
    if len(everything) != len(set(everything)):
        raise ValueError("two domains share a label; a detection could be of either")
    return {domain: [_best(image, set(members)) for image in detections] for domain, members in labels.items()}


def _best(picture: Sequence[Detection], members: set[str]) -> str:
    return max((d for d in picture if d.label in members), key=lambda d: d.score, default=Detection("", 0)).label


def check_labels(detector: Detector, labels: Iterable[str]) -> None:
    """InputError for a label that this detector cannot give: it would never be found, which would pass for a perfect erasure."""
    facts = detector.facts()
    check_known(facts["detector"]["name"], labels, [label for members in facts["labels"].values() for label in members])


def check_known(detector: str, labels: Iterable[str], known: Sequence[str]) -> None:
    """InputError, with the nearest names, for the first of `labels` that is not among `known`."""
    for label in labels:
        if not known:
            remedy = 'give the function an attribute, labels = {"domain": ["label", ...]}'
            raise InputError(f'the detector "{detector}" does not say which labels it has, so "{label}" might never be found; {remedy}')
        if label not in known:
            rest = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
            has = f"it has {', '.join(known[:SHOWN])}{rest}"
            raise InputError(f'the detector "{detector}" has no label "{label}"{hint(label, known, 3)}; {has}')


def hint(word: str, known: Iterable[str], n: int = 1) -> str:
    """ ", did you mean ...?" with the nearest known names, whatever their case and the order of their words; empty if none is near."""

    def plain(name: str) -> str:
        return " ".join(sorted(re.split(r"[\W_]+", name.casefold())))

    names = {plain(name): name for name in known}
    near = [f'"{names[name]}"' for name in get_close_matches(plain(word), names, n)]
    return f", did you mean {' or '.join(near)}?" if near else ""
