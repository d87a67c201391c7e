"""Taking private metadata out of PNG (W3C, PNG third edition, 11)."""

import struct
import zlib

from predictions.metadata.exif import exif

KEPT = {
    b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"cHRM", b"gAMA", b"iCCP", b"sBIT", b"sRGB", b"cICP", b"mDCV", b"cLLI",
    b"bKGD", b"pHYs", b"acTL", b"fcTL", b"fdAT",
}  # fmt: skip
MOST = 100_000  # chunks


def strip_png(content: bytes, orientation: int) -> bytes:
    """Return the picture alone. Raises LookupError and ValueError if the file is damaged."""
    turned = exif(orientation).removeprefix(b"Exif\0\0")
    parts, at = [content[:8]], 8
    while at < len(content):
        if len(parts) > MOST:
            raise ValueError("more chunks than anybody needs")
        length = int.from_bytes(content[at : at + 4], "big")
        kind, end = content[at + 4 : at + 8], at + 12 + length
        if kind in KEPT:
            parts.append(content[at:end])
        if kind == b"IHDR" and turned:
            checksum = zlib.crc32(b"eXIf" + turned)
            parts.append(struct.pack(">I", len(turned)) + b"eXIf" + turned + struct.pack(">I", checksum))
        at = end
        if kind == b"IEND":
            break
    return b"".join(parts)
