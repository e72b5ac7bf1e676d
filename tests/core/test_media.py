"""Photos of every kind become upright 8-bit RGB; whatever can't be one is refused in a sentence."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pantomime.core.media.files import LEAST_PX, MediaError
from pantomime.core.media.photo import read_photo

CORNERS = (
    (200, 30, 30),
    (30, 200, 30),
    (30, 30, 200),
    (200, 200, 30),
)  # top left, top right, bottom left, bottom right


def quadrants(width: int = 80, height: int = 60) -> np.ndarray:
    rgb = np.zeros((height, width, 3), np.uint8)
    for index, colour in enumerate(CORNERS):
        rows = slice(0, height // 2) if index < 2 else slice(height // 2, height)
        columns = slice(0, width // 2) if index % 2 == 0 else slice(width // 2, width)
        rgb[rows, columns] = colour
    return rgb


def corner_colours(rgb: np.ndarray) -> np.ndarray:
    h, w = rgb.shape[:2]
    return rgb[[h // 4, h // 4, 3 * h // 4, 3 * h // 4], [w // 4, 3 * w // 4, w // 4, 3 * w // 4]].astype(int)


def exif_with(**values: object) -> Image.Exif:
    tags = {
        "orientation": 0x0112, "focal": 0x920A, "focal35": 0xA405, "plane": 0xA20E, "unit": 0xA210, "x": 0xA002,
        "y": 0xA003,
    }  # fmt: skip
    exif = Image.Exif()
    for name, value in values.items():
        if name == "orientation":
            exif[tags[name]] = value
        else:
            exif.get_ifd(0x8769)[tags[name]] = value
    return exif


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_comes_out_upright(tmp_path: Path, orientation: int) -> None:
    upright = Image.fromarray(quadrants())
    undo = {
        1: [], 2: [Image.Transpose.FLIP_LEFT_RIGHT], 3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM], 5: [Image.Transpose.TRANSPOSE], 6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE], 8: [Image.Transpose.ROTATE_270],
    }  # fmt: skip
    stored = upright
    for step in undo[orientation]:
        stored = stored.transpose(step)
    path = tmp_path / "held.jpg"
    stored.save(path, quality=98, subsampling=0, exif=exif_with(orientation=orientation))
    frame = read_photo(path)
    assert frame.size == (80, 60)
    assert frame.exif_orientation == orientation
    assert np.abs(corner_colours(frame.rgb) - np.array(CORNERS)).max() < 12


@pytest.mark.parametrize("name", ["picture.png", "picture.webp", "picture.tif", "picture.bmp", "picture.gif"])
def test_common_formats_keep_their_colours(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    options = {"lossless": True} if name.endswith("webp") else {}
    Image.fromarray(quadrants()).save(path, **options)
    frame = read_photo(path)
    assert frame.rgb.dtype == np.uint8
    assert np.abs(corner_colours(frame.rgb) - np.array(CORNERS)).max() < 3


def test_a_cmyk_jpeg_looks_as_it_should(tmp_path: Path) -> None:
    path = tmp_path / "print.jpg"
    Image.fromarray(quadrants()).convert("CMYK").save(path, quality=98)
    assert np.abs(corner_colours(read_photo(path).rgb) - np.array(CORNERS)).max() < 12


def test_grey_pictures_of_8_and_16_bits_give_the_same_levels(tmp_path: Path) -> None:
    levels = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))
    Image.fromarray(levels).save(tmp_path / "8.png")
    Image.fromarray(levels.astype(np.uint16) * 257).save(tmp_path / "16.png")
    eight, sixteen = read_photo(tmp_path / "8.png").rgb, read_photo(tmp_path / "16.png").rgb
    assert eight.shape == (48, 64, 3)
    assert np.array_equal(eight[..., 0], levels)
    assert np.abs(eight.astype(int) - sixteen).max() <= 1


def test_a_16_bit_colour_tiff_keeps_its_colours(tmp_path: Path) -> None:
    rgb = quadrants().astype("<u2") * 257
    path = tmp_path / "deep.tif"
    height, width = rgb.shape[:2]
    entries = [
        (256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, None), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, None),
        (277, 3, 1, 3), (278, 3, 1, height), (279, 4, 1, rgb.nbytes),
    ]  # fmt: skip
    directory = 8 + 2 + 12 * len(entries) + 4
    body = struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<H", len(entries))
    for tag, kind, count, value in entries:
        value = directory if tag == 258 else directory + 6 if tag == 273 else value
        body += struct.pack("<HHII", tag, kind, count, value)
    path.write_bytes(body + struct.pack("<I", 0) + struct.pack("<3H", 16, 16, 16) + rgb.tobytes())
    assert np.abs(corner_colours(read_photo(path).rgb) - np.array(CORNERS)).max() <= 1


def test_transparent_parts_are_laid_on_grey(tmp_path: Path) -> None:
    rgba = np.dstack([quadrants(), np.full((60, 80), 255, np.uint8)])
    rgba[:30, :40, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "cut.png")
    colours = corner_colours(read_photo(tmp_path / "cut.png").rgb)
    assert np.abs(colours[0] - 128).max() <= 1
    assert np.abs(colours[1:] - np.array(CORNERS[1:])).max() <= 1


@pytest.mark.parametrize("name", ["with space.png", "ünï-çødé.png", "照片.png", "фото пляж.png", "🙂.png", "-o.png"])
def test_names_in_any_script_are_read(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "мои фото 写真"
    folder.mkdir()
    Image.fromarray(quadrants()).save(folder / name)
    assert read_photo(folder / name).size == (80, 60)
    assert read_photo(str(folder / name)).source.endswith(name)


def test_the_focal_length_follows_from_the_35_mm_equivalent(tmp_path: Path) -> None:
    Image.fromarray(quadrants(90, 60)).save(tmp_path / "a.jpg", exif=exif_with(focal35=50, x=6000, y=4000))
    focal = read_photo(tmp_path / "a.jpg").focal_px
    assert focal == pytest.approx(50.0 / 36.0 * 90.0, rel=1e-6)


def test_the_focal_length_follows_from_the_sensor_and_the_reduction(tmp_path: Path) -> None:
    # 4000 px on 20 mm, reduced to 80 px: 25 mm are 25 · 200 · 80/4000 = 100 px
    exif = exif_with(focal=25.0, plane=200.0 * 10, unit=3, x=4000, y=3000)
    Image.fromarray(quadrants()).save(tmp_path / "a.jpg", exif=exif)
    assert read_photo(tmp_path / "a.jpg").focal_px == pytest.approx(100.0, rel=1e-3)


def test_the_focal_length_is_unknown_in_a_cropped_or_absurd_picture(tmp_path: Path) -> None:
    Image.fromarray(quadrants()).save(tmp_path / "crop.jpg", exif=exif_with(focal35=50, x=6000, y=3000))
    Image.fromarray(quadrants()).save(tmp_path / "odd.jpg", exif=exif_with(focal35=65000))
    Image.fromarray(quadrants()).save(tmp_path / "none.jpg")
    assert all(read_photo(tmp_path / f"{name}.jpg").focal_px is None for name in ("crop", "odd", "none"))


def test_a_damaged_exif_block_does_not_stop_a_good_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(quadrants()).save(path, exif=b"Exif\0\0II*\0\xff\xff\xff\x7f" + b"\xff" * 40)
    frame = read_photo(path)
    assert frame.exif_orientation == 1
    assert frame.focal_px is None


def jpeg_bytes() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def png_of(width: int, height: int) -> bytes:
    """A file that says it is so large, with hardly any pixels in it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000)))


