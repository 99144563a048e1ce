"""How a measurement deviates from a protocol, from the protocol part of its report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from erase.concepts import DETECTORS
from eval.protocols import COMPARED, DETECTED, OWN, Protocol


class Compared(NamedTuple):
    """One condition of a measurement: its name, its value in the protocol and in the measurement, and whether they agree."""

    name: str
    protocol: Any
    measurement: Any
    equal: bool


def deviations(protocol: Protocol, actual: Mapping[str, Any]) -> list[str]:
    """One sentence per deviation of a measurement; empty if there is none. `actual` is the protocol part of its report.

    Compared are model, sampler, steps, guidance, size, noise, metrics, prompts (roles, from, seed_column) and seeds; and, where a
    metric of the protocol needs them, detector, threshold, labels, counted, reference, extractor and clip. A condition that `actual`
    does not record deviates too, since such a number cannot be shown to be of this protocol.
    """
    compared = [*_sampling(protocol, actual), *_measuring(protocol, actual)]
    return [f"{c.name}: {_text(c.protocol)} in the protocol, {_text(c.measurement)} here" for c in compared if not c.equal]


def _same(name: str, protocol: Any, measurement: Any) -> Compared:
    return Compared(name, protocol, measurement, protocol == measurement)


def _sampling(protocol: Protocol, actual: Mapping[str, Any]) -> Iterator[Compared]:
    """Model, prompts, seeds and sampler."""
    prompts = actual.get("prompts") or {}
    yield _same("model", protocol.model, actual.get("model"))
    yield _same("prompts from", protocol.prompts_from, prompts.get("from"))
    yield _same("images", protocol.pictures, sum(prompts.get("roles", {}).values()) or None)
    for name in ("sampler", "steps", "guidance", "size", "noise"):
        yield _same(name, getattr(protocol, name), actual.get(name))
    if protocol.prompts_from == "file":
        yield from _column("guidance", protocol.guidance_columns, prompts.get("guidance_column"))
    if protocol.prompts_from == "file" and protocol.seed_columns:
        yield from _column("seed", protocol.seed_columns, prompts.get("seed_column"))
    elif protocol.prompts_from == "file" or not prompts.get("seed_column"):
        seeds = protocol.prompt_seeds or protocol.seeds
        yield Compared("seeds", seeds, actual.get("seeds"), set(seeds) == set(actual.get("seeds") or ()))
    if empty := prompts.get("empty_prompts"):
        yield Compared("empty prompts", "not defined", f'{empty["rows"]}, drawn as "{empty["drawn_as"]}"', False)


def _column(name: str, expected: Sequence[str], actual: str | None) -> Iterator[Compared]:
    """The column of a file that a value of each prompt is from."""
    if expected:
        yield Compared(f"column of the {name}", expected[0], actual or "none", actual in expected)


def _measuring(protocol: Protocol, actual: Mapping[str, Any]) -> Iterator[Compared]:
    """Metrics, detector, reference set and extractors."""
    required, metrics = set(protocol.metrics), actual.get("metrics")
    yield Compared("metrics", required, metrics, required <= set(metrics or ()))
    if required & DETECTED:
        yield from _detecting(protocol, actual)
    if required & COMPARED:
        yield _same("reference", protocol.reference, _name(actual.get("reference")))
        yield _same("extractor", protocol.extractor, _name(actual.get("extractor")))
        yield _same("dimension of the features", protocol.dimension, (actual.get("extractor") or {}).get("dimension"))
    if "clip_score" in required:
        yield _same("clip", protocol.clip, _name(actual.get("clip")))


def _detecting(protocol: Protocol, actual: Mapping[str, Any]) -> Iterator[Compared]:
    detector, counted, by_domain = _name(actual.get("detector")), actual.get("counted"), actual.get("labels") or ()
    if protocol.detector == OWN:
        yield Compared("detector", protocol.detector_about, detector, bool(detector) and detector not in DETECTORS)
    else:
        yield _same("detector", protocol.detector, detector)
    if protocol.threshold is not None:
        yield _same("threshold", protocol.threshold, actual.get("threshold"))
    if protocol.labels:
        labels = [label for part in by_domain.values() for label in part] if isinstance(by_domain, Mapping) else list(by_domain)
        yield Compared("labels", protocol.labels, labels or None, set(protocol.labels) == set(labels))
    yield Compared("counted", protocol.counted, counted, protocol.counted in (counted, *str(counted).split(" and ")))


def _name(facts: Any) -> Any:
    """The name in {"name": ...}, or the name itself."""
    return facts.get("name") if isinstance(facts, Mapping) else facts


def _text(value: Any) -> str:
    if isinstance(value, list | tuple | set):
        return ", ".join(map(str, sorted(value))) or "none"
    return "not recorded" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
