"""CLIP: features of pictures and of texts, how well a picture fits its text, and zero-shot classification.

The only file that touches open_clip. Knows no concepts. Weights: one of open_clip's own tags, or a folder that brings all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from erase.errors import InputError
from erase.files import read_object, sha256
from erase.run import package_version
from eval.vision.detector import Detection, hint
from eval.vision.weights import REMEDY, torchvision

FILES = ("open_clip_config.json", "open_clip_model.safetensors")  # of a folder
OPTION = "--clip FOLDER"
SHARPNESS = 100.0  # what CLIP's training multiplies cosines with at its end
CHUNK = 32  # pictures or texts the network sees at a time
TEMPLATES = {
    "artist": "a picture in the style of {}",
    "style": "a picture in the style of {}",
    "object": "a photo of a {}",
    "animal": "a photo of a {}",
    "person": "a photo of a {}",
}
"""How a label is said to the text encoder, by domain; labels of any other domain are said as they are."""


@dataclass(frozen=True)
class Loaded:
    """A network, what makes pixels of a picture and tokens of texts for it, and what is said of it in a protocol."""

    network: nn.Module
    prepare: Callable[[Image.Image], Tensor]
    tokens: Callable[[list[str]], Tensor]
    facts: Mapping[str, Any]


class Clip:
    """CLIP as open_clip has it. `pretrained`: a tag of `model`, or a folder (FILES, tokenizer), which says itself what it is.

    A .safetensors file is taken as OpenAI's weights of `model`. Weights under a tag are looked for in the hub's cache, then
    fetched. The activation is always that which the weights were trained with. InputError where they cannot be had.
    """

    def __init__(self, model: str = "ViT-B-32", pretrained: str | Path = "openai", device: str = "cpu") -> None:
        loaded = _loaded(model, str(pretrained), device)
        self._network, self._prepare, self._tokens = loaded.network, loaded.prepare, loaded.tokens
        self._device = device
        self._facts = dict(loaded.facts)

    @torch.no_grad()
    def __call__(self, images: Sequence[Image.Image]) -> Tensor:
        """RGB pictures of any sizes -> (n, d) float32 on the CPU, of the length that the network gives them."""
        return self._each(images, lambda part: self._encode("image", torch.stack([self._prepare(image.convert("RGB")) for image in part])))

    @torch.no_grad()
    def texts(self, prompts: Sequence[str]) -> Tensor:
        """(n, d) float32 on the CPU. A text longer than the network's context is cut, as everywhere."""
        return self._each(prompts, lambda part: self._encode("text", self._tokens(list(part))))

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Tensor:
        """100 max(cos, 0) of each picture with its text, (n,) float64.

        CLIPScore (Hessel et al. 2021) without its factor 2.5, times 100: the scale of published tables.
        """
        if len(images) != len(prompts):
            raise ValueError(f"{len(images)} pictures need as many texts; got {len(prompts)}")
        return 100 * nn.functional.cosine_similarity(self(images).double(), self.texts(prompts).double()).clamp(min=0)

    def facts(self) -> dict[str, Any]:
        """The protocol's part."""
        return dict(self._facts)

    def _each(self, items: Sequence[Any], encode: Callable[[Sequence[Any]], Tensor]) -> Tensor:
        parts = [encode(items[start : start + CHUNK]) for start in range(0, len(items), CHUNK)]
        return torch.cat(parts) if parts else torch.empty(0, self._facts["dimension"])

    def _encode(self, kind: str, inputs: Tensor) -> Tensor:
        encoded: Tensor = getattr(self._network, f"encode_{kind}")(inputs.to(self._device))
        return encoded.float().cpu()


class ZeroShot:
    """The most likely label of each domain (domain -> labels), its score the softmax of 100 cos (Radford et al. 2021).

    It always finds one of the labels, so it is only as good as they are: measure how often it finds the concept in pictures
    of something else. `templates`: domain -> how its labels are said, for others than TEMPLATES.
    """

    def __init__(
        self,
        labels: Mapping[str, Sequence[str]],
        model: str = "ViT-B-32",
        pretrained: str | Path = "openai",
        templates: Mapping[str, str] | None = None,
        device: str = "cpu",
    ) -> None:
        self.labels = {domain: list(members) for domain, members in labels.items()}
        _check_labels(self.labels)
        all_templates = {**TEMPLATES, **(templates or {})}
        self.templates = {domain: all_templates.get(domain, "{}") for domain in self.labels}
        self.clip = Clip(model, pretrained, device)
        self._texts = {domain: self._directions(domain) for domain in self.labels}

    def __call__(self, images: Sequence[Image.Image]) -> list[list[Detection]]:
        return self.look(self.clip(images))

    def look(self, features: Tensor) -> list[list[Detection]]:
        """The same from image features (n, d), for a caller that has them."""
        directions = nn.functional.normalize(features.double())
        detections: list[list[Detection]] = [[] for _ in range(len(features))]
        for domain, texts in self._texts.items():
            logits = SHARPNESS * directions @ texts.T
            scores = logits.softmax(1)
            for row, best in enumerate(logits.argmax(1).tolist()):
                detections[row].append(Detection(self.labels[domain][best], float(scores[row, best])))
        return detections

    def facts(self) -> dict[str, Any]:
        """The detector's part of a protocol."""
        clip = self.clip.facts()
        facts = {"name": "clip", "version": clip["version"], "sha256": clip["sha256"], "network": clip["name"], "templates": self.templates}
        return {"detector": facts, "threshold": None, "labels": self.labels, "counted": "pictures"}

    def _directions(self, domain: str) -> Tensor:
        texts = [self.templates[domain].replace("{}", label) for label in self.labels[domain]]
        return nn.functional.normalize(self.clip.texts(texts).double())


