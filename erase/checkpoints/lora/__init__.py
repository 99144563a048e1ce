"""Small files beside a model: LoRA of what was changed, the difference itself, and a reader of both."""

LORA_FORMATS = ("lora", "diffusers-lora", "difference")
RANK = 32  # of a LoRA by default
WARN_BELOW = 90.0  # per cent of the norm of the change
