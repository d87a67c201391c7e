"""From image files of every kind to the model's input."""

from io import BytesIO
from time import process_time

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms

from classifier.bundle import Preprocessing
from classifier.images import NotAnImage, damaged, open_image, upright_size
from classifier.preprocessing import load_pixels
from classifier.resizing import resize
from config.tests.environment import image_bytes

SPEC = Preprocessing(size=32, crop=0.875)


def pixels(content: bytes, spec: Preprocessing = SPEC) -> np.ndarray:
    return load_pixels(open_image(BytesIO(content)), spec)


def encode(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    file = BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF"])
def test_every_format_gives_the_same_picture(format: str) -> None:
    pillow_heif.register_heif_opener()  # to write one
    expected = pixels(image_bytes("PNG", size=(300, 200)))
    actual = pixels(image_bytes(format, size=(300, 200)))
    assert actual.shape == (1, 32, 32, 3)
    assert actual.dtype == np.float32
    assert np.abs(actual - expected).mean() < 6  # lossy formats, and GIF's palette


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_colour_modes_of_jpeg(mode: str) -> None:
    assert pixels(image_bytes("JPEG", mode)).shape == (1, 32, 32, 3)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_colour_modes_of_png(mode: str) -> None:
    image = Image.open(BytesIO(image_bytes("PNG"))).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    values = pixels(encode(image))
    assert 0 <= values.min() < 60
    assert 190 < values.max() <= 255


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    image = Image.fromarray(np.full((40, 40), 32768, dtype=np.uint16))
    assert pixels(encode(image)).mean() == pytest.approx(127.5, abs=1)


def test_the_bits_in_use_count() -> None:
    image = Image.fromarray(np.full((40, 40), 2048, dtype=np.uint16))  # 12 bits, in a file of 16
    assert pixels(encode(image)).mean() == pytest.approx(127.5, abs=1)


def test_floating_point_pixels_that_are_no_numbers_spoil_only_themselves() -> None:
    values = np.linspace(0, 1, 10_000, dtype=np.float32).reshape(100, 100)
    expected = pixels(encode(Image.fromarray(values), "TIFF"))
    values[3, 3], values[50, 50], values[60, 60] = np.nan, np.inf, np.nan
    assert np.abs(pixels(encode(Image.fromarray(values), "TIFF")) - expected).mean() < 8


def test_floating_point_tiff_is_stretched() -> None:
    image = Image.fromarray(np.linspace(-2, 3, 1600, dtype=np.float32).reshape(40, 40))
    values = pixels(encode(image, "TIFF"))
    assert values.min() < 40
    assert values.max() > 215


def test_lab_is_averaged_as_it_is_and_only_the_result_is_converted() -> None:
    def seconds(image: Image.Image) -> float:
        began = process_time()
        resize(image, (320, 320))
        return process_time() - began

    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    photo = Image.open(BytesIO(image_bytes("PNG", size=(300, 200))))
    lab = ImageCms.profileToProfile(photo, *profiles, outputMode="LAB")
    assert lab is not None
    difference = pixels(encode(lab, "TIFF")) - pixels(encode(photo))
    assert np.abs(difference).mean() < 2
    large, large_lab = photo.resize((4000, 3000)), lab.resize((4000, 3000))
    assert min(seconds(large_lab) for _ in range(3)) < 3 * min(seconds(large) for _ in range(3))


def test_transparency_shows_white() -> None:
    image = Image.new("RGBA", (40, 40), (200, 0, 0, 0))
    assert pixels(encode(image)).min() == 255


def test_transparent_palette_shows_white() -> None:
    image = Image.new("P", (40, 40), 0)
    image.putpalette([10, 20, 30, 40, 50, 60])
    assert pixels(encode(image, transparency=0)).min() == 255


@pytest.mark.parametrize("format", ["JPEG", "TIFF", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_upright(orientation: int, format: str) -> None:
    """A camera stores the picture turned and says so; every orientation must end as the same picture."""
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition that undoes what the orientation asks for
    upright = Image.open(BytesIO(image_bytes("PNG", size=(80, 60))))
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encode(stored, format, quality=98, exif=exif)
    assert np.abs(pixels(content) - pixels(encode(upright, format, quality=98))).mean() < 2
    assert upright_size(open_image(BytesIO(content))) == (80, 60)


def test_the_centre_is_cropped() -> None:
    image = Image.new("RGB", (90, 30), "red")
    image.paste("blue", (30, 0, 60, 30))
    values = pixels(encode(image), Preprocessing(size=20, crop=1))
    assert values[..., 0].max() < 20  # bicubic resampling looks one pixel beyond the edge
    assert values[..., 2].min() > 235


def test_large_jpegs_are_decoded_small_with_the_same_result() -> None:
    image = Image.open(BytesIO(image_bytes("PNG", size=(2400, 1800))))
    difference = pixels(encode(image, "JPEG", quality=95)) - pixels(encode(image))
    assert np.abs(difference).mean() < 2


@pytest.mark.parametrize("content", [b"", b"not an image", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.4"])
def test_other_files_are_no_images(content: bytes) -> None:
    with pytest.raises(NotAnImage, match=r"^File must be an image$"):
        open_image(BytesIO(content))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_cut_files_are_damaged_images(format: str) -> None:
    content = image_bytes(format, size=(300, 200))
    with pytest.raises(NotAnImage):
        pixels(content[: len(content) // 2])


def test_flipped_bits_never_raise_anything_else() -> None:
    random = np.random.default_rng(0)
    for format in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF"):
        content = np.frombuffer(image_bytes(format), dtype=np.uint8)
        for _ in range(60):
            damaged = content.copy()
            damaged[random.integers(0, len(damaged), 4)] ^= random.integers(1, 255, 4, dtype=np.uint8)
            try:
                pixels(damaged.tobytes())
            except NotAnImage:
                pass


def test_specifications_are_checked() -> None:
    assert Preprocessing.from_dict(SPEC.to_dict()) == SPEC
    for wrong in ({"size": 0}, {"crop": 2.0}, {"size": "x"}):
        with pytest.raises((ValueError, TypeError)):
            Preprocessing.from_dict(wrong)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("Unexpected end\nof file:\0"), "It is damaged: Unexpected end of file:"),
        (OSError(22, "Invalid argument"), "It is damaged: Invalid argument"),
        (SyntaxError(), "It is damaged"),
    ],
)
def test_what_is_damaged_is_said_in_one_line(error: Exception, sentence: str) -> None:
    assert str(damaged("It is damaged", error)) == sentence
