"""Hostile files, made anew each time: what attackers, broken cameras and broken disks send.

`corpus()` is deterministic. What is written by hand here follows: PNG (W3C PNG third edition), GIF89a, TIFF 6.0, BMP
(BITMAPINFOHEADER), WebP (RFC 9649), JPEG (ITU-T T.81).
"""

import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from io import BytesIO
from itertools import pairwise

import pillow_heif
from PIL import ExifTags, Image, ImageCms, PngImagePlugin, TiffImagePlugin

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
SUFFIX = {"JPEG": "jpg", "TIFF": "tif", "HEIF": "heic"}


class Fate(Enum):
    """What may become of a file."""

    DONE = "accepted and classified"
    REFUSED = "answered with 4xx"
    NOT_DONE = "refused, or failed with a sentence"
    ANY = "any of these: damage may leave a picture"


@dataclass(frozen=True)
class Sample:
    """A file, what it is called and what may become of it."""

    name: str
    content: bytes
    fate: Fate


def corpus() -> Iterator[Sample]:
    """Return all of it, one file after the other: together they are some 100 MB."""
    pillow_heif.register_heif_opener()  # to write HEIC
    for make in (_bombs, _largest, _frames, _nested, _chunks, _parts, _damaged, _disguised, _modes, _oriented):
        yield from make()


def small_corpus() -> Iterator[Sample]:
    """Return what takes no second to make or to decode."""
    pillow_heif.register_heif_opener()
    for make in (_bombs, _nested, _damaged, _disguised, _modes):
        yield from make()


def picture(mode: str = "RGB", size: tuple[int, int] = (120, 80)) -> Image.Image:
    """Return an image with some structure."""
    grey = Image.linear_gradient("L").resize(size)
    image = Image.merge("RGB", (grey, grey.transpose(Image.Transpose.FLIP_TOP_BOTTOM), grey))
    if mode in {"I", "F", "I;16"}:
        return grey.convert("I").point(lambda value: value * 257 + 0).convert(mode)
    if mode == "LAB":
        lab = ImageCms.createProfile("LAB")
        changed = ImageCms.profileToProfile(image, ImageCms.createProfile("sRGB"), lab, outputMode="LAB")
        assert changed
        return changed
    return image.convert(mode)


def encode(image: Image.Image, format: str, **options: object) -> bytes:
    """Return an image's file; `options` are Pillow's."""
    file = BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


# --- The formats by hand ----------------------------------------------------------------------------------------------


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *, bits: int = 8, colour: int = 2, extra: bytes = b"", pixels: bool = True) -> bytes:
    """Return a black PNG of any size, compressed a thousandfold; `extra` chunks come before the pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    row = bytes(1 + width * bits * {0: 1, 2: 3, 4: 2, 6: 4}[colour] // 8)
    packer = zlib.compressobj(1)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush() if pixels else zlib.compress(row)
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def gif(width: int, height: int, frames: int = 1, frame: tuple[int, int] = (1, 1)) -> bytes:
    """Return a GIF of any canvas with any number of frames of a pixel each."""
    one = (
        b"\x21\xf9\x04\x00\x01\x00\x00\x00" + b"\x2c" + struct.pack("<HHHHB", 0, 0, *frame, 0) + b"\x02\x02\x44\x01\x00"
    )
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes((0, 0, 0, 255, 255, 255))
    return screen + one * frames + b"\x3b"


def webp(width: int, height: int) -> bytes:
    """Return an extended WebP that says its canvas is so large, around a small picture."""
    small = encode(picture(), "WEBP")[12:]
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBP" + b"VP8X" + struct.pack("<II", 10, 0) + canvas + small
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tiff(tags: dict[int, tuple[int, int, int]], following: int = 0, data: bytes = b"") -> bytes:
    """Return a TIFF of one directory: tag -> type, count, value or offset; behind it at `following`, then data."""
    entries = b"".join(struct.pack("<HHII", tag, *value) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", following) + data


def grey_tiff(width: int, height: int, **changed: int) -> dict[int, tuple[int, int, int]]:
    """Return the tags of an uncompressed grey picture whose strip lies behind the directory."""
    values = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 134, 277: 1, 278: height, 279: width * height}
    values |= {int(tag.removeprefix("t")): value for tag, value in changed.items()}
    return {tag: (4, 1, min(value, 2**32 - 1)) for tag, value in values.items()}


def bmp(width: int, height: int) -> bytes:
    """Return a BMP that says it is so large and has no pixels."""
    return b"BM" + struct.pack("<IIIIiiHHIIIIII", 54, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


def segment(marker: int, data: bytes) -> bytes:
    """Return a segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def with_segments(jpeg: bytes, *segments: bytes) -> bytes:
    """Return a JPEG with further segments behind its first marker."""
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def sized(jpeg: bytes, width: int, height: int) -> bytes:
    """Return a JPEG that says it is so large."""
    frame = next(at for at in range(2, len(jpeg)) if jpeg[at] == 0xFF and jpeg[at + 1] in {0xC0, 0xC2})
    return jpeg[: frame + 5] + struct.pack(">HH", height, width) + jpeg[frame + 9 :]


