"""Taking private metadata out of HEIC and AVIF, films too (ISO/IEC 14496-12 and 23008-12).

Parts are found by their place. Nothing is moved, therefore: what is not of the picture becomes zeros, where it lies.
"""

from collections.abc import Iterator
from itertools import islice

from predictions.metadata.errors import CannotStrip

PICTURES = {b"hvc1", b"av01", b"grid", b"iovl", b"iden", b"tmap"}  # types of items that decoders need
# What stays of a file (none), of what shows pictures (meta) and of what shows films (moov).
KEPT = {
    b"": {b"ftyp", b"meta", b"moov", b"mdat"},
    b"meta": {b"hdlr", b"pitm", b"iloc", b"iinf", b"iref", b"iprp", b"idat", b"grpl", b"dinf"},
    b"moov": {b"mvhd", b"trak"},
    b"trak": {b"tkhd", b"mdia", b"edts", b"tref"},
    b"mdia": {b"mdhd", b"hdlr", b"minf"},
    b"minf": {b"vmhd", b"nmhd", b"hdlr", b"dinf", b"stbl"},
    b"stbl": {
        b"stsd",
        b"stts",
        b"ctts",
        b"cslg",
        b"stsz",
        b"stsc",
        b"stco",
        b"co64",
        b"stss",
        b"sdtp",
        b"sbgp",
        b"sgpd",
    },
    b"iprp": {b"ipco", b"ipma"},
}
# Of pictures' properties (ipco), which are of many kinds, what goes: descriptions, times, places of cameras, and what
# belongs elsewhere.
TELLING = {b"uuid", b"udes", b"altt", b"crtt", b"mdft", b"itai", b"cmex", b"free", b"skip"}.union(*KEPT.values())
NAME = 24  # bytes before a handler's
TIMED = {b"mvhd", b"tkhd", b"mdhd"}  # which begin with times of creation and change
# Boxes of boxes, and what comes before those.
PARENTS = {b"meta": 4} | dict.fromkeys([b"iprp", b"ipco", b"moov", b"trak", b"mdia", b"minf", b"stbl"], 0)
SEEN = {b"pict", b"vide", b"auxv"}  # handlers of tracks that are pictures, or their transparency
MOST = 10_000  # boxes, and parts of items: files of phones have some hundred
MOST_TRACKS, MOST_FRAMES = 8, 20_000
Span = tuple[int, int]  # first byte, and the one behind the last


def strip_boxes(content: bytes) -> bytes:
    """Return the file with zeros for what is not of the picture. Raises LookupError and ValueError if it is damaged."""
    file = bytearray(content)
    places, stores, end = _survey(file)
    if len(places.get(b"iloc", [])) != 1 or len(places.get(b"iinf", [])) != 1:
        raise ValueError("not one set of pictures")
    kept = _pictures(file, *places[b"iinf"][0])
    begin = places[b"idat"][0][0] if b"idat" in places else 0
    spans = [span for number, span in _extents(file, places[b"iloc"][0][0], begin) if number in kept]
    tracks = places.get(b"trak", [])
    if len(tracks) > MOST_TRACKS:
        raise ValueError("more tracks than anybody needs")
    spans += [span for track in tracks for span in _frames(file, places, track)]
    _empty_between(file, sorted(stores), sorted(spans))
    return bytes(memoryview(file)[:end])


def _empty_between(file: bytearray, stores: list[Span], spans: list[Span]) -> None:
    """Write zeros into the stores, which do not overlap, but for the spans."""
    position = 0
    for first, last in stores:
        at = first
        while position < len(spans) and spans[position][0] < last:
            start, stop = spans[position]
            if start > at:
                file[at:start] = bytes(start - at)
            at = max(at, stop)
            if stop > last:
                break  # it goes on in the next one
            position += 1
        if at < last:
            file[at:last] = bytes(last - at)


def _survey(file: bytearray) -> tuple[dict[bytes, list[Span]], list[Span], int]:
    """Return the contents of all boxes by type, those that hold items' data, and the end of the last; empty others."""
    places: dict[bytes, list[Span]] = {}
    stores, todo, end, count = [], [(0, len(file), b"")], 0, 0
    while todo:
        first, last, parent = todo.pop()
        for kind, start, stop, head in _boxes(file, first, last):
            if (count := count + 1) > MOST:
                raise ValueError("more boxes than anybody needs")
            end = max(end, stop)
            if kind == b"moof":
                raise CannotStrip("a film in fragments")
            if kind not in KEPT[parent] if parent in KEPT else kind in TELLING:
                file[head : head + 4] = b"free"
                file[start:stop] = bytes(stop - start)
                continue
            places.setdefault(kind, []).append((start, stop))
            if kind in PARENTS:
                todo.append((start + PARENTS[kind], stop, kind))
            elif kind in {b"mdat", b"idat"}:
                stores.append((start, stop))
            elif kind in TIMED:
                wide = _number(file, start, 1) == 1
                _empty(file, start + 4, min(start + (20 if wide else 12), stop))
            elif kind == b"hdlr":
                _empty(file, start + NAME, stop)
    return places, stores, end


