"""Labels as names of folders: safe on every system, no two labels alike, and back again."""

import hashlib
import re
from urllib.parse import unquote

LONGEST = 120  # bytes; the names of files and folders may have 255, and paths have many of them
# What some system forbids in names, or would read as something else: also "%", which marks what stands for such.
UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|%]|^[.~-]|^ | $|\.$')
# Windows opens devices by these names, in any folder and whatever follows a dot.
DEVICE = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\.|$)")


def folder_of(label: str) -> str:
    """Return a folder's name for a label: percent-encoded where need be, shortened and told apart if very long."""
    name = UNSAFE.sub(lambda found: _encode(found[0]), label)
    if DEVICE.match(name):
        name = _encode(name[0]) + name[1:]
    if len(name.encode()) <= LONGEST:
        return name
    return f"{name.encode()[:LONGEST].decode(errors='ignore')}~{hashlib.sha256(label.encode()).hexdigest()[:8]}"


def label_of(folder: str) -> str:
    """Return the label that folder_of() made a folder's name of, unless that was shortened."""
    return unquote(folder, errors="ignore")


def _encode(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())
