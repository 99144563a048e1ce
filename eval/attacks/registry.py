"""Every attack by its name, the quick round, and the reason why an attack cannot run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from erase.errors import InputError
from eval.attacks.attack import NEEDS
from eval.attacks.latents.completion import Completion
from eval.attacks.latents.likelihood import Likelihood
from eval.attacks.latents.null_text import NullText
from eval.attacks.latents.partial import Partial
from eval.attacks.latents.regenerate import Regenerate
from eval.attacks.latents.seeds import Seeds
from eval.attacks.papers import PAPER
from eval.attacks.text.coordinate_descent import CoordinateDescent
from eval.attacks.text.direction import Direction
from eval.attacks.text.hard_prompt import HardPrompt
from eval.attacks.text.inversion import Inversion
from eval.attacks.text.listed import listed
from eval.attacks.text.named import Named
from eval.attacks.text.paraphrase import Paraphrase
from eval.attacks.text.prefix import Prefix
from eval.attacks.text.random_tokens import RandomTokens
from eval.attacks.weights.benign import Benign
from eval.attacks.weights.interpolate import Interpolate
from eval.attacks.weights.quantise import Quantise
from eval.attacks.weights.relearn import Relearn
from eval.attacks.weights.restore import Restore
from eval.attacks.weights.revive import Revive
from eval.attacks.weights.transfer import Transfer
from eval.vision.detector import hint

ATTACKS: dict[str, Any] = {
    "named": Named(),
    "paraphrase": Paraphrase(),
    "random-tokens": RandomTokens(),
    "prefix": Prefix(),
    "hard-prompt": HardPrompt(),
    "coordinate-descent": CoordinateDescent(),
    "direction": Direction(),
    "inversion-1": Inversion(vectors=1),
    "inversion": Inversion(),
    "inversion-8": Inversion(vectors=8),
    "regenerate": Regenerate(),
    "likelihood": Likelihood(),
    "null-text": NullText(),
    "seeds": Seeds(),
    "partial": Partial(),
    "completion": Completion(),
    "relearn": Relearn(),
    "relearn-fast": Relearn(steps=40, times=5.0),
    "benign": Benign(),
    "transfer": Transfer(),
    "quantise": Quantise(),
    "interpolate": Interpolate(),
    "restore": Restore(),
    "revive": Revive(),
}

QUICK: dict[str, Any] = {
    "named": Named(),
    "paraphrase": Paraphrase(wordings=2),
    "prefix": Prefix(steps=8, levels=2),
    "inversion": Inversion(vectors=8, steps=(50, 150)),
    "partial": Partial(shares=(0.6, 0.3)),
    "relearn": Relearn(steps=10),
    "quantise": Quantise(),
}


def chosen(names: Sequence[str], lists: Sequence[Path] = ()) -> dict[str, Any]:
    """The attacks of `quick`, `all`, `paper`, or of these names, and one for each list of prompts. InputError for an unknown name."""
    groups, known, results = {"quick": QUICK, "all": ATTACKS, "paper": PAPER}, {**ATTACKS, **PAPER}, dict[str, Any]()
    for name in names:
        if name not in (*known, *groups):
            expected = f"quick, all, paper, or some of {', '.join(known)}"
            raise InputError(f'the attack "{name}" is unknown{hint(name, known)}; expected {expected}')
        results |= groups.get(name) or {name: known[name]}
    for path in lists:
        results[f"list-{path.stem}"] = listed(path)
    return results


def lacking(attack: Any, at_hand: Mapping[str, str | None]) -> str | None:
    """The reason why an attack cannot run, None where it can; `at_hand`: for each of NEEDS why it is missing, or None."""
    missing = [(need, why) for need in attack.needs if (why := at_hand.get(need))]
    return f"needs {NEEDS[missing[0][0]]}: {missing[0][1]}" if missing else None


def possible(attacks: Mapping[str, Any], at_hand: Mapping[str, str | None]) -> tuple[dict[str, Any], dict[str, str]]:
    """The attacks that can run, and why the others cannot; InputError where none can."""
    reasons = {name: why for name, attack in attacks.items() if (why := lacking(attack, at_hand))}
    if len(reasons) == len(attacks):
        raise InputError(f"no attack can be made: {'; '.join(f'{name} {why}' for name, why in reasons.items())}"[:600])
    return {name: attack for name, attack in attacks.items() if name not in reasons}, reasons