def planes_jpeg(size: tuple[int, int]) -> bytes:
    """Return a sequential JPEG with each component in a scan of its own: a decoder has to keep all coefficients."""
    one = encode(picture("L", size), "JPEG", quality=50)
    frame, scan = one.index(b"\xff\xc0"), one.index(b"\xff\xda")
    width, height = size
    components = b"".join(bytes((number, 0x11, 0)) for number in (1, 2, 3))
    start = segment(0xC0, struct.pack(">BHHB", 8, height, width, 3) + components)
    tables = one[frame + 13 : scan]
    scans = b"".join(segment(0xDA, bytes((1, number, 0, 0, 63, 0))) + one[scan + 10 : -2] for number in (1, 2, 3))
    return one[:frame] + start + tables + scans + b"\xff\xd9"


def scans_jpeg(size: tuple[int, int], scans: int) -> bytes:
    """Return a progressive JPEG whose last scan comes so often, in a few bytes each: it is decoded as often."""
    one = encode(Image.new("L", size), "JPEG", progressive=True)
    last = one.rindex(b"\xff\xda")
    return one[:last] + one[last:-2] * scans + b"\xff\xd9"


def boxes_patched(content: bytes, width: int, height: int) -> bytes:
    """Return a HEIC or AVIF whose `ispe` boxes (ISO/IEC 23008-12, 6.5.3) say that it is so large."""
    parts = content.split(b"ispe")
    changed = [part[:4] + struct.pack(">II", width, height) + part[12:] for part in parts[1:]]
    return b"ispe".join([parts[0], *changed])


# --- What attackers send ----------------------------------------------------------------------------------------------


def _bombs() -> Iterator[Sample]:
    """Small files that say, or are, far too much."""
    for name, content in {
        "bomb-100000.png": png(100_000, 100_000, pixels=False),
        "bomb-max.png": _header_bomb(),
        "bomb-8001.png": png(8001, 8000, colour=0),
        "line.png": png(70_000, 1, colour=0),
        "column.png": png(1, 70_000, colour=0),
        "bomb.gif": gif(65_535, 65_535),
        "bomb-frame.gif": gif(1, 1, 1, (65_535, 65_535)),
        "bomb.webp": webp(16_383, 16_383),
        "bomb-vp8x.webp": webp(1 << 24, 1 << 24),
        "bomb.bmp": bmp(60_000, 60_000),
        "bomb-negative.bmp": bmp(60_000, -60_000),
        "bomb.tif": tiff(grey_tiff(100_000, 100_000)),
        "bomb-max.tif": tiff(grey_tiff(2**32 - 1, 2**32 - 1)),
        "bomb-tile.tif": tiff(
            grey_tiff(100, 100, t322=65_536, t323=65_536, t324=134, t325=100, t259=8), data=bytes(100)
        ),
        "bomb.jpg": sized(encode(picture(), "JPEG"), 65_500, 65_500),
        "bomb.avif": boxes_patched(encode(picture(), "AVIF"), 60_000, 60_000),
        "bomb.heic": boxes_patched(encode(picture(), "HEIF"), 60_000, 60_000),
    }.items():
        yield Sample(name, content, Fate.REFUSED)
    # More pixels in the file than its header says, or fewer.
    for name, content in {
        "larger-than-said.avif": boxes_patched(encode(picture(size=(1024, 1024)), "AVIF"), 16, 16),
        "larger-than-said.heic": boxes_patched(encode(picture(size=(1024, 1024)), "HEIF"), 16, 16),
        "smaller-than-said.avif": boxes_patched(encode(picture(), "AVIF"), 3000, 3000),
        "smaller-than-said.heic": boxes_patched(encode(picture(), "HEIF"), 3000, 3000),
        "smaller-than-said.webp": webp(3000, 3000),
        "smaller-than-said.png": png(3000, 3000, pixels=False),
        "smaller-than-said.tif": tiff(grey_tiff(3000, 3000), data=bytes(10)),
        "smaller-than-said.bmp": bmp(3000, 3000),
        "smaller-than-said.jpg": sized(encode(picture(), "JPEG"), 5000, 5000),
    }.items():
        yield Sample(name, content, Fate.ANY)


