"""Which detector and which extractors a measurement uses: what was asked for, else what the concept file names and what is at hand.

What was asked for by name and cannot be had is an InputError; what would only have been welcome is left out, and the report
says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from erase.concepts import JUDGES
from erase.demo import DEMO, SCENES, clip_path
from erase.errors import InputError
from eval.measurement.measure import Clip, Extractor, Tools
from eval.protocols import COMPARED, DETECTED, OWN, Protocol, load_protocol
from eval.vision.detector import Detector, check_labels, detector_for, make_detector, told_apart

PICTURES = "pictures"  # the model of an evaluation that was given pictures and not told whose
UNASKED = "not asked for, since its weights may have to be fetched: erase-concept evaluate FOLDER {} measures it"
Made = TypeVar("Made")


def tools_for(
    concept: Mapping[str, Any],
    model: str,
    protocol: Protocol | None = None,
    asked: Mapping[str, Any] | None = None,
    weights: Path | None = None,
) -> Tools:
    """For a concept file (as options.json holds it), the original model, a protocol and what was `asked` for on the command line.

    `weights` replaces those of the shipped judge.
    """
    asked, missing = {name: value for name, value in (asked or {}).items() if value}, dict[str, str]()
    device = str(asked.get("device", "cpu"))
    wanted = set(protocol.metrics) if protocol else {"ua", "clip_score", "fid", "drift"}
    detector = None
    if wanted & DETECTED:
        certain = bool(protocol or asked.get("detector"))
        detector = _had(lambda: _detector(concept, protocol, asked, weights), "ua, ira, cra", certain, missing)
    clip: Clip | None = None
    features: Extractor | None = None
    if model == DEMO and "clip" not in asked:
        clip = _had(_demo_clip, "clip_score", False, missing)
    elif model == SCENES and "clip" not in asked:
        missing["clip_score"] = "the embedded CLIP has read captions of single things only"
    elif "clip" in asked or (protocol and "clip_score" in wanted):
        clip = _clip(asked.get("clip"), device)
    elif "clip_score" in wanted:
        missing["clip_score"] = UNASKED.format("--clip ViT-B-32:openai")
    if model == DEMO and "inception" not in asked:
        features = clip
    elif model == SCENES and "inception" not in asked:
        features = _had(_demo_clip, "fid", False, missing)
    elif "inception" in asked or (protocol and wanted & COMPARED):
        features = _inception(asked.get("inception"), device)
    elif wanted & COMPARED:
        missing["fid"] = UNASKED.format("--inception auto")
    drift = _had(_ssim, "ssim", False, missing) is not None and "drift" in wanted
    lpips = _lpips(asked["lpips"]) if "lpips" in asked else None
    return Tools(detector, clip, features, drift, lpips, missing)


def tools_of(options: Mapping[str, Any], weights: Path | None = None, device: str = "cpu") -> Tools:
    """The same from the options.json of a run or an evaluation: to measure again is to measure with the same."""
    named, model = options.get("protocol"), options["model"]
    protocol = load_protocol(options.get("protocol_file") or named["name"]) if named else None
    if "folders" in options and model == PICTURES:
        model = options["concept_file"]["model"]
    return tools_for(options["concept_file"], model, protocol, {**(options.get("asked") or {}), "device": device}, weights)


def _had(make: Callable[[], Made], what: str, certain: bool, missing: dict[str, str]) -> Made | None:
    """What `make` gives, or None with the reason noted; an InputError goes on if the user counts on it."""
    try:
        return make()
    except InputError as error:
        if certain:
            raise
        missing[what] = str(error)
        return None


def _detector(concept: Mapping[str, Any], protocol: Protocol | None, asked: Mapping[str, Any], weights: Path | None) -> Detector:
    name, options = detector_for(concept)
    chosen = asked.get("detector")
    if protocol is not None and protocol.detector and chosen in (None, protocol.detector):
        if protocol.detector == OWN:
            own = f"the protocol {protocol.name} needs a detector of your own ({protocol.detector_about})"
            raise InputError(f"{own}; give --detector FILE.py:FUNCTION")
        if protocol.detector != name:
            name, options = protocol.detector, _options(protocol.detector, concept)
        if name == "nudenet":
            options = {"threshold": protocol.threshold} | ({"labels": list(protocol.labels)} if protocol.labels else {})
    elif chosen is not None and chosen != name:
        name, options = chosen, _options(chosen, concept)
    if name in JUDGES and weights is not None:
        options = {"weights": weights}
    if name == "imagenet" and "imagenet" in asked:
        options = {**options, "weights": Path(asked["imagenet"])}
    if name == "clip":
        options = {**options, **_clip_source(asked.get("clip"))}
    if name in ("imagenet", "clip"):
        options = {**options, "device": asked.get("device", "cpu")}
    detector = make_detector(name, **options)
    if protocol is not None and protocol.labels and protocol.detector == name:
        check_labels(detector, protocol.labels)
    labels = detector.facts()["labels"]
    if name in JUDGES and concept["domain"] not in labels:
        what = f'{concept["name"]}: the judge cannot see the domain "{concept["domain"]}"'
        raise InputError(f"{what}; it sees {', '.join(labels)}: name one, or another detector")
    return detector


def _options(name: str, concept: Mapping[str, Any]) -> dict[str, Any]:
    """Of a detector that the concept file does not name."""
    return {"labels": told_apart(concept)} if name == "clip" else {}


def _demo_clip() -> Clip:
    from eval.vision.clip import Clip as OpenClip

    if not clip_path().is_dir():
        raise InputError(f"the embedded CLIP {clip_path().name} is not there; install the package again")
    return OpenClip(pretrained=clip_path())


def _clip(asked: str | None, device: str) -> Clip:
    """A folder, MODEL:PRETRAINED of open_clip, or what most tables use."""
    from eval.vision.clip import Clip as OpenClip

    return OpenClip(**_clip_source(asked), device=device)


def _clip_source(asked: str | None) -> dict[str, str]:
    """As open_clip's options: nothing said is what most tables use."""
    if asked is None:
        return {}
    model, _, tag = asked.partition(":")
    return {"model": model, "pretrained": tag} if tag and not Path(asked).exists() else {"pretrained": asked}


def _inception(asked: str | None, device: str) -> Extractor:
    from eval.vision.inception import Inception

    return Inception(Path(asked) if asked and asked != "auto" else None, device)


def _lpips(asked: str) -> Any:
    from eval.metrics.similarity import Lpips

    return Lpips(Path(asked))


def _ssim() -> bool:
    """True where torchmetrics is installed; InputError otherwise."""
    from eval.metrics.similarity import library

    library()
    return True
