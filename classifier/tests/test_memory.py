"""What decoding takes is read off the header, and bounded where the header lies."""

import mmap
import resource
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from classifier.images import NotAnImage, decoded_bytes, open_image
from classifier.memory import at_most, give_back
from classifier.resizing import resize
from predictions.tests.corpus import boxes_patched, encode, picture, planes_jpeg

linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells and bounds it")
SIZE = (2400, 2000)
MEGABYTE = 1_000_000


def peak() -> int:
    """Return the most bytes that this process has held in memory since forget_peak()."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def held() -> int:
    """Return the bytes that this process has in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


@linux
@pytest.mark.parametrize(("format", "mode", "options"), [
    ("PNG", "RGB", {}), ("PNG", "RGBA", {}), ("PNG", "P", {}), ("PNG", "I;16", {}), ("GIF", "P", {}),
    ("BMP", "RGB", {}), ("TIFF", "RGBA", {"compression": "tiff_lzw"}), ("TIFF", "F", {}),
    ("TIFF", "CMYK", {"compression": "jpeg"}),
    ("JPEG", "RGB", {}), ("JPEG", "RGB", {"progressive": True, "subsampling": 0}),
    ("JPEG", "CMYK", {"progressive": True}),
    ("WEBP", "RGB", {}), ("WEBP", "RGBA", {"lossless": True, "quality": 0}),
    ("AVIF", "RGBA", {"subsampling": "4:4:4", "speed": 10}), ("HEIF", "RGBA", {}),
])  # fmt: skip
def test_decoding_takes_what_was_said(format: str, mode: str, options: dict[str, object]) -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()
    content = encode(picture(mode, SIZE), format, **options)
    assert_within(content)


@linux
def test_components_in_scans_of_their_own_are_all_kept() -> None:
    content = planes_jpeg(SIZE)
    assert decoded_bytes(open_image(BytesIO(content))) >= 6 * SIZE[0] * SIZE[1]
    assert_within(content)


def assert_within(content: bytes) -> None:
    resize(open_image(BytesIO(content)), (300, 300))  # so that the decoder and its threads are there
    image = open_image(BytesIO(content))
    forget_peak()
    before = peak()
    image.draft(None, (256, 256))
    resize(image, (300, 300))
    # Of strips, tables and what the allocator of a large process rounds there are some MB, however large the image is.
    assert peak() - before <= decoded_bytes(open_image(BytesIO(content))) + 16 * MEGABYTE


@linux
def test_a_header_that_lies_costs_no_more_than_is_granted() -> None:
    content = boxes_patched(encode(picture(size=(8000, 8000)), "AVIF", speed=10), 16, 16)
    image = open_image(BytesIO(content))
    assert decoded_bytes(image) < MEGABYTE
    forget_peak()
    before = peak()
    with pytest.raises(NotAnImage), at_most(1):
        resize(image, (100, 100))
    assert peak() - before < 70 * MEGABYTE


@linux
def test_more_than_granted_is_the_images_fault_and_the_next_one_is_fine() -> None:
    with pytest.raises(NotAnImage, match="more than the 10 MB"), at_most(10):
        np.ones(20_000_000)
    assert np.ones(20_000_000).sum() == 20_000_000


@linux
def test_what_a_mapped_file_takes_is_given_back_and_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"weights " * 4_000_000)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert mapped.rfind(b"nothing") == -1  # which reads every page
        before = held()
        give_back(path)
        assert before - held() > 25 * MEGABYTE
        assert mapped[-8:] == b"weights "
