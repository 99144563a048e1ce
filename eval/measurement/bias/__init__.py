"""Bias that an erasure brings: what a model draws where the prompt leaves it open, before and after."""