def _header_bomb() -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 6, 0, 0, 0))


def _largest() -> Iterator[Sample]:
    """The largest that decoding may take: what is accepted of these must fit into the memory that there is."""
    for name, content in {
        "43-megapixels-rgba16.png": png(7500, 5670, bits=16, colour=6),
        "43-megapixels-rgb.png": png(7500, 5670),
        "50-megapixels-grey16.png": png(8000, 6250, bits=16, colour=0),
        "wide.png": png(65_535, 648),
        "tall.png": png(648, 65_535),
        "huge.gif": gif(8000, 6250, 1, (8000, 6250)),
        "50-megapixels.jpg": encode(Image.new("RGB", (8000, 6250)), "JPEG"),
        "50-megapixels-cmyk.jpg": encode(Image.new("CMYK", (8000, 6250)), "JPEG"),
    }.items():
        yield Sample(name, content, Fate.ANY if name == "huge.gif" else Fate.DONE)
    large = Image.new("RGB", (8000, 6250))
    for name, content in {
        "50-megapixels-progressive-444.jpg": encode(large, "JPEG", progressive=True, subsampling=0),
        "50-megapixels.png": encode(large, "PNG"),
        "50-megapixels-planes.jpg": planes_jpeg((8000, 6250)),
        "50-megapixels-cmyk-progressive.jpg": encode(large.convert("CMYK"), "JPEG", progressive=True),
        "50-megapixels.webp": encode(large, "WEBP", method=0),
        "50-megapixels.avif": encode(large, "AVIF", speed=10),
        "50-megapixels.heic": encode(large, "HEIF", quality=10),
    }.items():
        yield Sample(name, content, Fate.REFUSED)
    yield Sample("16-megapixels.avif", encode(picture(size=(4600, 3500)), "AVIF", speed=10), Fate.DONE)
    liar = boxes_patched(encode(picture(size=(5000, 5000)), "AVIF", speed=10), 16, 16)
    yield Sample("25-megapixels-said-16.avif", liar, Fate.ANY)
    yield Sample("25-megapixels-said-16-of-20-mb.avif", liar.ljust(19_900_000, b"\0"), Fate.ANY)
    yield Sample("scans.jpg", scans_jpeg((8000, 6250), 180), Fate.REFUSED)
    yield Sample("scans-of-a-second.jpg", scans_jpeg((1000, 1000), 990), Fate.DONE)
    yield Sample("11-megapixels.webp", encode(picture("RGBA", (4000, 2750)), "WEBP", method=0), Fate.DONE)
    yield Sample("24-megapixels.heic", encode(picture("RGB", (5712, 4284)), "HEIF", quality=10), Fate.DONE)
    yield Sample(
        "22-megapixels-444.jpg", encode(picture(size=(5700, 4000)), "JPEG", progressive=True, subsampling=0), Fate.DONE
    )
    for mode in ("F", "CMYK", "LAB", "RGBA", "I;16", "1"):
        name = f"37-megapixels-{mode.replace(';', '')}.tif"
        yield Sample(name, encode(picture(mode, (7000, 5340)), "TIFF", compression="tiff_deflate"), Fate.DONE)
    yield Sample("49-megapixels-one-strip.tif", _one_strip((7000, 7000)), Fate.REFUSED)


