"""Every common format and depth becomes the same 8-bit RGB image, and what is not read is named, never left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from erase.classifiers.datasets import load_data
from erase.errors import InputError
from erase.images import image_files, open_picture, picture_paths, read_images
from ui.web.security.access import uploaded

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
FORMATS = [
    "png",
    "apng",
    "bmp",
    "dib",
    "tif",
    "tga",
    "ppm",
    "jp2",
    "j2k",
    "webp",
    "ico",
    "pcx",
    "qoi",
    "sgi",
    "dds",
    "gif",
    "avif",
    "jpg",
    "mpo",
    "icns",
]
COLOUR = np.stack([RAMP, RAMP[::-1], RAMP.T], axis=-1)


def grey(path: Path) -> np.ndarray:
    """The first channel of an image whose three are equal."""
    pixels = np.asarray(open_picture(path))
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


def exact(path: Path) -> bool:
    return bool((np.asarray(open_picture(path)) == COLOUR).all())


# --- depths -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm", "jp2"])
@pytest.mark.parametrize("low", [0, 255])
def test_grey_of_16_bits_keeps_the_high_byte(tmp_path: Path, suffix: str, low: int) -> None:
    """value >> 8, as OpenCV and stb; Pillow's own conversion clips at 255."""
    path = tmp_path / f"grey.{suffix}"
    Image.fromarray(RAMP.astype(np.uint16) * 256 + low).save(path, **({"irreversible": False} if suffix == "jp2" else {}))
    assert (grey(path) == RAMP).all()


def test_big_endian_and_white_is_zero(tmp_path: Path) -> None:
    big = (RAMP.astype(np.uint16) * 257).astype(">u2")
    Image.frombytes("I;16B", (16, 16), big.tobytes()).save(tmp_path / "big.tif")
    assert (grey(tmp_path / "big.tif") == RAMP).all()
    Image.fromarray(RAMP.astype(np.uint16) * 257).save(tmp_path / "inverse.tif", tiffinfo={262: 0})
    assert (grey(tmp_path / "inverse.tif") == 255 - RAMP).all()


def test_one_value_of_16_bits_may_be_transparent(tmp_path: Path) -> None:
    """As in 8 bits: that value alone is white, its neighbour is not."""
    values = np.full((2, 2), 300, np.uint16)
    values[0, 0] = 301
    Image.fromarray(values).save(tmp_path / "key.png", transparency=301)
    assert grey(tmp_path / "key.png").tolist() == [[255, 1], [1, 1]]


def test_colours_of_16_bits_keep_the_high_byte(tmp_path: Path) -> None:
    """Pillow writes none, so the file is put together by hand."""
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in COLOUR.astype(np.uint16) * 256 + 200)
    import zlib

    with (tmp_path / "deep.png").open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        PngImagePlugin.putchunk(file, b"IHDR", (16).to_bytes(4, "big") * 2 + bytes([16, 2, 0, 0, 0]))
        PngImagePlugin.putchunk(file, b"tRNS", np.array([0 * 256 + 200, 240 * 256 + 200, 200], ">u2").tobytes())
        PngImagePlugin.putchunk(file, b"IDAT", zlib.compress(raw))
        PngImagePlugin.putchunk(file, b"IEND", b"")
    pixels = np.asarray(open_picture(tmp_path / "deep.png")).copy()
    assert pixels[0, 0].tolist() == [255, 255, 255], "the transparent colour"
    pixels[0, 0] = COLOUR[0, 0]
    assert (pixels == COLOUR).all()


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixels_whose_white_is_not_defined_are_named(tmp_path: Path, mode: str) -> None:
    Image.fromarray(RAMP.astype(np.float32 if mode == "F" else np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match=r"a\.tif has (floating-point|32-bit or signed) pixels.*save it with 8 or 16 bits"):
        open_picture(tmp_path / "a.tif")


# --- formats and modes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_common_format_is_read(tmp_path: Path, suffix: str) -> None:
    lossy = suffix in ("avif", "jpg", "mpo", "gif")
    if f".{suffix}" not in Image.registered_extensions():
        pytest.skip(f"this Pillow has no {suffix}")
    smooth = np.asarray(Image.fromarray(COLOUR).resize((64, 64)))
    options = {"lossless": True} if suffix == "webp" else {"sizes": [(64, 64)]} if suffix == "ico" else {}
    image = Image.fromarray(smooth)
    image.save(tmp_path / f"a.{suffix}", **options)
    assert [path.name for path in image_files(tmp_path)] == [f"a.{suffix}"]
    read = open_picture(tmp_path / f"a.{suffix}").resize((64, 64))
    difference = abs(np.asarray(read).astype(int) - smooth)
    assert difference.mean() < (12 if lossy else 1e-9)


def test_palettes_opacity_and_cmyk(tmp_path: Path) -> None:
    """Half-opaque red over white is 255, 127 or 128 twice, however it is stored; CMYK's own red is red."""
    half = Image.new("RGBA", (4, 4), (255, 0, 0, 128))
    half.save(tmp_path / "rgba.png")
    half.quantize(4).save(tmp_path / "palette.png")
    Image.new("LA", (4, 4), (0, 128)).save(tmp_path / "grey.png")
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "print.jpg", quality=100)
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "print.tif")
    Image.new("1", (4, 4), 1).save(tmp_path / "bits.png")
    seen = {path.name: open_picture(path).getpixel((1, 1)) for path in picture_paths(tmp_path)}
    assert seen["rgba.png"] == (255, 127, 127) == seen["palette.png"]
    assert seen["grey.png"] == (127, 127, 127)
    assert seen["print.tif"] == (255, 0, 0)
    assert np.allclose(seen["print.jpg"], (255, 0, 0), atol=3)
    assert seen["bits.png"] == (255, 255, 255)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp", "deep.png"])
