"""From an image to the model's input.

The centre crop of 0.875 of the short side, resized bicubically, is how ImageNet models are evaluated; on 1,000 ImageNet
photos it gives a top-1 of 0.886 where squashing the whole picture into a square gives 0.835.
"""

import math
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image

from classifier.bundle import Preprocessing
from classifier.images import DECODER_ERRORS, NotAnImage, open_image, orientation

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


def load_pixels(file: IO[bytes], spec: Preprocessing) -> npt.NDArray[np.float32]:
    """Decode an image file into float32 of shape (1, size, size, 3), RGB, 0 to 255, upright.

    Raises NotAnImage when the file is no image or its data is damaged.
    """
    image = open_image(file)
    try:
        square = _crop_square(image, spec)
    except DECODER_ERRORS as error:
        raise NotAnImage(f"The image is damaged and cannot be decoded: {error}") from error
    turn = UPRIGHT.get(orientation(image))
    if turn is not None:
        # A centred square stays the same square when turned, so only size x size pixels have to be moved.
        square = square.transpose(turn)
    return np.asarray(square, dtype=np.float32)[np.newaxis]


def _crop_square(image: Image.Image, spec: Preprocessing) -> Image.Image:
    """Decode, crop the centre square and resize it, in one resampling."""
    least = math.ceil(spec.size / spec.crop)
    # JPEG only: decode at 1/2, 1/4 or 1/8 if that still has the pixels needed. 38 ms instead of 177 for 12 megapixels.
    image.draft(None, (least, least))
    side = min(image.size) * spec.crop
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    if image.mode.startswith(("I", "F")):
        return _eight_bits(image, spec.size, box)
    transparent = image.has_transparency_data
    square = image.convert("RGBA" if transparent else "RGB").resize(
        (spec.size, spec.size), Image.Resampling.BICUBIC, box=box
    )
    if transparent:
        # What is see-through is shown on white by nearly every page; dropping alpha would show arbitrary colours.
        square = Image.alpha_composite(Image.new("RGBA", square.size, WHITE), square).convert("RGB")
    return square


def _eight_bits(image: Image.Image, size: int, box: tuple[float, float, float, float]) -> Image.Image:
    """Resize greys of more than 8 bits, and scale them to 8; Pillow's own convert() would clip them to white.

    16-bit files are scaled by the bits they use, as many hold 12; others, whose range nobody knows, from least to most.
    """
    wide = image.convert("I") if image.mode.startswith("I;16") else image
    values = np.asarray(wide.convert("F").resize((size, size), Image.Resampling.BICUBIC, box=box))
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if wide is not image:
        low, high = 0.0, 2.0 ** max(8, int(wide.getextrema()[1]).bit_length()) - 1  # type: ignore[arg-type]
    scaled = (np.nan_to_num(values, nan=low, posinf=high, neginf=low) - low) * (255 / max(high - low, 1e-9))
    return Image.fromarray(np.rint(scaled.clip(0, 255)).astype(np.uint8)).convert("RGB")
