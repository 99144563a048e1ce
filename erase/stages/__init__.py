"""The stages of the main job: what each reads and writes, and the run in progress that they share."""

STAGES = ("images", "before", "latents", "erase", "export", "after")
