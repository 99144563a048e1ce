"""Tokenizers: complete, of CLIP's type where they say so, and no larger than their text encoder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from wild_folders import Change, copied, file, settings

from erase.checkpoints.folder import check_model_folder
from erase.errors import InputError


def removed(*names: str) -> Change:
    def change(folder: Path) -> None:
        for name in names:
            (folder / name).unlink(missing_ok=True)

    return change


VOCABULARY, MERGES, WHOLE = (f"tokenizer/{name}" for name in ("vocab.json", "merges.txt", "tokenizer.json"))
PLAIN = [removed(WHOLE), file(VOCABULARY, b'{"a": 0, "b": 1}'), file(MERGES, b"#version: 0.2\n")]
ENTIRE = [removed(VOCABULARY, MERGES), file(WHOLE, json.dumps({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}).encode())]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([removed(VOCABULARY, MERGES, WHOLE)], "its tokenizer has no vocab.json with merges.txt, and no tokenizer.json; give"),
        (
            [*ENTIRE, file(WHOLE, b'{"model": {"type": "WordPiece", "vocab": {}}}')],
            r"a tokenizer of another type \(WordPiece\) than CLIP's",
        ),
        ([*ENTIRE, file(WHOLE, b'{"model": {"type": "Unigram", "vocab": [["a", 0.0]]}}')], r"another type \(Unigram\)"),
        ([*ENTIRE, file(WHOLE, b'{"model": "BPE"}')], "a tokenizer of another type"),
        ([*PLAIN, file(VOCABULARY, b'{"a": "0"}')], "is not a vocabulary of CLIP, words with their numbers"),
        ([*PLAIN, file(VOCABULARY, b'{"a": -1}')], "is not a vocabulary of CLIP"),
        (
            [*PLAIN, file(VOCABULARY, b'{"a": 99999}')],
            r"tokenizer has the number 99999, and text_encoder knows \d+ words; give the tokenizer",
        ),
        ([settings("tokenizer/tokenizer_config.json", model_max_length=10**30)], "has model_max_length 1e.30, and text_encoder reads"),
    ],
)
def test_a_tokenizer_that_does_not_fit_is_named(
    changes: list[Change], message: str, family_folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = copied(family_folders["sd1"], tmp_path / "model", *changes)
    with pytest.raises(InputError, match=message) as caught:
        check_model_folder(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("changes", [PLAIN, ENTIRE, [removed("tokenizer/special_tokens_map.json")]], ids=["old files", "new file", "less"])
def test_either_kind_of_files_is_enough(changes: list[Change], family_folders: dict[str, Path], tmp_path: Path) -> None:
    check_model_folder(copied(family_folders["sd1"], tmp_path / "model", *changes))


def test_a_tokenizer_of_another_class_is_of_its_own_kind(family_folders: dict[str, Path], tmp_path: Path) -> None:
    changes = [removed(VOCABULARY, MERGES, WHOLE), file("tokenizer/spiece.model", b"model")]
    listed = settings("model_index.json", tokenizer=["transformers", "T5Tokenizer"])
    check_model_folder(copied(family_folders["sd1"], tmp_path / "model", *changes, listed))