def _check_labels(labels: Mapping[str, Sequence[str]]) -> None:
    """InputError for what cannot be told apart."""
    if not labels:
        raise InputError('the detector "clip" was given no labels; expected domain -> labels')
    everything = [label for members in labels.values() for label in members]
    for domain, members in labels.items():
        if len(members) < 2:
            raise InputError(
                f'the detector "clip" was given {len(members)} labels for the domain "{domain}"; it needs two or more to tell apart'
            )
    if twice := [label for label in dict.fromkeys(everything) if everything.count(label) > 1]:
        raise InputError(f'the detector "clip" was given the label "{twice[0]}" twice; give every label once')


# --- where the network comes from -----------------------------------------------------------------------------------


def _loaded(model: str, pretrained: str, device: str) -> Loaded:
    library, path = _library(), Path(pretrained)
    name, file, source = _found(library, model, pretrained)
    try:
        network, prepare = library.create_model_from_pretrained(**source, device=device)
        tokens = library.get_tokenizer(source["model_name"])
        with torch.no_grad():
            dimension = network.encode_text(tokens(["a"]).to(device)).shape[1]
    except Exception as error:  # a wrong configuration, file or tokenizer comes out as nearly any of them
        raise InputError(
            f"the CLIP {path} cannot be loaded ({_line(error)}); put it there whole again, or name another with {OPTION}"
        ) from error
    version = f"open_clip {package_version('open-clip-torch')}"
    facts = {"name": name, "version": version, "sha256": sha256(file), "dimension": dimension, "context": int(network.context_length)}
    return Loaded(network.eval().requires_grad_(False), prepare, tokens, facts)


def _found(library: Any, model: str, pretrained: str) -> tuple[str, Path, dict[str, Any]]:
    """What a protocol calls it, the file of its weights, and what open_clip is asked for.

    The activation is said each time: open_clip builds "ViT-B-32" without QuickGELU, which OpenAI's weights of it need.
    """
    path = Path(pretrained)
    if facts := library.get_pretrained_cfg(model, pretrained):
        quick = bool(facts.get("quick_gelu", False))
        name = f"{model.removesuffix('-quickgelu')} {pretrained}"
        return name, _fetched(library, name, facts), {"model_name": model, "pretrained": pretrained, "force_quick_gelu": quick}
    if path.is_dir():
        return path.resolve().name, _in_folder(path), {"model_name": f"local-dir:{path}"}
    if path.suffix == ".safetensors":
        return f"own-{model}", _own(library, model, path), {"model_name": model, "pretrained": str(path), "force_quick_gelu": True}
    if model not in (known := library.list_models()):
        raise InputError(f'open_clip has no model "{model}"{hint(model, known, 3)}; give a name of its list, or {OPTION}')
    tags = library.list_pretrained_tags_by_model(model)
    has = f"it has {', '.join(tags) or 'none'}"
    raise InputError(
        f'open_clip has no weights "{pretrained}" of {model}, nor is that a folder{hint(pretrained, tags)}; {has}: or give {OPTION}'
    )


def _library() -> Any:
    torchvision()  # open_clip imports it whole
    try:
        import open_clip
    except ImportError as error:
        raise InputError(f"CLIP needs open_clip, which cannot be imported ({error}); {REMEDY}") from error
    return open_clip


def _in_folder(folder: Path) -> Path:
    absent = [name for name in FILES if not (folder / name).is_file()]
    if absent:
        raise InputError(f"{folder} has no {absent[0]}; {OPTION} expects {' and '.join(FILES)}, and a tokenizer where the config names one")
    config = read_object(folder / FILES[0])
    if "trust_remote_code" in json.dumps(config):
        raise InputError(f"{folder / FILES[0]} asks to run code of its own (trust_remote_code), which is not done; remove that from it")
    return folder / FILES[1]


def _own(library: Any, model: str, path: Path) -> Path:
    if not path.is_file():
        raise InputError(
            f"{path} is not there; expected a folder with {' and '.join(FILES)}, or OpenAI's weights of {model} as .safetensors"
        )
    if not library.get_pretrained_cfg(model, "openai"):
        raise InputError(
            f"OpenAI has published no {model}, so {path} does not say what it is; give a folder with {FILES[0]} beside the weights"
        )
    return path


def _fetched(library: Any, name: str, facts: Mapping[str, Any]) -> Path:
    """The file of weights that open_clip knows under a tag: from the hub's cache, else fetched."""
    where = str(facts.get("hf_hub", "")).rstrip("/")
    remedy = f"put {' and '.join(FILES)}{f' of {where}' if where else ''} into a folder and name it with {OPTION}"
    try:
        file = Path(library.download_pretrained(facts))
    except Exception as error:  # no network, no room, no such repository any more, ...
        raise InputError(f"the CLIP weights {name} are not in the hub's cache and cannot be fetched ({_line(error)}); {remedy}") from error
    if file.suffix != ".safetensors":
        raise InputError(f"the CLIP weights {name} are published as a pickle ({file.name}), which is not opened; {remedy}, converted")
    return file


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
