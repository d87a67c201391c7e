"""How many images wait, for CloudWatch: deploy/aws/scaled.yaml starts and stops workers by it.

The length of the queue does not tell: one bell may stand for thousands of rows.
"""

import json
import sys
import time
from contextlib import suppress

from django.conf import settings

from predictions.models import ImagePrediction
from predictions.queue import CacheAway, live_workers

METRICS = ("Backlog", "Workers")


def report_backlog() -> None:
    """Print waiting images and living worker processes, of all machines, unless CLOUDWATCH_NAMESPACE is empty.

    One line in the embedded metric format, which CloudWatch makes metrics of on its way into the logs: without SDK,
    permission or call.
    """
    if not settings.CLOUDWATCH_NAMESPACE:
        return
    values = {"Backlog": ImagePrediction.objects.pending().count()}
    with suppress(CacheAway):
        values["Workers"] = live_workers()
    about = {
        "Namespace": settings.CLOUDWATCH_NAMESPACE,
        "Dimensions": [[]],
        "Metrics": [{"Name": name, "Unit": "Count"} for name in values],
    }
    line = {"_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [about]}, **values}
    sys.stdout.write(json.dumps(line) + "\n")  # whole, whatever other processes print
    sys.stdout.flush()