def _one_strip(size: tuple[int, int]) -> bytes:
    usual, TiffImagePlugin.STRIP_SIZE = TiffImagePlugin.STRIP_SIZE, 2**31
    try:
        return encode(picture(size=size), "TIFF", compression="tiff_deflate")
    finally:
        TiffImagePlugin.STRIP_SIZE = usual


def _frames() -> Iterator[Sample]:
    """More pictures than anybody wants: the first one counts."""
    yield Sample("frames.gif", gif(1, 1, 100_000), Fate.DONE)
    shades = [Image.new("RGB", (60, 40), (shade, 0, 0)) for shade in range(200)]
    for format in ("WEBP", "PNG", "TIFF", "AVIF", "HEIF"):
        options: dict[str, object] = {
            "save_all": True,
            "append_images": shades[1:20] if format == "AVIF" else shades[1:],
        }
        yield Sample(f"frames.{SUFFIX.get(format, format.lower())}", encode(shades[0], format, **options), Fate.DONE)
    control = chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))
    yield Sample("frames-said.png", png(60, 40, extra=control), Fate.ANY)
    pages = tiff(grey_tiff(4, 4, t273=122), 122 + 16, bytes(16))
    directory = len(tiff({}, 0)) - 8
    yield Sample("empty-pages.tif", pages + _pages(len(pages), 100_000, directory), Fate.DONE)


def _pages(start: int, count: int, size: int) -> bytes:
    starts = range(start + size, start + size * (count + 1), size)
    return b"".join(struct.pack("<HI", 0, following) for following in starts)


def _nested() -> Iterator[Sample]:
    """Directories that lead to themselves, and tags that point anywhere."""
    tags = grey_tiff(4, 4, t273=122)
    yield Sample("loop.tif", tiff(tags, 8, bytes(16)), Fate.DONE)
    for tag in (330, 34665, 34853, 40965):  # SubIFDs, Exif, GPS, interoperability
        looping = tags | {tag: (4, 1, 8), 273: (4, 1, 134)}
        yield Sample(f"loop-{tag}.tif", tiff(looping, 8, bytes(16)), Fate.DONE)
        exif = b"Exif\0\0" + tiff({tag: (4, 1, 8), 274: (3, 1, 6)}, 8)
        yield Sample(f"loop-{tag}.jpg", with_segments(encode(picture(), "JPEG"), segment(0xE1, exif)), Fate.DONE)
    endless = tags | {270: (2, 2**32 - 1, 8), 273: (4, 1, 134)}
    yield Sample("endless-tag.tif", tiff(endless, 0, bytes(16)), Fate.ANY)
    yield Sample("many-strips.tif", tiff(tags | {273: (4, 2**28, 8), 279: (4, 2**28, 8)}, 0, bytes(16)), Fate.ANY)
    yield Sample("samples.tif", tiff(grey_tiff(4, 4, t277=65_535), 0, bytes(16)), Fate.NOT_DONE)


