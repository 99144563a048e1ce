"""How a model reads a prompt: how many tokens of how many, where it is cut, and which words an embedded model has never met."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any

from erase.demo.worlds import KNOWN_MODELS, KnownModel
from erase.errors import InputError
from erase.files import read_object

CLIP = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"  # what CLIP's tokenizer takes for one word
MOST = 10_000_000  # bytes of a vocabulary
NAMED = 6  # unknown words that are named
SPOKEN = 10  # members of a domain that are named; of more, a few are
FEW = 4
SHOWN = 24  # letters of a prompt that a message repeats


@dataclass(frozen=True)
class Reading:
    """A prompt as a model reads it: its tokens, how many it can read, and the words after which it is cut ("" where it is not)."""

    tokens: int
    limit: int
    cut: str = ""


def reading(text: str, source: str) -> Reading | None:
    """How the model of a folder reads a prompt; None where no tokenizer of CLIP's kind is there."""
    found = _tokenizer(*_files(KNOWN_MODELS[source].pipeline if source in KNOWN_MODELS else Path(source)))
    if found is None:
        return None
    tokenizer, limit = found
    offsets = [span for span in tokenizer.encode(text, add_special_tokens=False).offsets if span != (0, 0) or text]
    room = limit - 2  # it begins with one token and ends with another
    cut = text[: offsets[room - 1][1]] if len(offsets) > room else ""
    return Reading(len(offsets), room, cut)


def unknown_words(text: str, world: KnownModel) -> list[str]:
    """The words of a prompt that no caption of an embedded model had, each once."""
    known = _known(world.name)
    return list(dict.fromkeys(word for word in re.findall(r"\w+", text.lower()) if word not in known))


def note(prompts: Sequence[str], source: str, world: KnownModel | None) -> str:
    """What to know of the prompts before they are drawn, as HTML: tokens, what is cut, words that the model does not know."""
    read = [(text, one) for text in prompts if (one := reading(text, source)) is not None]
    lines = []
    if read:
        longest = max((one for _, one in read), key=lambda one: one.tokens)
        which = " in the longest prompt" if len(read) > 1 else ""
        lines.append(f'<span class="tokens">{longest.tokens} of {longest.limit} tokens{which}</span>')
    for text, one in read:
        if one.cut:
            where = f"“{_short(text)}” is cut" if len(read) > 1 else "The prompt is cut"
            end = one.cut if len(one.cut) <= SHOWN else f"… {one.cut[-SHOWN:]}"
            lines.append(f'<span class="warned">{escape(where)} after “{escape(end)}”: the model reads no more.</span>')
    if world and (strange := list(dict.fromkeys(word for text in prompts for word in unknown_words(text, world)))):
        more = f" and {len(strange) - NAMED} more" if len(strange) > NAMED else ""
        listed = ", ".join(word[:SHOWN] for word in strange[:NAMED]) + more
        lines.append(f'<span class="warned">{escape(world.name)} does not know: {escape(listed)}. {escape(draws(world))}.</span>')
    return f'<p class="reading" role="status">{" ".join(lines)}</p>' if lines else ""


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN].rstrip()} …"


@lru_cache(8)
def _known(name: str) -> frozenset[str]:
    world = KNOWN_MODELS[name]
    names = (word for concept in world.concepts for word in re.findall(r"\w+", concept.lower()))
    return frozenset([*(part for word in world.words() for part in re.findall(r"\w+", word.lower())), *names])


def draws(world: KnownModel) -> str:
    """What an embedded model can draw, in a sentence."""
    parts = []
    for domain, members in world.domains.items():
        if len(members) > SPOKEN:
            step = len(members) // FEW
            parts.append(f"{len(members)} {domain}s such as {', '.join(members[: FEW * step : step])}")
        else:
            parts.append(f"{domain}s {', '.join(members)}")
    backgrounds = getattr(world.world, "BACKGROUNDS", ())
    return f"{world.name} draws {'; '.join(parts)}{'; backgrounds ' + ', '.join(backgrounds) if backgrounds else ''}"


# --- tokenizers ---------------------------------------------------------------------------------------------------------


def _files(folder: Path) -> tuple[Path, int]:
    """The tokenizer's folder, and when its vocabulary was last written."""
    home = folder / "tokenizer"
    try:
        return home, max(path.stat().st_mtime_ns for path in home.iterdir())
    except (OSError, ValueError):
        return home, 0


@lru_cache(8)
def _tokenizer(home: Path, stamp: int) -> tuple[Any, int] | None:
    """CLIP's tokenizer from its two files, and how many tokens it reads; None where they are not there or not of this kind."""
    vocabulary, merges = home / "vocab.json", home / "merges.txt"
    try:
        if not stamp or max(vocabulary.stat().st_size, merges.stat().st_size) > MOST:
            return None
        words = read_object(vocabulary)
        lines = merges.read_text(encoding="utf-8").splitlines()
        pairs = [tuple(line.split()) for line in lines if line and not line.startswith("#version")]
        limit = read_object(home / "tokenizer_config.json").get("model_max_length")
        if not isinstance(limit, int) or not 2 < limit < 10_000 or any(len(pair) != 2 for pair in pairs):
            return None
        return _clip(words, pairs), limit
    except (OSError, ValueError, InputError, ImportError):
        return None
    except Exception:  # the library's own, for vocabularies that do not fit their merges
        return None


def _clip(words: dict[str, Any], pairs: list[Any]) -> Any:
    """The tokenizer as transformers builds it for CLIP, without transformers, which takes seconds to import."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    model = models.BPE(vocab=words, merges=pairs, continuing_subword_prefix="", end_of_word_suffix="</w>", unk_token="<|endoftext|>")
    tokenizer = Tokenizer(model)
    spaces = normalizers.Replace(Regex(r"\s+"), " ")
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), spaces, normalizers.Lowercase()])
    split = pre_tokenizers.Split(Regex(CLIP), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return tokenizer
