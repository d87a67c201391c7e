"""What a photo tells of people and places stays out of renditions, and with STRIP_METADATA out of originals."""

import hashlib
import random
import struct
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
from predictions.tests.corpus import Fate, Sample, encode, mutated, picture, png, segment, small_corpus, with_segments
from predictions.uploads import UploadRejected

SECRET = b"SECRET-PLACE"
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


@pytest.mark.parametrize("format", ["HEIF", "AVIF"])
def test_damaged_heic_and_avif_end_in_a_sentence(format: str) -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()
    content, chance = encode(picture(), format, exif=private_exif(1), xmp=SECRET), random.Random(1)
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
@pytest.mark.parametrize("format", ["HEIF", "AVIF"])
def test_heic_and_avif_are_stored_stripped(client: Client, settings: Any, upload: Any, format: str) -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()
    settings.STRIP_METADATA = True
    content = encode(picture(), format, exif=private_exif(6), xmp=SECRET)
    body = client.post("/predictions/", {"file": upload("a.jpg", content)}).json()
    stored = (Path(settings.MEDIA_ROOT) / body["image_path"]).read_bytes()
    assert (SECRET in content, SECRET in stored) == (True, False)
    assert (body["width"], body["height"], body["size"]) == (*upright_size(open_image(BytesIO(content))), len(content))


@pytest.mark.django_db
def test_who_only_asks_is_answered_by_the_version_that_the_upload_meets(settings: Any, submit: Any) -> None:
    settings.STRIP_METADATA = True
    assert synchronous.question(private("JPEG")).sha256 == submit("a.jpg", private("JPEG")).sha256
    tiff = encode(picture(), "TIFF")  # which is no upload, and of which nothing is kept
    assert synchronous.question(tiff).content == tiff


@pytest.mark.django_db
def test_what_cannot_be_stripped_is_refused(client: Client, settings: Any, upload: Any) -> None:
    settings.STRIP_METADATA = True
    response = client.post("/predictions/", {"file": upload("a.jpg", encode(picture(), "TIFF"))})
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
