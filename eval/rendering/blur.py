"""The blur of images that may show nudity: one strength for sheets, reports and the page."""

from __future__ import annotations

from PIL import Image, ImageFilter

BLOCKS = 6  # colours that are left along the longer side
RADIUS = 1 / 12  # of the Gaussian blur, of the longer side


def blurred(picture: Image.Image) -> Image.Image:
    """The image (RGB, the same size) with only its colours left: reduced to BLOCKS pixels a side, enlarged and blurred."""
    picture = picture.convert("RGB")
    longer = max(picture.size)
    blocks = (max(1, round(BLOCKS * picture.width / longer)), max(1, round(BLOCKS * picture.height / longer)))
    soft = picture.resize(blocks, Image.Resampling.BOX).resize(picture.size, Image.Resampling.BICUBIC)
    return soft.filter(ImageFilter.GaussianBlur(longer * RADIUS))