BAD_FILES = {
    "empty": (b"", "empty"),
    "truncated.jpg": (jpeg_bytes()[:3000], "damaged"),
    "text.jpg": (b"this is not a picture\n" * 50, "not a picture"),
    "huge.png": (png_of(30000, 20000), "megapixels"),
    "over the limit.png": (png_of(11000, 10000), "megapixels"),
    "phone.heic": (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(64), "HEIC"),
    "film.mp4": (b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2" + bytes(64), "film"),
    "figure.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n", "not a picture"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_refused_in_one_sentence_that_names_it(tmp_path: Path, name: str) -> None:
    content, word = BAD_FILES[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(MediaError, match=word) as caught:
        read_photo(path)
    text = str(caught.value)
    assert name in text
    assert "\n" not in text
    assert text.count(". ") == 1 and text.endswith(".")  # what is wrong, then what to do


def test_a_picture_too_small_for_a_person_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    Image.new("RGB", (LEAST_PX, LEAST_PX)).save(tmp_path / "enough.png")
    with pytest.raises(MediaError, match="only 1 × 1"):
        read_photo(tmp_path / "dot.png")
    assert read_photo(tmp_path / "enough.png").size == (LEAST_PX, LEAST_PX)


def test_a_folder_a_missing_file_and_a_pipe_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="is a folder"):
        read_photo(tmp_path)
    with pytest.raises(MediaError, match="no file"):
        read_photo(tmp_path / "nothing.jpg")
    with pytest.raises(MediaError):
        read_photo("nul\0in the name.jpg")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.jpg")
        with pytest.raises(MediaError, match="not an ordinary file"):
            read_photo(tmp_path / "pipe.jpg")


def test_a_picture_of_ninety_megapixels_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.new("L", (9500, 9500), 77).save(path, compress_level=1)
    frame = read_photo(path)
    assert frame.size == (9500, 9500)
    assert frame.rgb[5000, 5000].tolist() == [77, 77, 77]
