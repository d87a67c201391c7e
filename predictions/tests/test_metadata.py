"""What a photo tells of people and places stays out of renditions, and with STRIP_METADATA out of originals."""

import hashlib
import random
import struct
import tracemalloc
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from PIL import ExifTags, Image, ImageCms, ImageSequence, PngImagePlugin

from classifier.images import open_image, orientation, upright_size
from classifier.models import ModelVersion
from predictions import metadata, synchronous, tasks, uploads
from predictions.models import ImagePrediction
from predictions.tests.corpus import (
    Fate,
    Sample,
    encode,
    grey_tiff,
    mutated,
    picture,
    png,
    segment,
    small_corpus,
    tiff,
    with_segments,
)
from predictions.uploads import UploadRejected

SECRET = b"SECRET-PLACE"
WEBP_IN_TIFF = 50001  # a compression that may hold metadata of its own
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def private_exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Artist] = SECRET.decode()
    exif[ExifTags.Base.DateTime] = "2024:05:06 07:08:09"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSAreaInformation] = SECRET
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2024:05:06 07:08:09"
    return exif


def private(format: str, orientation: int = 6) -> bytes:
    """Return a photo that gives its place away wherever the format lets it."""
    image, xmp = picture(), b"<x:xmpmeta>" + SECRET + b"</x:xmpmeta>"
    options: dict[str, Any] = {"exif": private_exif(orientation), "icc_profile": PROFILE}
    if format == "JPEG":
        content = encode(image, format, xmp=xmp, comment=SECRET, **options)
        thumbnail = segment(0xE0, b"JFXX\0\x10" + SECRET)
        return with_segments(content, segment(0xED, b"Photoshop 3.0\0" + SECRET), thumbnail) + SECRET
    if format == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_text("Comment", SECRET.decode())
        text.add_text("Place", SECRET.decode(), zip=True)
        text.add_itxt("XML:com.adobe.xmp", xmp.decode())
        return encode(image, format, pnginfo=text, **options) + SECRET
    if format == "WEBP":
        return encode(image, format, xmp=xmp, **options) + SECRET
    if format == "GIF":
        further = [image.rotate(90), image.rotate(180)]
        return encode(image, format, comment=SECRET, save_all=True, append_images=further, loop=0) + SECRET
    return encode(image, format) + SECRET


def frames(content: bytes) -> list[Any]:
    return [np.asarray(frame.convert("RGBA")) for frame in ImageSequence.Iterator(Image.open(BytesIO(content)))]


