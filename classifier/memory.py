"""A bound on what decoding takes, for files whose headers lie: the kernel refuses more, and the decoder gives up.

And what a process can give back.
"""

import ctypes
import mmap
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from classifier.images import NotAnImage

STATM = Path("/proc/self/statm")
MAPS = Path("/proc/self/maps")
SLACK_MB = 10  # a decoder's stack and tables, strips, the encoder of thumbnails


@contextmanager
def at_most(megabytes: float) -> Iterator[None]:
    """Let this process take so many MB more than it has, and SLACK_MB. Raises NotAnImage when that is not enough.

    Where the kernel does not tell what the process has, as outside Linux, nothing is bounded.
    """
    if not STATM.exists():
        yield
        return
    data = int(STATM.read_text().split()[5]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_DATA)
    bound = data + int((megabytes + SLACK_MB) * 1_000_000)
    if before[0] != resource.RLIM_INFINITY:
        bound = min(bound, before[0])
    resource.setrlimit(resource.RLIMIT_DATA, (bound, before[1]))
    try:
        yield
    except MemoryError as error:
        raise NotAnImage(f"Decoding the image takes more than the {megabytes:.0f} MB that are granted") from error
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def give_back(path: Path) -> None:
    """Let go of the pages of a file that this process has mapped and hardly reads again; the next read fetches them.

    Where the kernel does not tell what is mapped, as outside Linux, they stay.
    """
    if not MAPS.exists():
        return
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    for line in MAPS.read_text().splitlines():
        place, *_, name = line.split(maxsplit=5)
        if name == str(path.resolve()):
            begin, end = (int(address, 16) for address in place.split("-"))
            madvise(begin, end - begin, mmap.MADV_DONTNEED)
