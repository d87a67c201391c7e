"""Two web machines and three that classify, on one PostgreSQL: what they may cost each other, and what they must not.

make test-chaos runs it. CHAOS_UPLOADS sets how many images.
"""

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import pytest

from classifier.bundle import Bundle
from config.tests.chaos import Clock, assert_nothing_lost
from config.tests.environment import PHOTOS, image_bytes
from config.tests.machines import CLUSTER, WEB, Machine, Site, site, timed
from config.tests.service import photo_variants, wait_until

pytestmark = pytest.mark.chaos

UPLOADS = int(os.environ.get("CHAOS_UPLOADS", "60"))
WAITING = 1200  # images: more than machines of any speed classify in the two seconds until there are as many again
PAIRS = 10
ANSWERS = "SELECT count(*), extract(epoch FROM clock_timestamp()) FROM witness WHERE what = 'answer'"
UNRENDERED = "SELECT count(*) FROM predictions_imageprediction WHERE rendered_at IS NULL"
CLUSTERS = ("a", "b", "c")


def start(place: Site, *clusters: str) -> tuple[list[Machine], dict[str, Machine]]:
    """Start two web machines, and machines that classify."""
    webs = [place.add(name, WEB) for name in ("web1", "web2")]
    others = {name: place.add(name, CLUSTER) for name in clusters}
    for machine in [*webs, *others.values()]:
        machine.start()
    return webs, others


def upload(webs: list[Machine], contents: list[bytes]) -> dict[int, bytes]:
    """Upload through both web machines, eight clients at a time; return the contents by id."""
    with ThreadPoolExecutor(8) as pool:
        ids = pool.map(lambda pair: webs[pair[0] % len(webs)].accept(pair[1]), enumerate(contents))
        return dict(zip(ids, contents, strict=True))


def test_three_machines_classify_every_image_once(tmp_path: Path, small_bundle: Bundle) -> None:
    with site(tmp_path, small_bundle) as place:
        webs, _ = start(place, *CLUSTERS)
        accepted = upload(webs, photo_variants(10 * UPLOADS))
        place.wait_idle()
        assert place.statuses() == {"done": 10 * UPLOADS}
        once = dict.fromkeys(accepted, 1)
        assert place.witnessed("claim") == once
        assert place.witnessed("answer") == once
        assert set(place.shares()) == set(CLUSTERS)
        print(f"\n{assert_nothing_lost(place, accepted)}; by machine {place.shares()}")


def test_throughput_grows_with_machines(tmp_path: Path, real_bundle: Bundle) -> None:
    """Of machines with a core each, one works alone and then all together, for a second each time.

    Whatever else runs here slows both alike, and there are many such pairs. Machines that were in each other's way, by
    a lock say, would do together what one does.
    """
    cores = sorted(os.sched_getaffinity(0))[: len(CLUSTERS)]
    if len(cores) < 2:
        pytest.skip("machines need a core each")
    photos = [path.read_bytes() for path in sorted(PHOTOS.glob("**/*.jp*g"))] or [image_bytes(size=(800, 600))]
    with site(tmp_path, real_bundle) as place:
        webs, _ = start(place)
        crew = [
            place.add(name, ("taskset", "--cpu-list", str(core), *CLUSTER))
            for name, core in zip(CLUSTERS, cores, strict=False)
        ]
        for machine in crew:
            machine.start()
        upload(webs, [photos[number % len(photos)] + b"%d" % number for number in range(WAITING)])
        wait_until(lambda: place.query(f"{UNRENDERED} OR status <> 'done'") == [(0,)], 600)
        wait_until(lambda: clusters(place) == {machine.name for machine in crew})
        place.manage("reclassify", "--all", "--queue")
        wait_until(lambda: all(rate_of(place, crew, alone) for alone in crew))  # each has heard a bell
        rates = [(rate_of(place, crew, alone), rate_of(place, crew)) for alone in PAIRS * crew]
        assert set(place.shares()) == {machine.name for machine in crew}
    growth = median(together / alone for alone, together in rates)
    alone, together = (median(found) for found in zip(*rates, strict=True))
    print(f"\n{len(crew)} machines do {growth:.2f} times what one does: images/s {together:.0f}, {alone:.0f}")
    assert growth > 1 + 0.2 * (len(crew) - 1)


def rate_of(place: Site, crew: list[Machine], alone: Machine | None = None) -> float:
    """Let the machines, or that one alone, classify for a second what they have classified before; return images/s."""
    place.query("UPDATE predictions_imageprediction SET status = 'pending', attempts = 0 WHERE status = 'done'")
    with ExitStack() as stack:
        for machine in crew:
            if alone not in {None, machine}:
                stack.enter_context(machine.paused())
        time.sleep(0.3)  # what was under way is answered
        [[count, moment]] = place.query(ANSWERS)
        time.sleep(1)
        [[later_count, later]] = place.query(ANSWERS)
    return float((later_count - count) / (later - moment))