@pytest.mark.parametrize("turned", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_stripping_keeps_pixels_orientation_and_profile(format: str, turned: int) -> None:
    content = private(format, turned)
    expected = turned if format in {"JPEG", "PNG", "WEBP"} else 1
    assert SECRET in content
    stripped = metadata.strip(content, format, expected)
    image = open_image(BytesIO(stripped))
    assert SECRET not in stripped
    assert b"2024:05:06" not in stripped
    assert orientation(image) == expected
    assert dict(image.getexif()) == ({ExifTags.Base.Orientation: turned} if expected > 1 else {})
    assert not image.getexif().get_ifd(ExifTags.IFD.GPSInfo)
    assert image.info.get("icc_profile") == Image.open(BytesIO(content)).info.get("icc_profile")
    for before, after in zip(frames(content), frames(stripped), strict=True):
        np.testing.assert_array_equal(before, after)
    assert metadata.strip(stripped, format, expected) == stripped


@pytest.mark.parametrize("turned", [1, 3, 6, 8])
@pytest.mark.parametrize(("format", "mode"), [("HEIF", "RGB"), ("HEIF", "RGBA"), ("AVIF", "RGB"), ("AVIF", "RGBA")])
def test_heic_and_avif_are_the_same_picture_and_tell_nothing(format: str, mode: str, turned: int) -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()
    image = picture(mode, (600, 400))
    content = encode(image, format, exif=private_exif(turned), xmp=SECRET * 9, icc_profile=PROFILE)
    content += struct.pack(">I4s", 8 + len(SECRET), b"uuid") + SECRET + SECRET  # a box, and what is none
    stripped = metadata.strip(content, format, turned)
    assert SECRET in content
    assert SECRET not in stripped
    assert b"2024:05:06" not in stripped
    before, after = (open_image(BytesIO(file)) for file in (content, stripped))
    assert (before.size, before.mode, orientation(before)) == (after.size, after.mode, orientation(after))
    assert set(after.getexif()) <= {ExifTags.Base.Orientation}
    assert "xmp" not in after.info
    assert before.info.get("icc_profile") == after.info.get("icc_profile")
    np.testing.assert_array_equal(np.asarray(before), np.asarray(after))
    assert metadata.strip(stripped, format, turned) == stripped


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_film_in_avif_goes_on_and_tells_nothing(mode: str) -> None:
    image = picture(mode, (200, 160))
    further = [image.rotate(turned) for turned in (20, 90, 150)]
    content = encode(
        image, "AVIF", save_all=True, append_images=further, exif=private_exif(1), xmp=SECRET, icc_profile=PROFILE
    )
    stripped = metadata.strip(content + SECRET, "AVIF", 1)
    assert (b"moov" in stripped, SECRET in content, SECRET in stripped) == (True, True, False)
    assert len(frames(stripped)) == 4
    for before, after in zip(frames(content), frames(stripped), strict=True):
        np.testing.assert_array_equal(before, after)
    assert metadata.strip(stripped, "AVIF", 1) == stripped


def test_a_films_times_and_sound_are_gone() -> None:
    image = picture()
    content = encode(image, "AVIF", save_all=True, append_images=[image.rotate(9)])
    for timed in (b"mvhd", b"tkhd", b"mdhd"):
        at = content.index(timed) + 8
        assert metadata.strip(content, "AVIF", 1)[at : at + 16] == bytes(16)
    sound = metadata.strip(content.replace(b"hdlr\0\0\0\0\0\0\0\0pict", b"hdlr\0\0\0\0\0\0\0\0soun", 2), "AVIF", 1)
    frame = content[-20:]
    assert (frame in metadata.strip(content, "AVIF", 1), frame in sound) == (True, False)
    with pytest.raises(metadata.CannotStrip, match="fragments"):
        metadata.strip(content + struct.pack(">I4s", 8, b"moof"), "AVIF", 1)


COMPRESSIONS = [None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd", "lzma"]
MODES = ["L", "P", "RGB", "RGBA", "CMYK", "LAB", "YCbCr", "I;16", "I;16B"]


@pytest.mark.parametrize("is_big", [False, True])
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("mode", MODES)
def test_a_tiff_is_the_same_picture_and_tells_nothing(mode: str, compression: str | None, is_big: bool) -> None:
    if compression == "jpeg" and mode in {"P", "I;16", "I;16B"}:
        pytest.skip("is none of JPEG's")
    if mode == "I;16B" and is_big:
        pytest.skip("Pillow reads no BigTIFF in this order of bytes")
    image = picture("I;16").convert(mode) if mode == "I;16B" else picture(mode)
    options: dict[str, Any] = {"exif": private_exif(6), "icc_profile": PROFILE, "description": SECRET.decode()}
    content = encode(image, "TIFF", compression=compression, big_tiff=is_big, **options) + SECRET
    stripped = metadata.strip(content, "TIFF", 6)
    before, after = (open_image(BytesIO(file)) for file in (content, stripped))
    assert (SECRET in content, SECRET in stripped, b"2024:05:06" in stripped) == (True, False, False)
    assert (before.size, before.mode, orientation(before)) == (after.size, after.mode, orientation(after))
    assert before.info.get("icc_profile") == after.info.get("icc_profile")
    assert not after.getexif().get_ifd(ExifTags.IFD.GPSInfo)
    np.testing.assert_array_equal(np.asarray(before), np.asarray(after))
    assert metadata.strip(stripped, "TIFF", 6) == stripped


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt"])
def test_a_fax_is_the_same_picture(compression: str) -> None:
    content = encode(picture("1"), "TIFF", compression=compression, description=SECRET.decode())
    stripped = metadata.strip(content, "TIFF", 1)
    assert SECRET not in stripped
    np.testing.assert_array_equal(frames(stripped)[0], frames(content)[0])


def test_pages_of_a_tiff_stay_and_previews_of_them_go() -> None:
    pages = [picture("L", (40, 30)), picture("L", (8, 6)), picture("L", (30, 40))]
    pages[1].encoderinfo = {"tiffinfo": {254: 1}}
    content = encode(pages[0], "TIFF", save_all=True, append_images=pages[1:], software=SECRET.decode())
    assert [frame.shape for frame in frames(content)] == [(30, 40, 4), (6, 8, 4), (40, 30, 4)]
    stripped = metadata.strip(content, "TIFF", 1)
    assert [frame.shape for frame in frames(stripped)] == [(30, 40, 4), (40, 30, 4)]
    assert SECRET not in stripped


def test_a_jpeg_within_a_tiff_tells_nothing_either() -> None:
    jpeg = encode(picture("L", (64, 64)), "JPEG", comment=SECRET, exif=private_exif(1))
    tags = grey_tiff(64, 64, t259=7, t279=len(jpeg))
    content = tiff(tags, data=b"\0" * (134 - 8 - 2 - 12 * len(tags) - 4) + jpeg)
    stripped = metadata.strip(content, "TIFF", 1)
    assert (SECRET in content, SECRET in stripped, b"2024:05:06" in stripped) == (True, False, False)
    np.testing.assert_array_equal(frames(stripped)[0], frames(content)[0])


@pytest.mark.parametrize(
    "damage",
    [
        {"t279": 63},  # fewer bytes than pixels
        {"t273": 2**31},  # beyond the file
        {"t258": 2**31},
    ],
)
def test_a_tiff_whose_parts_are_elsewhere_ends_in_a_sentence(damage: dict[str, int]) -> None:
    with pytest.raises(metadata.CannotStrip, match="damaged"):
        metadata.strip(tiff(grey_tiff(8, 8, **damage), data=bytes(100)), "TIFF", 1)


def test_a_tiff_whose_parts_lie_over_each_other_costs_nothing() -> None:
    count = 100_000
    tags = {**grey_tiff(8, 8), 273: (4, count, 200), 279: (4, count, 200)}
    with pytest.raises(metadata.CannotStrip, match="damaged"):
        metadata.strip(tiff(tags, data=bytes(100) + struct.pack("<I", 200_000) * count), "TIFF", 1)
    in_circles = tiff(grey_tiff(8, 8), following=8, data=bytes(100))
    assert len(metadata.strip(in_circles, "TIFF", 1)) <= len(in_circles)


def box(kind: bytes, content: bytes) -> bytes:
    """Return a box of ISO/IEC 14496-12, 4.2."""
    return struct.pack(">I4s", 8 + len(content), kind) + content


def test_boxes_that_tell_something_are_emptied_wherever_they_are() -> None:
    picture_alone, secret = encode(picture(), "AVIF"), box(b"keys", SECRET) + box(b"ilst", SECRET)
    content = picture_alone + box(b"moov", box(b"meta", bytes(4) + secret) + secret) + box(b"meta", bytes(4) + secret)
    assert SECRET not in metadata.strip(content, "AVIF", 1)
    at = picture_alone.index(b"pixi")  # a property, in whose place another one is put
    for kind in (b"altt", b"itai", b"cmex", b"udes", b"trak"):
        told = metadata.strip(picture_alone.replace(b"pixi", kind), "AVIF", 1)
        assert told[at : at + 12] == b"free" + bytes(8)


def test_tracks_within_tracks_and_chunks_without_end_cost_nothing() -> None:
    content, chunks = encode(picture(), "AVIF"), 50_000
    table = box(b"stco", struct.pack(">II", 0, chunks) + bytes(4 * chunks))
    table += box(b"stsz", struct.pack(">III", 0, 1, chunks)) + box(b"stsc", bytes(8))
    media = box(b"hdlr", bytes(8) + b"pict" + bytes(13)) + box(b"minf", box(b"stbl", table))
    nested = box(b"trak", box(b"mdia", media))
    for _ in range(1000):
        nested = struct.pack(">I4s", 8 + len(nested), b"trak") + nested
    for film in (nested, box(b"trak", box(b"mdia", media)), box(b"trak", b"") * 5000):
        with pytest.raises(metadata.CannotStrip, match="damaged"):
            metadata.strip(content + box(b"moov", film), "AVIF", 1)
    stores = box(b"mdat", b"") * 5000
    assert len(metadata.strip(content + stores, "AVIF", 1)) == len(content) + len(stores)


def big_tiff(following: int) -> bytes:
    """Return a BigTIFF of a grey pixel, and where its next page is to be."""
    tags = {256: 1, 257: 1, 258: 8, 259: 1, 262: 1, 273: 0, 277: 1, 278: 1, 279: 1}
    entries = b"".join(struct.pack("<HHQQ", tag, 4, 1, value) for tag, value in tags.items())
    return b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, len(tags)) + entries + struct.pack("<Q", following)


@pytest.mark.parametrize("following", [2**63, 2**64 - 1, 10**6])
def test_a_page_beyond_everything_ends_in_a_sentence(following: int) -> None:
    assert metadata.strip(big_tiff(0), "TIFF", 1)
    with pytest.raises(metadata.CannotStrip, match="damaged"):
        metadata.strip(big_tiff(following), "TIFF", 1)


def test_a_page_without_a_picture_ends_in_a_sentence() -> None:
    first = tiff(grey_tiff(8, 8), following=200, data=bytes(300))
    second = struct.pack("<HHHII", 1, 256, 4, 1, 8) + bytes(4)
    with pytest.raises(metadata.CannotStrip, match="damaged"):
        metadata.strip(first[:200] + second + first[200 + len(second) :], "TIFF", 1)


def test_pages_that_lie_over_each_other_cost_nothing() -> None:
    pages = b"".join(struct.pack("<HI", 0, 8 + 6 * number) for number in range(1, 1_000_000))
    with pytest.raises(metadata.CannotStrip, match="damaged"):
        metadata.strip(b"II*\0" + struct.pack("<I", 8) + pages, "TIFF", 1)


def test_a_tiff_whose_picture_is_beside_its_pages_is_refused() -> None:
    preview = tiff({**grey_tiff(8, 8, t254=1), 330: (4, 1, 8)}, data=bytes(300))
    with pytest.raises(metadata.CannotStrip, match="preview"):
        metadata.strip(preview, "TIFF", 1)


@pytest.mark.parametrize("filling", [b"\xff\xed\0\2", b"\xff", b"\xff\0", b"\xff\xd0", b"\xff\xda\0\2"])
def test_a_jpeg_of_many_segments_costs_nothing(filling: bytes) -> None:
    """Its megabytes must not become a hundred times as many, nor its bytes take a loop each."""
    content = encode(picture(), "JPEG")[:-2] + filling * (8_000_000 // len(filling)) + b"\xff\xd9"
    tracemalloc.start()
    with suppress(metadata.CannotStrip):
        metadata.strip(content, "JPEG", 1)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 4 * len(content)


@pytest.mark.parametrize("format", ["HEIF", "AVIF", "TIFF"])
def test_what_is_damaged_ends_in_a_sentence(format: str) -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()
    image, chance = picture(), random.Random(1)
    film = {"save_all": True, "append_images": [image.rotate(9)]} if format == "AVIF" else {}
    content = encode(image, format, exif=private_exif(1), xmp=SECRET, **film)
    for _ in range(1000):
        damaged = mutated(content, chance)
        with suppress(metadata.CannotStrip):
            assert len(metadata.strip(damaged, format, 1)) <= len(damaged)


@pytest.mark.parametrize("options", [{"progressive": True}, {"restart_marker_rows": 1}, {"quality": 100}])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_every_kind_of_jpeg_is_the_same_picture(mode: str, options: dict[str, Any]) -> None:
    content = encode(picture(mode), "JPEG", **options)
    np.testing.assert_array_equal(frames(metadata.strip(content, "JPEG", 1))[0], frames(content)[0])


def test_further_pictures_of_a_phones_jpeg_are_not_kept() -> None:
    first = picture()
    content = encode(first, "MPO", save_all=True, append_images=[first.rotate(180)], exif=private_exif(1))
    stripped = metadata.strip(content, "MPO", 1)
    assert open_image(BytesIO(stripped)).format == "JPEG"
    np.testing.assert_array_equal(frames(stripped)[0], frames(content)[0])


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_animations_go_on(format: str) -> None:
    image = picture()
    content = encode(
        image, format, save_all=True, append_images=[image.rotate(90)], exif=private_exif(1), lossless=True
    )
    stripped = metadata.strip(content, format, 1)
    assert len(frames(stripped)) == 2
    for before, after in zip(frames(content), frames(stripped), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.django_db
def test_originals_are_stored_stripped_and_the_row_tells_of_the_stored_file(
    client: Client, settings: Any, upload: Any, model: ModelVersion
) -> None:
    settings.STRIP_METADATA = True
    body = client.post("/predictions/", {"file": upload("a.jpg", private("JPEG"))}).json()
    stored = (Path(settings.MEDIA_ROOT) / body["image_path"]).read_bytes()
    assert SECRET not in stored
    assert (body["size"], body["sha256"]) == (len(stored), hashlib.sha256(stored).hexdigest())
    assert (body["width"], body["height"]) == (80, 120)
    tasks.classify_pending()
    prediction = ImagePrediction.objects.get()
    assert (prediction.status, prediction.taken_at) == ("done", None)


@pytest.mark.django_db
@pytest.mark.parametrize("format", ["HEIF", "AVIF", "TIFF"])
def test_files_with_zeros_in_them_are_stored_stripped(client: Client, settings: Any, upload: Any, format: str) -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()
    settings.STRIP_METADATA = True
    content = encode(picture(), format, exif=private_exif(6), xmp=SECRET)
    body = client.post("/predictions/", {"file": upload("a.jpg", content)}).json()
    stored = (Path(settings.MEDIA_ROOT) / body["image_path"]).read_bytes()
    assert (SECRET in content, SECRET in stored) == (True, False)
    assert (body["width"], body["height"], body["size"]) == (*upright_size(open_image(BytesIO(content))), len(stored))
    assert len(stored) <= len(content)


@pytest.mark.django_db
def test_who_only_asks_is_answered_by_the_version_that_the_upload_meets(settings: Any, submit: Any) -> None:
    settings.STRIP_METADATA = True
    assert synchronous.question(private("JPEG")).sha256 == submit("a.jpg", private("JPEG")).sha256
    unknown = tiff(grey_tiff(8, 8, t259=WEBP_IN_TIFF))  # which is no upload, and of which nothing is kept
    assert synchronous.question(unknown).content == unknown


@pytest.mark.django_db
def test_what_cannot_be_stripped_is_refused(client: Client, settings: Any, upload: Any) -> None:
    settings.STRIP_METADATA = True
    response = client.post("/predictions/", {"file": upload("a.jpg", tiff(grey_tiff(8, 8, t259=WEBP_IN_TIFF)))})
    assert response.status_code == 400
    assert "no private metadata" in response.json()["detail"]
    assert not [path for path in Path(settings.MEDIA_ROOT).rglob("*") if path.is_file()]


def test_hostile_files_are_stripped_or_refused_and_never_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [*small_corpus(), Sample("cut.png", png(500, 500)[:-1000], Fate.ANY)]
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda image: pytest.fail("pixels were decoded"))
    for sample in samples:
        with suppress(UploadRejected):  # nothing else may be raised
            accepted = uploads.inspect(SimpleUploadedFile(sample.name, sample.content))
            uploads.without_metadata(SimpleUploadedFile(sample.name, sample.content), accepted)


@pytest.mark.django_db
def test_by_default_originals_stay_as_they_are(client: Client, settings: Any, upload: Any) -> None:
    content = private("JPEG")
    body = client.post("/predictions/", {"file": upload("a.jpg", content)}).json()
    assert (Path(settings.MEDIA_ROOT) / body["image_path"]).read_bytes() == content


def riff_chunks(content: bytes) -> set[bytes]:
    """Return the kinds of chunks of a WebP (RFC 9649, 2.3)."""
    kinds, at = set(), 12
    while at < len(content):
        kind, length = content[at : at + 4], struct.unpack("<I", content[at + 4 : at + 8])[0]
        kinds.add(kind)
        at += 8 + length + length % 2
    return kinds


@pytest.mark.django_db
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_renditions_hold_the_picture_alone(
    client: Client, settings: Any, upload: Any, model: ModelVersion, format: str
) -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()
    if format in {"TIFF", "AVIF", "HEIF"}:
        content = encode(picture(), format, exif=private_exif(1), icc_profile=PROFILE, xmp=SECRET)
    else:
        content = private(format)
    assert client.post("/predictions/", {"file": upload("a.jpg", content)}).status_code == 201
    tasks.classify_pending()
    made = list((Path(settings.MEDIA_ROOT) / "renditions").rglob("*.webp"))
    assert len(made) == (2 if format in {"TIFF", "AVIF", "HEIF"} else 1)
    for path in made:
        rendition = path.read_bytes()
        assert riff_chunks(rendition) <= {b"VP8 "}
        assert SECRET not in rendition
        assert int.from_bytes(rendition[4:8], "little") + 8 == len(rendition)
