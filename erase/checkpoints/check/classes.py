"""Which classes a model folder may name, and what is refused because it could run code.

Old versions of diffusers load a class from a Python file in the folder of a part, even where model_index.json names one of their own
libraries. So the classes are a fixed list, and Python files beside a part's weights are refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from erase.checkpoints.check.noise import SCHEDULERS
from erase.checkpoints.folder import SUPPORTED, config_of, model_index
from erase.errors import InputError

CLIP_TOKENIZERS = frozenset({"CLIPTokenizer", "CLIPTokenizerFast"})
OTHER_TOKENIZERS = frozenset(
    f"{kind}Tokenizer{fast}" for kind in ("T5", "XLMRoberta", "Bert", "Roberta", "Llama", "Albert") for fast in ("", "Fast")
)
CLIP_TEXT = frozenset({"CLIPTextModel", "CLIPTextModelWithProjection"})
OTHER_TEXT = frozenset({"BertModel", "RobertaModel", "XLMRobertaModel", "T5EncoderModel"})
TRANSFORMERS, DIFFUSERS = "transformers", "diffusers"
ALLOWED: dict[str, tuple[str, frozenset[str]]] = {
    "unet": (DIFFUSERS, frozenset({"UNet2DConditionModel"})),
    "vae": (DIFFUSERS, frozenset({"AutoencoderKL"})),
    "text_encoder": (TRANSFORMERS, CLIP_TEXT | OTHER_TEXT),
    "text_encoder_2": (TRANSFORMERS, frozenset({"CLIPTextModelWithProjection"})),
    "tokenizer": (TRANSFORMERS, CLIP_TOKENIZERS | OTHER_TOKENIZERS),
    "tokenizer_2": (TRANSFORMERS, CLIP_TOKENIZERS),
    "scheduler": (DIFFUSERS, frozenset(SCHEDULERS)),
    "safety_checker": ("stable_diffusion", frozenset({"StableDiffusionSafetyChecker"})),
    "feature_extractor": (
        TRANSFORMERS,
        frozenset({"CLIPFeatureExtractor", "CLIPImageProcessor", "CLIPImageProcessorFast", "CLIPImageProcessorPil"}),
    ),
    "image_encoder": (TRANSFORMERS, frozenset({"CLIPVisionModelWithProjection"})),
}
"""Part -> its library and the classes it may have."""
NOT_A_PART: tuple[str, frozenset[str]] = ("", frozenset())
T5_TEXT, T5_TOKENIZERS = frozenset({"T5EncoderModel"}), frozenset({"T5Tokenizer", "T5TokenizerFast"})
FLOW_SCHEDULER = (DIFFUSERS, frozenset({"FlowMatchEulerDiscreteScheduler"}))
OF_FAMILY: dict[str, dict[str, tuple[str, frozenset[str]]]] = {
    "StableDiffusion3Pipeline": {
        "unet": NOT_A_PART,
        "transformer": (DIFFUSERS, frozenset({"SD3Transformer2DModel"})),
        "scheduler": FLOW_SCHEDULER,
        "text_encoder_3": (TRANSFORMERS, T5_TEXT),
        "tokenizer_3": (TRANSFORMERS, T5_TOKENIZERS),
        "text_encoder": (TRANSFORMERS, frozenset({"CLIPTextModelWithProjection"})),
        "tokenizer": (TRANSFORMERS, CLIP_TOKENIZERS),
    },
    "FluxPipeline": {
        "unet": NOT_A_PART,
        "transformer": (DIFFUSERS, frozenset({"FluxTransformer2DModel"})),
        "scheduler": FLOW_SCHEDULER,
        "text_encoder": (TRANSFORMERS, frozenset({"CLIPTextModel"})),
        "tokenizer": (TRANSFORMERS, CLIP_TOKENIZERS),
        "text_encoder_2": (TRANSFORMERS, T5_TEXT),
        "tokenizer_2": (TRANSFORMERS, T5_TOKENIZERS),
    },
}
"""Family -> parts in which it differs."""
MISSING = {
    "QwenImage": "its text encoder (Qwen2.5-VL with a template) and its autoencoder's means and deviations",
    "ZImage": "its single stream of text and image, its text encoder (Qwen3) and its reversed time",
    "Chroma": "its attention mask for text, and guidance without pooled text",
    "Flux2": "its text encoder (Mistral-3), its fused layers and its normalised latents",
    "Sana": "its text encoder (Gemma) and its deep-compression autoencoder",
    "PixArt": "its attention mask for text, and a transformer that predicts noise and variance",
    "Flux": "an image beside the prompt (Kontext, Fill, control)",
    "StableDiffusion3": "an image beside the prompt",
}
"""Begin of a pipeline's class -> what would have to be written for it."""
BECAUSE = {
    "AutoencoderTiny": "a tiny autoencoder has no distribution that images could be encoded to",
    "AsymmetricAutoencoderKL": "an autoencoder for inpainting",
}
NOISE = {
    "EDM": "a model of the EDM kind, trained under another noise process than a schedule of betas",
    "FlowMatch": "a flow-matching model, trained under another noise process than a schedule of betas",
}
CODE_KEYS = ("auto_map", "custom_pipeline", "custom_pipelines")
LARGE = ("vocab.json", "tokenizer.json")  # have no settings
REMEDY = "give a model whose parts are of diffusers and transformers alone"


