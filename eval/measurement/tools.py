"""Choose the detector and the extractors of a measurement: what is requested, else what comes with the model.

What an option or a protocol requires and is not available is an InputError. A default that is not available is left out, and the
report has the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from erase.concepts import JUDGES
from erase.demo import DEMO, EMOJI, FLOW, SCENES, clip_path
from erase.errors import InputError
from eval.measurement.measure import Clip, Extractor, Tools
from eval.options import ToolOptions
from eval.protocols import COMPARED, DETECTED, OWN, Protocol, load_protocol
from eval.vision.detector import Detector, check_labels, detector_for, labels_of, make_detector
from eval.vision.relabelled import in_words_of

if TYPE_CHECKING:
    from eval.metrics.similarity import Lpips

USERS_IMAGES = "pictures"  # recorded as the model of the user's own images where --original is not given
NOT_REQUESTED = "not requested, since its weights may have to be downloaded: `erase-concept evaluate FOLDER {}` measures it"
Tool = TypeVar("Tool")


@dataclass(frozen=True)
class ModelDefaults:
    """The extractors that come with a model, which need no option and no download.

    `clip` and `features` are folders of a network in open_clip's format: for CLIP scores, and for distances of distributions. With
    `features_from_clip` distances use the same network as the CLIP score, whichever that is. `no_clip`: why no CLIP score makes sense.
    """

    clip: Callable[[], Path] | None = None
    features: Callable[[], Path] | None = None
    features_from_clip: bool = False
    no_clip: str = ""


MODEL_DEFAULTS = {
    DEMO: ModelDefaults(clip=lambda: clip_path(), features_from_clip=True),
    FLOW: ModelDefaults(clip=lambda: clip_path(FLOW), features_from_clip=True),
    EMOJI: ModelDefaults(clip=lambda: clip_path(EMOJI), features_from_clip=True),
    SCENES: ModelDefaults(features=lambda: clip_path(), no_clip="the embedded CLIP was trained on captions of single things only"),
}


@dataclass(frozen=True)
class Choice(Generic[Tool]):
    """How one tool is chosen: `required` by an option or a protocol, else the `default`, else none for this `reason`."""

    required: Callable[[], Tool] | None = None
    default: Callable[[], Tool | None] | None = None
    reason: str = ""

    def load(self) -> tuple[Tool | None, str]:
        """The tool, or None and the reason; an InputError only of what is required."""
        if self.required is not None:
            return self.required(), ""
        if self.default is None:
            return None, self.reason
        try:
            return self.default(), ""
        except InputError as error:
            return None, str(error)


def tools_for(
    concept: Mapping[str, Any],
    model: str,
    protocol: Protocol | None = None,
    requested: ToolOptions = ToolOptions(),  # noqa: B008 (frozen)
    weights: Path | None = None,
) -> Tools:
    """The tools for a concept (as options.json holds it), an original model, a protocol and the options of the command line.

    `weights` replaces those of the shipped judge.
    """
    known = MODEL_DEFAULTS.get(model, ModelDefaults())
    metrics = set(protocol.metrics) if protocol else {"ua", "clip_score", "fid", "drift"}
    detector, no_detector = _detector_choice(concept, protocol, requested, weights, metrics).load()
    clip, no_clip = _clip_choice(known, protocol is not None, requested, metrics).load()
    features, no_features = _features_choice(known, protocol is not None, requested, metrics, clip).load()
    ssim, no_ssim = Choice(default=_ssim).load()
    lpips = _lpips(requested.lpips) if requested.lpips else None
    reasons = {"ua, ira, cra": no_detector, "clip_score": no_clip, "fid": no_features, "ssim": no_ssim}
    missing = {metric: reason for metric, reason in reasons.items() if reason}
    return Tools(detector, clip, features, bool(ssim) and "drift" in metrics, lpips, missing)


def tools_of(options: Mapping[str, Any], weights: Path | None = None, device: str = "cpu") -> Tools:
    """The tools of a run or an evaluation, from its options.json: measuring again uses the same ones."""
    named, model = options.get("protocol"), options["model"]
    protocol = load_protocol(options.get("protocol_file") or named["name"]) if named else None
    if "folders" in options and model == USERS_IMAGES:
        model = options["concept_file"]["model"]
    return tools_for(options["concept_file"], model, protocol, ToolOptions.from_record(options.get("asked"), device), weights)


# --- choices --------------------------------------------------------------------------------------------------------


def _detector_choice(
    concept: Mapping[str, Any], protocol: Protocol | None, requested: ToolOptions, weights: Path | None, metrics: set[str]
) -> Choice[Detector]:
    if not metrics & DETECTED:
        return Choice()

    def load() -> Detector:
        return _detector(concept, protocol, requested, weights)

    return Choice(required=load) if protocol or requested.detector else Choice(default=load)


def _clip_choice(known: ModelDefaults, by_protocol: bool, requested: ToolOptions, metrics: set[str]) -> Choice[Clip]:
    if requested.clip:
        return Choice(required=lambda: _clip(requested.clip, requested.device))
    if known.clip is not None:
        return Choice(default=_embedded(known.clip))
    if known.no_clip or "clip_score" not in metrics:
        return Choice(reason=known.no_clip)
    if by_protocol:
        return Choice(required=lambda: _clip(None, requested.device))
    return Choice(reason=NOT_REQUESTED.format("--clip ViT-B-32:openai"))


def _features_choice(
    known: ModelDefaults, by_protocol: bool, requested: ToolOptions, metrics: set[str], clip: Clip | None
) -> Choice[Extractor]:
    if requested.inception:
        return Choice(required=lambda: _inception(requested.inception, requested.device))
    if known.features_from_clip:
        return Choice(default=lambda: clip)
    if known.features is not None:
        return Choice(default=_embedded(known.features))
    if not metrics & COMPARED:
        return Choice()
    if by_protocol:
        return Choice(required=lambda: _inception(None, requested.device))
    return Choice(reason=NOT_REQUESTED.format("--inception auto"))


# --- loading --------------------------------------------------------------------------------------------------------


def _detector(concept: Mapping[str, Any], protocol: Protocol | None, requested: ToolOptions, weights: Path | None) -> Detector:
    name, options = detector_for(concept)
    chosen = requested.detector
    if protocol is not None and protocol.detector and chosen in (None, protocol.detector):
        if protocol.detector == OWN:
            own = f"the protocol {protocol.name} needs a detector of your own ({protocol.detector_about})"
            raise InputError(f"{own}; give --detector FILE.py:FUNCTION", option="detector")
        if protocol.detector != name:
            name, options = protocol.detector, _options(protocol.detector, concept)
        if name == "nudenet":
            options = {"threshold": protocol.threshold} | ({"labels": list(protocol.labels)} if protocol.labels else {})
    elif chosen is not None and chosen != name:
        name, options = chosen, _options(chosen, concept)
    if name in JUDGES and weights is not None:
        options = {"weights": weights}
    if name == "imagenet" and requested.imagenet:
        options = {**options, "weights": Path(requested.imagenet)}
    if name == "clip":
        options = {**options, **clip_source(requested.clip)}
    if name == "q16":
        options = {"prompts": _soft_prompts(requested.q16), **clip_source(requested.clip)}
    if name in ("imagenet", "clip", "q16"):
        options = {**options, "device": requested.device}
    detector = make_detector(name, **options)
    if protocol is not None and protocol.labels and protocol.detector == name:
        check_labels(detector, protocol.labels)
    labels = detector.facts()["labels"]
    if name in JUDGES and concept["domain"] not in labels:
        message = f'{concept["name"]}: the judge has no labels for the domain "{concept["domain"]}", only for {", ".join(labels)}'
        raise InputError(f"{message}; give another detector with --detector", option="detector")
    return in_words_of(concept, detector)


def _options(name: str, concept: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a detector that the concept file does not name."""
    return {"labels": labels_of(concept)} if name == "clip" else {}