def test_a_machine_that_dies_costs_nothing(tmp_path: Path, small_bundle: Bundle) -> None:
    with site(tmp_path, small_bundle, LEASE_SECONDS="5") as place:
        webs, machines = start(place, *CLUSTERS)
        wait_until(lambda: all(web.checks().get("worker") == "ok" for web in webs))
        with ThreadPoolExecutor(1) as pool:
            uploading = pool.submit(upload, webs, photo_variants(10 * UPLOADS))
            wait_until(lambda: place.shares().get("b", 0) > 0)
            machines["b"].kill()
            gone = timed(lambda: clusters(place) == {"a", "c"}, 10)
            accepted = uploading.result()
        assert all(web.checks()["worker"] == "ok" for web in webs)
        place.wait_idle()
        assert place.statuses() == {"done": len(accepted)}
        assert max(place.witnessed("answer").values()) == 1
        machines["a"].kill()
        machines["c"].kill()
        red = timed(lambda: "No worker" in webs[0].checks()["worker"], 30)
        figures = f"{place.shares()}; unseen after {gone:.1f} s, the last after {red:.1f} s"
        print(f"\n{assert_nothing_lost(place, accepted)}; by machine {figures}")


def clusters(place: Site) -> set[str]:
    """Return the machines whose clusters report."""
    code = "from predictions.queue import live_clusters; print(*(cluster.host for cluster in live_clusters()))"
    return set(place.manage("shell", "--no-imports", "-c", code).stdout.split())


def test_a_machine_without_the_model_leaves_the_images_to_others(tmp_path: Path, small_bundle: Bundle) -> None:
    with site(tmp_path, small_bundle) as place:
        webs, machines = start(place, "a", "b")
        poor = place.add("c", CLUSTER)
        shutil.rmtree(poor.folder / "var" / "models")
        poor.start()
        wait_until(lambda: "1 of 3 machines" in str(webs[0].get("/readyz").get("warnings")), 40)
        assert webs[0].get("/readyz")["status"] == "ready"
        single = [timed_upload(webs[0], number) for number in range(20)]
        accepted = upload(webs, photo_variants(5 * UPLOADS))
        place.wait_idle()
        assert set(place.shares()) == {"a", "b"}
        assert set(place.witnessed("claim").values()) == {1}
        assert set(place.statuses()) == {"done"}
        wait_until(lambda: "leaves the images to others" in poor.log())
        place.copy_model(poor)
        for machine in machines.values():
            machine.kill()
        more = upload(webs, photo_variants(3))
        place.wait_idle()
        assert place.shares()["c"] == len(more)
        waited = f"median {median(single):.2f}, max {max(single):.2f} s"
        print(f"\n{len(accepted) + 23} done, none by c before it had the model; alone, upload to result: {waited}")


def timed_upload(web: Machine, number: int) -> float:
    """Return how many seconds it takes from an upload to its labels."""
    pk = web.accept(image_bytes(size=(200 + number, 150)))
    return timed(lambda: web.status(pk) == "done", 30)


def test_clocks_that_differ_cost_nothing(tmp_path: Path, small_bundle: Bundle) -> None:
    with site(tmp_path, small_bundle, LEASE_SECONDS="15") as place:
        for name, hours in (("fast", -1), ("slow", 1)):
            (tmp_path / f"clock-{name}").mkdir()
            clock = Clock(tmp_path / f"clock-{name}")
            clock.set_back(hours)
            place.add(name, CLUSTER, **clock.environment).start()
        webs, _ = start(place, "right")
        accepted = upload(webs, photo_variants(10 * UPLOADS))
        place.wait_idle()
        once = dict.fromkeys(accepted, 1)
        assert place.witnessed("claim") == place.witnessed("answer") == once
        # A machine that is behind hears the bells late, and has its own sweep.
        assert {"fast", "right"} <= set(place.shares())
        shares = place.shares()
        for machine in place.machines:
            if machine.name in {"fast", "right"}:
                machine.kill()
        seconds = [timed_upload(webs[0], number) for number in range(2)]
        figures = f"by machine {shares}; then the slow one alone, upload to result {max(seconds):.1f} s at most"
        print(f"\n{assert_nothing_lost(place, accepted)}; {figures}")


def test_another_secret_key_delays_but_loses_nothing(tmp_path: Path, small_bundle: Bundle) -> None:
    """Its bells are refused, its reports not believed: the machine's own sweep finds the images."""
    with site(tmp_path, small_bundle) as place:
        webs, _ = start(place)
        place.add("stranger", CLUSTER, SECRET_KEY="another" * 10).start()
        seconds = [timed_upload(webs[0], number) for number in range(3)]
        assert "No worker" in webs[0].checks()["worker"]
        assert set(place.witnessed("claim").values()) == {1}
        print(f"\nupload to result {[round(each, 1) for each in seconds]} s")
