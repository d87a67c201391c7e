"""Taking private metadata out of TIFF (TIFF 6.0, part 1, section 2; BigTIFF).

Parts are found by their place. Nothing is moved, therefore: directories lose entries, and what belongs to none of those
that stay becomes zeros.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from predictions.metadata.errors import CannotStrip
from predictions.metadata.jpeg import strip_jpeg

SUBFILE, WIDTH, LENGTH, BITS, COMPRESSION, SAMPLES = 254, 256, 257, 258, 259, 277
JPEG_TABLES = 347
DATA = ((273, 279), (324, 325))  # of strips, and of tiles: where they are, and their bytes
# What decoders need: TIFF 6.0's tags of pictures and colours, and the colour profile.
KEPT = {
    SUBFILE, 255, WIDTH, LENGTH, BITS, COMPRESSION, *range(262, 267), 273, 274, *range(SAMPLES, 285), *range(290, 294),
    296, 297, 301, *range(317, 326), 332, 334, 336, *range(338, 343), JPEG_TABLES, *range(529, 533), 34675,
}  # fmt: skip
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
INTEGERS = {3: "H", 4: "I", 16: "Q"}
UNCOMPRESSED, JPEG = 1, 7
# Compressions that hold pixels alone: fax, LZW, Deflate, PackBits, ThunderScan, LogLuv, LZMA, Zstandard.
BARE = {UNCOMPRESSED, 2, 3, 4, 5, 8, 32771, 32773, 32809, 32946, 34676, 34677, 34925, 50000}
# Strips and tiles; pages and what they say of themselves count for more, as they are kept in the memory.
MOST, PAGE, ENTRY = 1_000_000, 100, 10
REDUCED = 1  # of SUBFILE's bits: a preview of another page


def strip_tiff(content: bytes) -> bytes:
    """Return the pages alone, where they were. Raises LookupError, ValueError and struct.error if it is damaged."""
    tiff = _Tiff(content)
    file, end = bytearray(len(content)), tiff.first + tiff.pointer
    pages = [page for page in tiff.pages() if page.at == tiff.start or not tiff.value(page, SUBFILE, 0) & REDUCED]
    if tiff.value(pages[0], SUBFILE, 0) & REDUCED:  # as cameras' raw files have it: the picture is beside the pages
        raise CannotStrip("a TIFF that begins with a preview")
    for page in pages:
        for start, kept in tiff.parts(page):
            file[start : start + len(kept)] = kept
            end = max(end, start + len(kept))
    # What refers to other parts comes last, so that none of them lies over it.
    for page, following in zip(pages, [*(page.at for page in pages[1:]), 0], strict=True):
        directory = tiff.directory(page, following)
        file[page.at : page.at + len(directory)] = directory
        end = max(end, page.at + len(directory))
    file[: tiff.first + tiff.pointer] = content[: tiff.first + tiff.pointer]
    return bytes(memoryview(file)[:end])


@dataclass(frozen=True)
class _Entry:
    """What a directory says of a page: the entry itself, and where its values are."""

    raw: bytes
    kind: int
    count: int
    at: int


@dataclass(frozen=True)
class _Page:
    at: int
    entries: dict[int, _Entry]  # those that stay, by tag


class _Tiff:
    """A file's numbers: in its order of bytes, and as wide as it has them."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.order = {b"II": "<", b"MM": ">"}[content[:2]]
        version: int = struct.unpack_from(self.order + "H", content, 2)[0]
        self.is_big = {42: False, 43: True}[version]
        # Where the first directory's place is named, and the bytes of such a place, and of a value within an entry.
        self.first, self.pointer = (8, 8) if self.is_big else (4, 4)
        self.start = self.unpack("P", self.first)
        self.left = MOST
        self.room = 2 * len(content)  # places and lengths are read twice

    def unpack(self, letter: str, at: int) -> int:
        """Return a number, as wide as one of struct's letters says; P is a place or a count, N counts entries."""
        if at > len(self.content):
            raise IndexError(at)
        number: int = struct.unpack_from(self.order + self._sized(letter), self.content, at)[0]
        return number

    def pack(self, letter: str, number: int) -> bytes:
        return struct.pack(self.order + self._sized(letter), number)

    def _sized(self, letter: str) -> str:
        return {"P": "Q" if self.is_big else "I", "N": "Q" if self.is_big else "H"}.get(letter, letter)

    def pages(self) -> Iterator[_Page]:
        """Return the directories, one after the other, until the last or one that was there before."""
        at, seen = self.start, set[int]()
        while at and at not in seen:
            seen.add(at)
            count, size, begin = self.unpack("N", at), 4 + 2 * self.pointer, at + (8 if self.is_big else 2)
            self._spend(PAGE + ENTRY * count, 0)
            yield _Page(at, dict(self._entries(begin, count)))
            at = self.unpack("P", begin + count * size)

    def _entries(self, at: int, count: int) -> Iterator[tuple[int, _Entry]]:
        size = 4 + 2 * self.pointer
        for start in range(at, at + count * size, size):
            tag = self.unpack("H", start)
            if tag in KEPT:
                kind, values = self.unpack("H", start + 2), self.unpack("P", start + 4)
                within = start + 4 + self.pointer
                place = within if SIZES[kind] * values <= self.pointer else self.unpack("P", within)
                yield tag, _Entry(self.content[start : start + size], kind, values, place)

    def value(self, page: _Page, tag: int, otherwise: int | None = None) -> int:
        """Return the first of a tag's numbers."""
        if tag not in page.entries and otherwise is not None:
            return otherwise
        entry = page.entries[tag]
        return self.unpack(INTEGERS[entry.kind], entry.at)

    def directory(self, page: _Page, following: int) -> bytes:
        """Return a page's directory without the entries that go."""
        entries = [entry.raw for entry in page.entries.values()]
        return b"".join((self.pack("N", len(entries)), *entries, self.pack("P", following)))

    def parts(self, page: _Page) -> Iterator[tuple[int, bytes]]:
        """Return what stays of a page beside its directory, and where: its values, and its pixels."""
        compression = self.value(page, COMPRESSION, UNCOMPRESSED)
        if compression not in BARE | {JPEG}:
            raise CannotStrip("a TIFF compressed in this way")
        for tag, entry in page.entries.items():
            if (size := entry.count * SIZES[entry.kind]) > self.pointer:  # others are in the entry itself
                kept = self._bytes(entry.at, size)
                yield entry.at, _stripped(kept) if tag == JPEG_TABLES else kept
        found = 0
        for start, length in self._data(page):
            kept = self._bytes(start, length)
            yield start, _stripped(kept) if compression == JPEG else kept
            found += length
        if compression == UNCOMPRESSED and found < self._needed(page):
            raise ValueError("fewer bytes than pixels")

    def _data(self, page: _Page) -> Iterator[tuple[int, int]]:
        """Return where each strip or tile begins, and how many bytes it has."""
        places, lengths = DATA[DATA[0][0] not in page.entries]
        return zip(self._numbers(page.entries[places]), self._numbers(page.entries[lengths]), strict=True)

    def _numbers(self, entry: _Entry) -> Iterator[int]:
        self._spend(entry.count, 0)
        values = self._bytes(entry.at, entry.count * SIZES[entry.kind])
        return (number for (number,) in struct.iter_unpack(self.order + INTEGERS[entry.kind], values))

    def _needed(self, page: _Page) -> int:
        """Return the bytes of a page's pixels, uncompressed."""
        row = self.value(page, WIDTH) * self.value(page, BITS, 1) * self.value(page, SAMPLES, 1)
        return (row + 7) // 8 * self.value(page, LENGTH)

    def _bytes(self, start: int, length: int) -> bytes:
        """Return bytes of the file, all of them together not many more than it has: parts may lie over each other."""
        if start + length > len(self.content):
            raise IndexError(start)
        self._spend(0, length)
        return self.content[start : start + length]

    def _spend(self, parts: int, size: int) -> None:
        self.left, self.room = self.left - parts, self.room - size
        if self.left < 0 or self.room < 0:
            raise ValueError("more parts than anybody needs")


def _stripped(jpeg: bytes) -> bytes:
    """Return a JPEG without its metadata and, behind its end, as many zeros."""
    stripped = strip_jpeg(jpeg)
    if len(stripped) > len(jpeg):
        raise ValueError("longer than before")
    return stripped.ljust(len(jpeg), b"\0")
