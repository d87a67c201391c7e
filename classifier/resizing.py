"""Decoding and resizing images of every mode to upright RGB: for the model's input and for what people look at."""

import math

import numpy as np
import numpy.typing as npt
from PIL import Image

from classifier.images import DECODER_ERRORS, damaged, orientation

# EXIF orientation -> what turns the stored picture upright (CIPA DC-008-2019, 4.6.5.1.6).
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
WHITE = (255, 255, 255, 255)
STRIP = 250_000  # pixels converted at once
BAND = 128  # rows of the result made at once
REACH = 2  # of the bicubic filter, in pixels of whichever side is coarser; the other's is less
# As good as bicubic for making smaller, in Pillow's own comparison, and nearly twice as fast: for what people look at.
QUICK = Image.Resampling.HAMMING
Box = tuple[float, float, float, float]


def resize(
    image: Image.Image,
    size: tuple[int, int],
    box: Box | None = None,
    resample: Image.Resampling = Image.Resampling.BICUBIC,
) -> Image.Image:
    """Decode an image and resize it, or the box of it, to RGB of `size` (width, height) pixels; it is not turned.

    Beside the decoded pixels it takes a few MB, however large they are. Raises NotAnImage when the data is damaged.
    """
    try:
        image.load()
        box = box or (0.0, 0.0, *image.size)
        if image.mode.startswith(("I", "F")):
            return _eight_bits(image, size, box, resample)
        # Colours are averaged by how much of them is seen: with their alpha multiplied in.
        mode = "RGBa" if image.has_transparency_data else "LAB" if image.mode == "LAB" else "RGB"
        if image.mode == mode == "RGB" and image.width * image.height <= STRIP:
            return image.resize(size, resample, box=box)
        small = _scale(image, mode, size, box, resample)
    except DECODER_ERRORS as error:
        raise damaged("The image is damaged and cannot be decoded", error) from error
    if small.mode == "RGBa":
        return _on_white(small)
    # Of LAB the few pixels of the result are converted: all of 37 megapixels would take 6 seconds.
    return small.convert("RGB") if small.mode == "LAB" else small


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turn a picture as its EXIF orientation, 1 to 8, asks for."""
    turn = UPRIGHT.get(orientation)
    return image if turn is None else image.transpose(turn)


def shrink(image: Image.Image, side: int) -> Image.Image:
    """Return an opened or decoded image as upright RGB whose longer side has at most `side` pixels.

    Raises NotAnImage when it is damaged.
    """
    image.draft(None, (side, side))
    scale = min(1.0, side / max(image.size))
    small = resize(image, (max(1, round(image.width * scale)), max(1, round(image.height * scale))), resample=QUICK)
    return upright(small, orientation(image))


def _scale(image: Image.Image, mode: str, size: tuple[int, int], box: Box, resample: Image.Resampling) -> Image.Image:
    """Convert a decoded image to `mode` and resize the box of it: what convert() and resize() give, band by band."""
    top, bottom = box[1], box[3]
    ratio = (bottom - top) / size[1]
    reach = REACH * max(1.0, ratio) + 1
    scaled = Image.new(mode, size)
    for start in range(0, size[1], BAND):
        end = min(start + BAND, size[1])
        first = max(0, math.floor(top + start * ratio - reach))
        last = min(image.height, math.ceil(top + end * ratio + reach))
        narrow = _narrow(image, mode, size[0], (box[0], first, box[2], last), resample)
        band = (0, top + start * ratio - first, size[0], top + end * ratio - first)
        scaled.paste(narrow.resize((size[0], end - start), resample, box=band), (0, start))
    return scaled


def _narrow(
    image: Image.Image, mode: str, width: int, box: tuple[float, int, float, int], resample: Image.Resampling
) -> Image.Image:
    """Convert the box of an image to `mode` and resize it to a width, strip by strip; its height stays."""
    left, first, right, last = box
    reach = REACH * max(1.0, (right - left) / width) + 1
    begin, end = max(0, math.floor(left - reach)), min(image.width, math.ceil(right + reach))
    narrow = Image.new(mode, (width, last - first))
    rows = max(1, STRIP // (end - begin))
    for row in range(first, last, rows):
        strip = _converted(image.crop((begin, row, end, min(row + rows, last))), mode)
        inner = (left - begin, 0, right - begin, strip.height)
        narrow.paste(strip.resize((width, strip.height), resample, box=inner), (0, row - first))
    return narrow


def _converted(part: Image.Image, mode: str) -> Image.Image:
    """Convert part of an image, by way of a mode that Pillow can convert further where there is no direct way."""
    if mode == "RGBa":
        return part.convert("RGBA").convert("RGBa")
    return (part.convert("I") if part.mode.startswith("I;16") else part).convert(mode)


def _on_white(small: Image.Image) -> Image.Image:
    """Return an RGBa picture as RGB, band by band: the whole in every mode on the way would take 50 MB.

    What is see-through is shown on white by nearly every page; dropping alpha would show arbitrary colours.
    """
    shown = Image.new("RGB", small.size)
    for top in range(0, small.height, BAND):
        band = small.crop((0, top, small.width, min(top + BAND, small.height))).convert("RGBA")
        shown.paste(Image.alpha_composite(Image.new("RGBA", band.size, WHITE), band).convert("RGB"), (0, top))
    return shown


def _eight_bits(image: Image.Image, size: tuple[int, int], box: Box, resample: Image.Resampling) -> Image.Image:
    """Resize greys of more than 8 bits, and scale them to 8; Pillow's own convert() would clip them to white.

    16-bit files are scaled by the bits they use, as many hold 12; others, whose range nobody knows, from least to most.
    """
    values = np.asarray(_scale(image, "F", size, box, resample))
    low, high = _range(values)
    if image.mode.startswith("I;16"):
        low, high = 0.0, 2.0 ** max(8, int(image.getextrema()[1]).bit_length()) - 1  # type: ignore[arg-type]
    greys = np.empty(values.shape, np.uint8)
    for top in range(0, len(values), BAND):
        band = np.nan_to_num(values[top : top + BAND], nan=low, posinf=high, neginf=low)
        greys[top : top + BAND] = np.rint(((band - low) * (255 / max(high - low, 1e-9))).clip(0, 255))
    del values
    return Image.fromarray(greys).convert("RGB")


def _range(values: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Return the least and the most of the finite values; 0 and 1 if there are none."""
    finite = np.isfinite(values)
    if not finite.any():
        return 0.0, 1.0
    return float(values.min(where=finite, initial=np.inf)), float(values.max(where=finite, initial=-np.inf))
