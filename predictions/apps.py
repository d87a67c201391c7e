from django.apps import AppConfig


class PredictionsConfig(AppConfig):
    name = "predictions"

    def ready(self) -> None:
        from django_q.signals import post_spawn

        from predictions import checks, queue  # noqa: F401  (checks registers itself)

        # A worker that starts, for the first time or in place of a dead one, looks for what waits; nobody has to ring.
        post_spawn.connect(queue.ring_at_worker_start, dispatch_uid="ring_at_worker_start")