def _chunks() -> Iterator[Sample]:
    """Metadata without measure."""
    zeros = zlib.compress(bytes(60_000_000), 9)
    texts = chunk(b"zTXt", b"k\0\0" + zeros)
    many = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(900_000))) * 200
    profile = chunk(b"iCCP", b"k\0\0" + zeros)
    yield Sample("text-bomb.png", png(60, 40, extra=texts), Fate.ANY)
    yield Sample("text-bombs.png", png(60, 40, extra=many), Fate.ANY)
    yield Sample("profile-bomb.png", png(60, 40, extra=profile), Fate.ANY)
    yield Sample("chunks.png", png(60, 40, extra=chunk(b"tEXt", b"k\0v") * 100_000), Fate.ANY)
    behind = png(60, 40)
    yield Sample("text-bombs-behind.png", behind[:-12] + many + behind[-12:], Fate.ANY)
    jpeg = encode(picture(), "JPEG")
    full = segment(0xE2, bytes(65_000))
    yield Sample("segments.jpg", with_segments(jpeg, *[segment(0xE5, b"x")] * 100_000), Fate.DONE)
    yield Sample("full-segments.jpg", with_segments(jpeg, *[full] * 250), Fate.DONE)
    icc = [segment(0xE2, b"ICC_PROFILE\0" + bytes((number, 255)) + bytes(65_000)) for number in range(1, 256)]
    yield Sample("profile.jpg", with_segments(jpeg, *icc), Fate.ANY)
    comments = [segment(0xFE, b"x" * 60_000)] * 250
    yield Sample("comments.jpg", with_segments(jpeg, *comments), Fate.DONE)
    yield Sample("xmp.webp", encode(picture(), "WEBP", xmp=bytes(15_000_000)), Fate.DONE)
    yield Sample("exif.webp", encode(picture(), "WEBP", exif=b"Exif\0\0" + bytes(15_000_000)), Fate.ANY)


def _parts() -> Iterator[Sample]:
    """Return what has many parts, for whoever goes through them to take metadata out."""
    jpeg, avif = encode(picture(), "JPEG"), encode(picture(), "AVIF")
    yield Sample("segments.jpg", jpeg[:-2] + b"\xff\xed\0\2" * 4_900_000 + jpeg[-2:], Fate.ANY)
    yield Sample("chunks.png", png(8, 8, extra=chunk(b"tEXt", b"") * 1_600_000), Fate.ANY)
    pages = b"".join(struct.pack("<HI", 0, 200 + 6 * number) for number in range(1, 3_000_000))
    yield Sample("pages.tif", tiff(grey_tiff(8, 8), following=200, data=bytes(82) + pages), Fate.ANY)
    offsets = struct.pack("<I", 200) * 2_400_000
    strips = grey_tiff(8, 8) | {273: (4, 2_400_000, 200), 279: (4, 2_400_000, 200)}
    yield Sample("strips.tif", tiff(strips, data=bytes(82) + offsets), Fate.ANY)
    yield Sample("stores.avif", avif + struct.pack(">I4s", 8, b"mdat") * 1_200_000, Fate.ANY)