def _soft_prompts(file: str | None) -> Path:
    if not file:
        needs = "the detector q16 needs its soft prompts, which are published as a pickle"
        raise InputError(f"{needs}; convert them as docs/evaluation.md says, and give --q16 FILE.safetensors", option="q16")
    return Path(file)


def _embedded(folder: Callable[[], Path]) -> Callable[[], Clip]:
    """A loader of a CLIP that comes with the package."""

    def load() -> Clip:
        from eval.vision.clip import Clip as OpenClip

        if not folder().is_dir():
            raise InputError(f"the embedded CLIP {folder().name} is missing; install the package again")
        return OpenClip(pretrained=folder())

    return load


def _clip(source: str | None, device: str) -> Clip:
    """A folder, MODEL:PRETRAINED of open_clip, or by default the one that most published tables use."""
    from eval.vision.clip import Clip as OpenClip

    return OpenClip(**clip_source(source), device=device)


def clip_source(source: str | None) -> dict[str, str]:
    """--clip as open_clip's options; none is open_clip's default here, ViT-B-32 of OpenAI."""
    if not source:
        return {}
    model, _, tag = source.partition(":")
    return {"model": model, "pretrained": tag} if tag and not Path(source).exists() else {"pretrained": source}


def _inception(source: str | None, device: str) -> Extractor:
    from eval.vision.inception import Inception

    return Inception(Path(source) if source and source != "auto" else None, device)


def _lpips(source: str) -> Lpips:
    from eval.metrics.similarity import Lpips

    return Lpips(Path(source))


def _ssim() -> bool:
    """True where torchmetrics is installed; InputError otherwise."""
    from eval.metrics.similarity import library

    library()
    return True
