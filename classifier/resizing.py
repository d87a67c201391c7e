"""Decoding and resizing images of every mode to upright RGB: for the model's input and for what people look at."""

import numpy as np
from PIL import Image

from classifier.images import DECODER_ERRORS, NotAnImage, orientation

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
Box = tuple[float, float, float, float]


def resize(image: Image.Image, size: tuple[int, int], box: Box | None = None) -> Image.Image:
    """Decode an image and resize it, or the box of it, to RGB of `size` (width, height) pixels; it is not turned.

    Raises NotAnImage when its data is damaged.
    """
    try:
        if image.mode.startswith(("I", "F")):
            return _eight_bits(image, size, box)
        transparent = image.has_transparency_data
        small = image.convert("RGBA" if transparent else "RGB").resize(size, Image.Resampling.BICUBIC, box=box)
    except DECODER_ERRORS as error:
        raise NotAnImage(f"The image is damaged and cannot be decoded: {error}") from error
    if transparent:
        # What is see-through is shown on white by nearly every page; dropping alpha would show arbitrary colours.
        small = Image.alpha_composite(Image.new("RGBA", small.size, WHITE), small).convert("RGB")
    return small


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
    small = resize(image, (max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    return upright(small, orientation(image))


def _eight_bits(image: Image.Image, size: tuple[int, int], box: Box | None) -> Image.Image:
    """Resize greys of more than 8 bits, and scale them to 8; Pillow's own convert() would clip them to white.

    16-bit files are scaled by the bits they use, as many hold 12; others, whose range nobody knows, from least to most.
    """
    wide = image.convert("I") if image.mode.startswith("I;16") else image
    values = np.asarray(wide.convert("F").resize(size, Image.Resampling.BICUBIC, box=box))
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if wide is not image:
        low, high = 0.0, 2.0 ** max(8, int(wide.getextrema()[1]).bit_length()) - 1  # type: ignore[arg-type]
    scaled = (np.nan_to_num(values, nan=low, posinf=high, neginf=low) - low) * (255 / max(high - low, 1e-9))
    return Image.fromarray(np.rint(scaled.clip(0, 255)).astype(np.uint8)).convert("RGB")
