"""What web and two workers take, with the real model and the pictures that take most: as much as their containers have.

make test-chaos prints the figures, which deploy/README.md and deploy/aws/README.md choose hosts by.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path

import pytest
import yaml

from classifier.bundle import Bundle
from config.tests.environment import ROOT, image_bytes
from config.tests.service import Service, wait_until

pytestmark = pytest.mark.chaos

LARGEST = (8000, 5500)  # pixels of a PNG in colour: what MAX_DECODED_MB just allows


def most_taken(service: Service, contents: Sequence[bytes]) -> dict[str, int]:
    """Upload from eight clients, and return the most MiB that web and workers took until all had their labels."""
    most = {"web": 0, "worker": 0}

    def look() -> None:
        most.update({part: max(most[part], taken) for part, taken in service.memory().items()})

    def all_done() -> bool:
        look()
        return {row["status"] for row in service.rows().values()} <= {"done"}

    with ThreadPoolExecutor(8) as pool:
        uploads = [pool.submit(service.accept, content) for content in contents]
        while not all(upload.done() for upload in uploads):
            look()
    wait_until(all_done, 120)
    return most


def test_web_and_two_workers_fit_into_their_containers(
    tmp_path: Path, real_bundle: Bundle, photos: dict[Path, str]
) -> None:
    services = yaml.safe_load((ROOT / "deploy/compose.prod.yaml").read_text())["services"]
    limits = {part: services[part]["deploy"]["resources"]["limits"]["memory"] for part in ("web", "worker")}
    with Service(tmp_path, real_bundle, "", WORKERS="2", WEB_WORKERS="2") as service:
        burst = most_taken(service, [photo.read_bytes() + b"%d" % n for n, photo in zip(range(200), cycle(photos))])
        largest = image_bytes("PNG", size=LARGEST)
        worst = most_taken(service, [largest + b"%d" % number for number in range(4)])
    print(f"\nMiB in a burst: {burst}, together {sum(burst.values())}; with the largest pictures: {worst}")
    assert all(taken < int(limits[part].removesuffix("m")) for part, taken in worst.items())
    assert burst["worker"] < worst["worker"]
