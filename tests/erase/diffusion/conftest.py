"""Fixtures of the tests of diffusion tasks."""

from diffusion_toys import model

__all__ = ["model"]
