"""Whether a tokenizer has the files of its class, and numbers that its text encoder knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from erase.checkpoints.check.classes import CLIP_TEXT, CLIP_TOKENIZERS
from erase.checkpoints.check.networks import part_class, part_config
from erase.checkpoints.folder import config_of
from erase.errors import InputError

VOCABULARY, MERGES, WHOLE, SETTINGS = "vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json"


def check_tokenizer(folder: Path, part: str) -> None:
    """InputError for a tokenizer of CLIP that lacks its files, is of another type, or does not fit its text encoder."""
    if part_class(folder, part) not in CLIP_TOKENIZERS:
        return
    home = folder / part
    plain, whole = (home / VOCABULARY).is_file() and (home / MERGES).is_file(), (home / WHOLE).is_file()
    if not plain and not whole:
        raise InputError(f"{folder}: its {part} has no {VOCABULARY} with {MERGES}, and no {WHOLE}; give the tokenizer of CLIP")
    vocabularies = [_vocabulary(home / VOCABULARY, config_of(folder, part, VOCABULARY))] if plain else []
    vocabularies += [_of_whole(home / WHOLE, config_of(folder, part, WHOLE))] if whole else []
    encoder = part.replace("tokenizer", "text_encoder")
    if part_class(folder, encoder) not in CLIP_TEXT:
        return
    config = part_config(folder, encoder)
    largest = max((number for words in vocabularies for number in words.values()), default=0)
    if largest >= config["vocab_size"]:
        problem = f"has the number {largest}, and {encoder} knows {config['vocab_size']} words"
        raise InputError(f"{folder}: its {part} {problem}; give the tokenizer that belongs to it")
    length = config_of(folder, part, SETTINGS).get("model_max_length") if (home / SETTINGS).is_file() else None
    if isinstance(length, int | float) and length > config["max_position_embeddings"]:
        problem = f"has model_max_length {length:g}, and {encoder} reads {config['max_position_embeddings']} tokens"
        raise InputError(f"{folder}: its {part} {problem}; write {config['max_position_embeddings']} into {part}/{SETTINGS}")


def _of_whole(path: Path, content: dict[str, Any]) -> dict[str, int]:
    model = content.get("model")
    kind = model.get("type", "BPE") if isinstance(model, dict) else None
    if not isinstance(model, dict) or kind != "BPE":
        raise InputError(f"{path} is a tokenizer of another type ({kind}) than CLIP's, which is BPE; give the tokenizer of CLIP")
    return _vocabulary(path, model.get("vocab"))


def _vocabulary(path: Path, words: Any) -> dict[str, int]:
    if not isinstance(words, dict) or not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in words.values()):
        raise InputError(f"{path} is not a vocabulary of CLIP, words with their numbers; give the tokenizer of CLIP")
    return words
