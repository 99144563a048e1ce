"""Unpack a single-file checkpoint into a pipeline folder in the user's cache, which is what all other stages read.

The weights keep their values and dtype. A single file has no tokenizer: its two files come from a folder that the user names,
or from the hub (from its cache first).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from erase.checkpoints.check.single_file import checked
from erase.checkpoints.check.values import digest_and_faults, refuse_faults
from erase.checkpoints.configs import configs
from erase.checkpoints.families import FAMILIES, prediction_of, recognise, size_of, to_folder
from erase.checkpoints.safetensors_file import lazy_tensors, write_lazy
from erase.checkpoints.safetensors_header import metadata
from erase.checkpoints.transformer.recognise import transformer_family
from erase.checkpoints.transformer.unpack import unpacked_transformer
from erase.checkpoints.unpacked_folders import KIND, folder_name, key, only_folder, origin_of
from erase.errors import InputError
from erase.files import read_object, sha256, user_path, write_json
from erase.files.cache import cached, making, whole

TOKENIZER = "openai/clip-vit-large-patch14"  # all versions of Stable Diffusion use this tokenizer
TOKENIZER_FILES = ("vocab.json", "merges.txt")
OPTION = "--tokenizer DIR"


_origins: dict[Path, tuple[Path, str | None, str | None]] = {}
"""The folders of the cache that this process uses, and what each was unpacked from."""


def unpacked(path: Path, tokenizer: str | None = None, prediction: str | None = None) -> Path:
    """The folder of a single-file checkpoint, written once; the same file and options give the same folder.

    It is found again by everything that decides what is in it: name and hash of the file, `prediction`, the tokenizer and the
    versions of what converts. Without `tokenizer`, a folder that was written with any one will do.

    A transformer of FLUX.1 or Stable Diffusion 3 needs a whole folder for `tokenizer`, with all the parts that the file lacks.

    `prediction` is epsilon or v_prediction where the file does not record it. InputError for a file that is not a complete model of a
    known family, or has values that cannot be right, and where no tokenizer is available; then nothing is written.
    """
    folder = _unpacked(path, tokenizer, prediction)
    _origins[folder] = path, tokenizer, prediction
    return folder


def restore(folder: Path) -> None:
    """Unpack a folder again that this process has from `unpacked`, where the cache was cleaned since. Nothing for any other folder.

    InputError where the file gives another folder by now, or none.
    """
    if folder not in _origins or whole(folder):
        return
    path, tokenizer, prediction = _origins[folder]
    if tokenizer is not None:
        restore(Path(tokenizer))
    if not path.is_file():
        raise InputError(f"{folder}, which was unpacked from {path}, was deleted, and so was the file; put it back")
    if _unpacked(path, tokenizer, prediction) != folder:
        raise InputError(f"{folder} was deleted, and {path} is another file by now; run the same command again, it resumes")


def _unpacked(path: Path, tokenizer: str | None, prediction: str | None) -> Path:
    tensors, facts = lazy_tensors(path), metadata(path)
    if transformer_family(tensors) is not None:
        return unpacked_transformer(path, tensors, facts, tokenizer, prediction)
    family = recognise(tensors, str(path))
    predicts = prediction_of(tensors, facts, family, prediction, str(path))
    digest, faults = digest_and_faults(path)
    name = folder_name(path, digest, prediction)
    if (folder := _whole_folder(name, tokenizer)) is not None:
        return folder
    try:
        parts = to_folder(tensors, family)
        part_configs = configs(parts, family, predicts, size_of(facts, family, predicts))
    except KeyError as error:
        raise InputError(f"{path} is not complete: it lacks {error.args[0]}; download it again") from error
    parts = checked(parts, part_configs, str(path))
    used = {tensor.name for own in parts.values() for tensor in own.values()}
    refuse_faults(str(path), {name: fault for name, fault in faults.items() if name in used})
    if "ztsnr" in tensors:
        part_configs["scheduler"]["rescale_betas_zero_snr"] = True
    vocabulary = find_tokenizer(tokenizer)
    if (folder := cached(KIND, _named_with(name, vocabulary))) is not None:
        return folder
    origin = origin_of(path, digest)
    with making(KIND, _named_with(name, vocabulary)) as (part, folder):
        _write_parts(part, parts, part_configs, origin)
        _write_tokenizers(part, vocabulary, part_configs, family)
        _write_index(part, family, part_configs)
    return folder


def _named_with(name: str, vocabulary: Mapping[str, Path]) -> str:
    """The name of the folder with this tokenizer."""
    return f"{name}-{key(*(sha256(vocabulary[file]) for file in TOKENIZER_FILES))[:8]}"


def _whole_folder(name: str, tokenizer: str | None) -> Path | None:
    """The whole folder of this name with the tokenizer, or with whatever one for None; None also where there are several of these."""
    if tokenizer is not None:
        return cached(KIND, _named_with(name, find_tokenizer(tokenizer)))
    return only_folder(name)


def find_tokenizer(path: str | None) -> dict[str, Path]:
    """vocab.json and merges.txt of CLIP, from a folder or else from the hub. InputError where they are not available."""
    if path is not None:
        for folder in (user_path(path), user_path(path) / "tokenizer"):
            if all((folder / name).is_file() for name in TOKENIZER_FILES):
                return {name: folder / name for name in TOKENIZER_FILES}
        raise InputError(
            f"{OPTION}: {path} has no {' and '.join(TOKENIZER_FILES)}; give a folder with the tokenizer of CLIP", option="tokenizer"
        )
    from huggingface_hub import hf_hub_download

    try:
        return {name: Path(hf_hub_download(TOKENIZER, name)) for name in TOKENIZER_FILES}
    except Exception as error:  # the hub's client raises a dozen kinds
        raise InputError(
            f"a single file has no tokenizer, and that of {TOKENIZER} could not be downloaded from the hub ({type(error).__name__}); "
            f"give {OPTION}, a folder with {' and '.join(TOKENIZER_FILES)}, to the main job or to `export --format folder`"
        ) from error


def _write_parts(folder: Path, parts: Mapping[str, Any], configs: Mapping[str, Any], origin: Mapping[str, str]) -> None:
    for name, config in configs.items():
        if name == "scheduler":
            write_json(folder / name / "scheduler_config.json", config)
            continue
        write_json(folder / name / "config.json", config)
        file = "model.safetensors" if name.startswith("text") else "diffusion_pytorch_model.safetensors"
        write_lazy(folder / name / file, parts[name], origin if name == "unet" else {})


def _write_tokenizers(folder: Path, files: Mapping[str, Path], configs: Mapping[str, Any], family: str) -> None:
    vocabulary = _vocabulary(files["vocab.json"])
    for part in FAMILIES[family].text:
        config = configs[part]
        if max(vocabulary.values(), default=0) >= config["vocab_size"]:
            sizes = f"{len(vocabulary)} words, the {part} of this checkpoint {config['vocab_size']}"
            raise InputError(f"the tokenizer has {sizes}; give its own with {OPTION}", option="tokenizer")
        # OpenCLIP pads with token 0, CLIP with the end-of-text token.
        pad = "!" if config["hidden_act"] == "gelu" else "<|endoftext|>"
        numbers = {"bos": "<|startoftext|>", "eos": "<|endoftext|>", "pad": pad}
        config |= {f"{name}_token_id": vocabulary.get(text) for name, text in numbers.items()}
        write_json(folder / part / "config.json", config)
        target = folder / part.replace("text_encoder", "tokenizer")
        target.mkdir()
        for name, path in files.items():
            shutil.copyfile(path, target / name)
        tokens = {"unk_token": "<|endoftext|>", **{f"{name}_token": text for name, text in numbers.items()}}
        longest = {"model_max_length": config["max_position_embeddings"], "do_lower_case": True, "tokenizer_class": "CLIPTokenizer"}
        write_json(target / "tokenizer_config.json", {**tokens, **longest, "add_prefix_space": False, "errors": "replace"})


def _vocabulary(path: Path) -> dict[str, int]:
    vocabulary = read_object(path)
    if not all(type(number) is int for number in vocabulary.values()):
        raise InputError(f"{path} is not a vocabulary: expected an object of words and their numbers", option="tokenizer")
    return vocabulary


def _write_index(folder: Path, family: str, configs: Mapping[str, Any]) -> None:
    index: dict[str, Any] = {"_class_name": FAMILIES[family].pipeline, "_diffusers_version": "0.30.0"}
    index |= {name: ["diffusers", config["_class_name"]] for name, config in configs.items() if "_class_name" in config}
    for part in FAMILIES[family].text:
        index[part] = ["transformers", configs[part]["architectures"][0]]
        index[part.replace("text_encoder", "tokenizer")] = ["transformers", "CLIPTokenizer"]
    if family == "sdxl":
        index["force_zeros_for_empty_prompt"] = True
    else:
        index |= {"safety_checker": [None, None], "feature_extractor": [None, None], "requires_safety_checker": False}
    write_json(folder / "model_index.json", index)
