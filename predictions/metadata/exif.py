"""EXIF data of an orientation alone."""

from PIL import ExifTags, Image


def exif(orientation: int) -> bytes:
    """Return EXIF data that has nothing but an orientation, 1 to 8; nothing at all for upright images (1)."""
    if orientation == 1:
        return b""
    data = Image.Exif()
    data[ExifTags.Base.Orientation] = orientation
    return data.tobytes()