def test_cameras_are_turned_in_every_format(tmp_path: Path, name: str, orientation: int) -> None:
    """All eight orientations, also of 16 bits: the same as turning the pixels by hand."""
    corner = np.zeros((8, 16), np.uint8)
    corner[:4, :8] = 255
    by_hand = [corner, corner[:, ::-1], corner[::-1, ::-1], corner[::-1], corner.T, corner[::-1].T, corner[::-1, ::-1].T, corner[:, ::-1].T]
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(corner.astype(np.uint16) * 257 if name == "deep.png" else corner)
    image.save(tmp_path / name, exif=exif, **({"lossless": True} if name == "a.webp" else {}))
    assert (abs(grey(tmp_path / name).astype(int) - by_hand[orientation - 1]) < 8).all()


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_of_an_animation_the_first_frame(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime")]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **({"lossless": True} if suffix == "webp" else {}))
    assert open_picture(tmp_path / f"a.{suffix}").getpixel((3, 3)) == (255, 0, 0)


# --- nothing is left out ----------------------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("a.png", "b.gif"):
        Image.fromarray(COLOUR).save(tmp_path / name)
    (tmp_path / ".hidden.png").write_bytes(b"not an image")
    (tmp_path / "notes.md").write_text("not an image")
    (tmp_path / "LICENSE").write_text("not an image")
    (tmp_path / "rejected").mkdir()
    return tmp_path


def test_an_image_without_a_suffix_is_one(photos: Path) -> None:
    (photos / "a.png").rename(photos / "0a1b2c")
    assert [path.name for path in picture_paths(photos)] == ["0a1b2c", "b.gif"]
    assert exact(photos / "0a1b2c")


@pytest.mark.parametrize(
    ("name", "message"),
    [("c.heic", "in a format that is not read: c.heic; convert"), ("c.SVG", "not read: c.SVG"), ("c.png.bak", "does not end like one")],
)
def test_what_is_not_read_is_named_everywhere(photos: Path, name: str, message: str) -> None:
    (photos / name).write_bytes((photos / "a.png").read_bytes())
    with pytest.raises(InputError, match=message):
        read_images(photos, default_caption="x")
    for part in ("one", "two"):
        (photos / "set" / part).mkdir(parents=True)
        (photos / "set" / part / name).write_bytes((photos / "a.png").read_bytes())
    with pytest.raises(InputError, match=message):
        load_data(str(photos / "set"), size=8)


def test_all_broken_images_are_named_in_one_line(photos: Path) -> None:
    for i in range(5):
        (photos / f"broken{i}.jpg").write_bytes(b"\xff\xd8\xff torn")
    with pytest.raises(InputError, match=r"^5 of 7 images of .*: broken0.jpg, broken1.jpg, broken2.jpg and 2 more; the first"):
        read_images(photos, default_caption="x")


def test_a_file_that_is_no_image_starts_no_other_program(tmp_path: Path) -> None:
    """Pillow hands EPS to Ghostscript, whatever the file is called."""
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    with pytest.raises(InputError, match=r"a\.png is not a complete image \(cannot identify image file"):
        open_picture(tmp_path / "a.png")


def test_the_page_reads_them_too(photos: Path) -> None:
    Image.fromarray(RAMP.astype(np.uint16) * 257).save(photos / "deep.tif")
    assert np.asarray(uploaded(photos / "deep.tif"))[..., 0].tolist() == RAMP.tolist()
    with pytest.raises(InputError, match="is not an image; expected PNG"):
        uploaded(photos / "notes.md")
