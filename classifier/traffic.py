"""Which version classifies an image: shares of the traffic, decided by the image's content."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from classifier.models import ModelVersion

WHOLE = 100  # percent
HEX_DIGITS = 15  # of a SHA-256: enough that no share is off by more than chance


class TrafficError(ValueError):
    """Shares that cannot be given. The message is for the person who asked for them."""


@dataclass(frozen=True)
class Traffic:
    """The versions that classify, with their shares. The serving one has what the others leave.

    The same photo always meets the same version: each has a stretch of the hashes' range, in the order of installation,
    and the serving version the last.
    """

    serving: ModelVersion
    others: Sequence[ModelVersion] = ()  # with a share above 0
    shadows: Sequence[ModelVersion] = ()  # which classify too, without anybody seeing it

    def version_for(self, sha256: str) -> ModelVersion:
        """Return the version that is to classify an image with that SHA-256, hexadecimal."""
        position = int(sha256[:HEX_DIGITS], 16) * WHOLE // 16**HEX_DIGITS
        index = bisect_right(list(accumulate(version.share for version in self.others)), position)
        return self.others[index] if index < len(self.others) else self.serving

    def shares(self) -> dict[ModelVersion, int]:
        """Return the percentages of all versions that answer, the serving one first."""
        given = {version: version.share for version in self.others}
        return {self.serving: WHOLE - sum(given.values()), **given}

    def labels(self) -> set[str]:
        """Return the labels of all versions that answer."""
        return {label for version in self.shares() for label in version.labels()}
