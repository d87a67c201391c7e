"""Taking private metadata out of GIF (GIF89a, 17 to 27)."""

EXTENSION, PICTURE, TRAILER = 0x21, 0x2C, 0x3B
GRAPHICS_CONTROL, APPLICATION = 0xF9, 0xFF
LOOPS = (b"NETSCAPE2.0", b"ANIMEXTS1.0")


def strip_gif(content: bytes) -> bytes:
    """Return pictures and loops alone. Raises LookupError if the file is damaged."""
    at = 13 + _table(content[10])
    parts = [content[:at]]
    while content[at] != TRAILER:
        if content[at] == EXTENSION:
            end = _blocks_end(content, at + 2)
            loops = content[at + 1] == APPLICATION and content[at + 3 : at + 14] in LOOPS
            if loops or content[at + 1] == GRAPHICS_CONTROL:
                parts.append(content[at:end])
        elif content[at] == PICTURE:
            end = _blocks_end(content, at + 11 + _table(content[at + 9]))
            parts.append(content[at:end])
        else:
            raise IndexError(at)
        at = end
    return b"".join((*parts, b"\x3b"))


def _table(flags: int) -> int:
    """Return the bytes of a colour table."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _blocks_end(content: bytes, at: int) -> int:
    """Return where a chain of blocks ends, each with its length before it, the last empty."""
    while content[at]:
        at += 1 + content[at]
    return at + 1