def _damaged() -> Iterator[Sample]:
    """Cut, flipped, spliced, of every format."""
    chance = random.Random(1)
    files = {format: encode(picture(), format) for format in FORMATS}
    for format, content in files.items():
        suffix = SUFFIX.get(format, format.lower())
        for part in (1, 2, 4, 8, 12, 16, 24, len(content) // 4, len(content) // 2, len(content) - 1):
            yield Sample(f"cut-{part}.{suffix}", content[:part], Fate.ANY if part > 100 else Fate.NOT_DONE)
        for number in range(12):
            yield Sample(f"flipped-{number}.{suffix}", mutated(content, chance), Fate.ANY)
        yield Sample(f"zeros.{suffix}", content[:16] + bytes(5000), Fate.NOT_DONE)
        yield Sample(f"noise.{suffix}", content[:16] + chance.randbytes(5000), Fate.ANY)
        yield Sample(f"tail.{suffix}", content + chance.randbytes(5000), Fate.ANY)
    for (_, one), (_, other) in pairwise(files.items()):
        yield Sample("spliced.bin", one[: len(one) // 2] + other[len(other) // 2 :], Fate.ANY)


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Return a file with a few bytes flipped, cut out, doubled or replaced by extreme numbers."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 6)):
        at, length = chance.randrange(len(changed)), chance.randint(1, 64)
        kind = chance.randrange(5)
        if kind == 0:
            changed[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            changed[at] = chance.choice((0, 0x7F, 0x80, 0xFF))
        elif kind == 2 and len(changed) > 200:
            del changed[at : at + length]
        elif kind == 3:
            changed[at:at] = changed[at : at + length]
        else:
            changed[at : at + 4] = struct.pack(">I", chance.choice((0, 2**31 - 1, 2**32 - 1)))
    return bytes(changed)


def _disguised() -> Iterator[Sample]:
    """What is no image, or another thing as well."""
    script = b"<script>alert(1)</script>"
    for name, content in {
        "empty.jpg": b"",
        "nothing.jpg": bytes(1000),
        "svg.jpg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        "html.jpg": b"<!doctype html><html><body>" + script,
        "pdf.jpg": b"%PDF-1.7\n1 0 obj <<>> endobj\n%%EOF",
        "zip.png": b"PK\x03\x04" + bytes(100),
        "postscript.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        "icon.png": encode(picture(size=(64, 64)), "ICO"),
        "jpeg2000.jpg": encode(picture(), "JPEG2000"),
        "targa.jpg": encode(picture(), "TGA"),
        "netpbm.jpg": encode(picture(), "PPM"),
        "mp4.heic": b"\0\0\0\x18ftypmp42" + bytes(100),
        "shell.gif": b"#!/bin/sh\nrm -rf /\n",
        "gif-script.gif": b"GIF89a/*" + script,
    }.items():
        yield Sample(name, content, Fate.REFUSED)
    for format in ("JPEG", "PNG", "GIF"):
        suffix = SUFFIX.get(format, format.lower())
        content = encode(picture(), format)
        yield Sample(f"html-behind.{suffix}", content + b"<html>" + script, Fate.DONE)
        yield Sample(f"zip-behind.{suffix}", content + b"PK\x03\x04" + bytes(30) + b"PK\x05\x06" + bytes(18), Fate.DONE)
    comment = with_segments(encode(picture(), "JPEG"), segment(0xFE, b"*/" + script + b"/*"))
    yield Sample("html-inside.jpg", comment, Fate.DONE)
    yield Sample("jpeg.png", encode(picture(), "JPEG"), Fate.DONE)
    yield Sample("webp.html", encode(picture(), "WEBP"), Fate.DONE)


def _modes() -> Iterator[Sample]:
    """Every kind of pixels that each format holds."""
    for format, modes in {
        "JPEG": ("L", "RGB", "CMYK", "YCbCr"),
        "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
        "WEBP": ("RGB", "RGBA"),
        "GIF": ("L", "P"),
        "BMP": ("1", "L", "P", "RGB", "RGBA"),
        "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I", "F", "I;16"),
        "AVIF": ("RGB", "RGBA"),
        "HEIF": ("L", "RGB", "RGBA"),
    }.items():
        for mode in modes:
            name = f"mode-{mode.replace(';', '')}.{SUFFIX.get(format, format.lower())}"
            yield Sample(name, encode(picture(mode), format), Fate.DONE)
    for bits, colour in ((16, 0), (16, 2), (16, 4), (16, 6)):
        yield Sample(f"bits-{bits}-{colour}.png", png(60, 40, bits=bits, colour=colour), Fate.DONE)
    palette = picture().quantize(16)
    yield Sample("palette.png", encode(palette, "PNG", transparency=3), Fate.DONE)
    yield Sample("palette-alpha.png", encode(palette, "PNG", transparency=bytes(range(16))), Fate.DONE)
    yield Sample("palette.gif", encode(palette, "GIF", transparency=3), Fate.DONE)
    yield Sample("pixel.png", png(1, 1), Fate.DONE)
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "a palm", zip=True)
    yield Sample("text.png", encode(picture(), "PNG", pnginfo=text), Fate.DONE)
    yield Sample("planes.jpg", planes_jpeg((120, 80)), Fate.DONE)


def _oriented() -> Iterator[Sample]:
    """Turned photos with colour profiles."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for format in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"):
        for orientation in (0, *range(1, 10), 65_535):
            exif = Image.Exif()
            exif[ExifTags.Base.Orientation] = orientation
            name = f"orientation-{orientation}.{SUFFIX.get(format, format.lower())}"
            yield Sample(name, encode(picture(), format, exif=exif, icc_profile=profile), Fate.DONE)
    yield Sample("no-profile.jpg", encode(picture(), "JPEG", icc_profile=b"no profile at all" * 50), Fate.DONE)