def family_of_index(folder: Path, index: dict[str, Any]) -> str:
    """The class of the pipeline. InputError for a family that is not supported, and for one that would run code of the folder."""
    family = index.get("_class_name")
    if isinstance(family, list) or any(key in index for key in CODE_KEYS):
        raise InputError(f"{folder} has a pipeline with code of its own, which is never run; {REMEDY}")
    if not isinstance(family, str) or family not in SUPPORTED:
        lacking = next((f"; not written for it: {what}" for name, what in MISSING.items() if str(family).startswith(name)), "")
        raise InputError(f"{folder} is a {family}, not yet supported; expected {' or '.join(SUPPORTED)}{lacking}")
    return family


def check_classes(folder: Path, index: dict[str, Any]) -> None:
    """InputError for a part of a class that is not on the list, and for an entry that is not a part at all."""
    for name, value in index.items():
        if value is None or (isinstance(value, list) and (len(value) != 2 or (value[0] is None) != (value[1] is None))):
            raise InputError(f"{folder / 'model_index.json'} has {value} for {name}; expected its library and class, or [null, null]")
        if isinstance(value, list) and value[1] is not None:
            _check_class(folder, name, value[0], value[1])


def _check_class(folder: Path, name: str, library: object, kind: object) -> None:
    family = str(model_index(folder).get("_class_name"))
    own, classes = OF_FAMILY.get(family, {}).get(name) or ALLOWED.get(name, ("", frozenset()))
    if library == own and isinstance(kind, str) and kind in classes:
        return
    if not classes:
        raise InputError(f"{folder} lists a part {name}, which no supported pipeline has; take it out of model_index.json")
    reason = BECAUSE.get(str(kind)) or next(
        (why for start, why in NOISE.items() if name == "scheduler" and str(kind).startswith(start)), ""
    )
    expected = " or ".join(sorted(classes)) if len(classes) < 4 else f"one of {len(classes)} known ones, e.g. {min(classes)}"
    problem = f"{name} is of the class {library}.{kind}" + (f" ({reason})" if reason else "")
    raise InputError(f"{folder}: {problem}, which is not supported; expected {own}.{expected}")


def check_no_code(folder: Path, name: str) -> None:
    """InputError for Python files in a part, and for configurations that name classes of such files."""
    component = folder / name
    if scripts := sorted(path.name for path in component.iterdir() if path.suffix.lower() in {".py", ".pyc", ".so"}):
        raise InputError(f"{folder} has code in its part {name} ({scripts[0]}), which is never run; remove it, or {REMEDY}")
    for path in sorted(component.glob("*.json")):
        if path.name in LARGE or ".index." in path.name:
            continue
        content = config_of(folder, name, path.name)
        keys = [key for key in CODE_KEYS if content.get(key)] + ["_class_name"] * isinstance(content.get("_class_name"), list)
        if key := next(iter(keys), None):
            raise InputError(f"{folder}: {name}/{path.name} names code of its own ({key}), which is never run; {REMEDY}")