def _empty(file: bytearray, first: int, last: int) -> None:
    """Write zeros from one place up to another."""
    if first < last:
        file[first:last] = bytes(last - first)


def _boxes(file: bytearray, first: int, last: int) -> Iterator[tuple[bytes, int, int, int]]:
    """Return each box's type, where its content begins and ends, and where its type stands, up to what is no box."""
    while first + 8 <= last:
        size, head = _number(file, first, 4), 8
        if size == 1:
            size, head = _number(file, first + 8, 8), 16
        stop = first + size if size else last
        if (size and size < head) or stop > last:
            return
        yield bytes(file[first + 4 : first + 8]), first + head, stop, first + 4
        first = stop


def _pictures(file: bytearray, start: int, stop: int) -> set[int]:
    """Return the numbers of the items that are pictures, and have decoders take no notice of the others."""
    found = set()
    for kind, first, last, _ in _boxes(file, start + (8 if file[start] else 6), stop):
        version = file[first]
        if kind != b"infe" or version not in {2, 3}:
            raise ValueError("an item without a type")
        size = version * 2 - 2
        at = first + 4 + size + 2
        if at + 4 > last:
            raise IndexError(at)
        if bytes(file[at : at + 4]) in PICTURES:
            found.add(_number(file, first + 4, size))
        else:
            file[at : at + 4] = b"free"
        _empty(file, at + 4, last)  # its name
    return found


def _extents(file: bytearray, at: int, begin: int) -> Iterator[tuple[int, Span]]:
    """Return the number of each item and where a part of it lies, from `iloc`; `begin` is where `idat` does."""
    version, sizes = file[at], _number(file, at + 4, 2)
    for_offset, for_length, for_base = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    for_index = sizes & 15 if version else 0
    for_number = 4 if version == 2 else 2
    count, at, total = _number(file, at + 6, for_number), at + 6 + for_number, 0
    for _ in range(count):
        number, at = _number(file, at, for_number), at + for_number
        method, at = (_number(file, at, 2) & 15, at + 2) if version else (0, at)
        if method > 1:
            raise ValueError("an item inside another")
        base, at = _number(file, at + 2, for_base) + begin * method, at + 2 + for_base
        parts, at = _number(file, at, 2), at + 2
        if (total := total + 1 + parts) > MOST:
            raise ValueError("more parts than anybody needs")
        for _ in range(parts):
            at += for_index
            start = base + _number(file, at, for_offset)
            length, at = _number(file, at + for_offset, for_length), at + for_offset + for_length
            yield number, (start, start + length if length else len(file))


def _frames(file: bytearray, places: dict[bytes, list[Span]], track: Span) -> Iterator[Span]:
    """Return where the frames of a track are, a chunk of them at a time; those of sound and of data are none."""
    boxes = {
        kind: span[0] + 4 for kind, spans in places.items() for span in spans if track[0] <= span[0] < track[1]
    }  # behind version and flags
    if bytes(file[boxes[b"hdlr"] + 4 : boxes[b"hdlr"] + 8]) not in SEEN:
        return
    sizes = _sizes(file, boxes[b"stsz"])
    runs, run = boxes[b"stsc"], -1
    count_runs, frames = _number(file, runs, 4), 0
    wide = 8 if b"co64" in boxes else 4
    chunks = boxes[b"co64" if wide == 8 else b"stco"]
    count_chunks = _number(file, chunks, 4)
    if count_chunks > MOST_FRAMES:
        raise ValueError("more chunks than anybody needs")
    for chunk in range(count_chunks):
        # Each run says from which chunk on, counted from 1, a chunk has so many frames.
        if run + 1 < count_runs and _number(file, runs + 4 + 12 * (run + 1), 4) == chunk + 1:
            run += 1
            frames = _number(file, runs + 8 + 12 * run, 4)
        start = _number(file, chunks + 4 + wide * chunk, wide)
        yield start, start + sum(islice(sizes, frames))


def _sizes(file: bytearray, at: int) -> Iterator[int]:
    """Return the bytes of each frame, from `stsz`."""
    each, count = _number(file, at, 4), _number(file, at + 4, 4)
    if count > MOST_FRAMES:
        raise ValueError("more frames than anybody needs")
    return (each or _number(file, at + 8 + 4 * frame, 4) for frame in range(count))


def _number(file: bytearray, at: int, size: int) -> int:
    if at + size > len(file):
        raise IndexError(at)
    return int.from_bytes(file[at : at + size], "big")
