"""How many images wait, and how long, for CloudWatch: deploy/aws/scaled.yaml starts and stops workers by it.

The length of the queue does not tell: one bell may stand for thousands of rows.
"""

import json
import sys
import time
from contextlib import suppress

from django.conf import settings

from predictions.models import ImagePrediction
from predictions.queue import CacheAway, live_workers

METRICS = {"Backlog": "Count", "OldestSeconds": "Seconds", "Workers": "Count"}


def report_backlog() -> None:
    """Print how many images wait, since when, and how many workers live anywhere, unless CLOUDWATCH_NAMESPACE is empty.

    One line in the embedded metric format, which CloudWatch makes metrics of on its way into the logs: without SDK,
    permission or call.
    """
    if not settings.CLOUDWATCH_NAMESPACE:
        return
    longest = ImagePrediction.objects.longest_wait()
    values = {
        "Backlog": ImagePrediction.objects.pending().count(),
        "OldestSeconds": round(longest.total_seconds()) if longest else 0,
    }
    with suppress(CacheAway):
        values["Workers"] = live_workers()
    about = {
        "Namespace": settings.CLOUDWATCH_NAMESPACE,
        "Dimensions": [[]],
        "Metrics": [{"Name": name, "Unit": METRICS[name]} for name in values],
    }
    line = {"_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [about]}, **values}
    sys.stdout.write(json.dumps(line) + "\n")  # whole, whatever other processes print
    sys.stdout.flush()
