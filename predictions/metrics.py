"""What web processes and workers count for Prometheus, each in mapped files of its own (PROMETHEUS_MULTIPROC_DIR).

Labels have few values, all of our own making: no ids, no names, nothing that a client sends. What the database knows
is not counted but asked for when Prometheus does: predictions/gauges.py.
"""

from prometheus_client import Counter, Histogram

# Why an upload is refused: the `reason` of each predictions.uploads.Refusal and of predictions.storage.StorageAway, and
# what ends a whole request unread (config/limits.py).
REASONS = (
    "empty",
    "too_large",
    "too_many_pixels",
    "too_costly",
    "not_an_image",
    "metadata",
    "bad_key",
    "key_reused",
    "already_deleted",
    "queue_full",
    "storage_full",
    "quota_exceeded",
    "storage_away",
    "rate_limited",
    "request_too_large",
)
SOURCES = ("page", "admin", "api", "command")

UPLOADS_ACCEPTED = Counter("classification_uploads_accepted_total", "Files that were accepted, from pages and API.")
UPLOADS_REFUSED = Counter("classification_uploads_refused_total", "Files that were refused, by reason.", ["reason"])
CORRECTIONS = Counter("classification_corrections_total", "Corrections that people made, by where.", ["source"])
RESULTS = Counter(
    "classification_results_total",
    "Images that a worker has looked at. failed: it cannot be classified; late: it was deleted, or somebody else's by "
    "then; error: something else is broken, and it is tried again.",
    ["outcome", "model_version"],
)
INFERENCE = Histogram(
    "classification_inference_seconds",
    "Decoding an image and classifying it.",
    ["model_version"],
    buckets=(0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
END_TO_END = Histogram(
    "classification_end_to_end_seconds",
    "From joining the queue, by upload or to be classified again, to the labels.",
    buckets=(0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600),
)
CLAIMS_EXPIRED = Counter(
    "classification_claims_expired_total",
    "Images whose worker died or hung. returned: to the queue; failed: for good, after the last attempt.",
    ["outcome"],
)

# From the first scrape on: of a series that begins with its first event, that event is in no rate.
for _metric, _values in (
    (UPLOADS_REFUSED, REASONS),
    (CORRECTIONS, SOURCES),
    (CLAIMS_EXPIRED, ("returned", "failed")),
):
    for _value in _values:
        _metric.labels(_value)
