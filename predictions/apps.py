import gc
import mimetypes

from django.apps import AppConfig


class PredictionsConfig(AppConfig):
    name = "predictions"

    def ready(self) -> None:
        from django_q.signals import post_spawn

        from predictions import checks, queue  # noqa: F401  (checks registers itself)

        # Python 3.11 knows these from /etc/mime.types only, which a container's system has not.
        for extension in ("avif", "heic", "webp"):
            mimetypes.add_type(f"image/{extension}", f".{extension}")
        # A worker that starts, for the first time or in place of a dead one, looks for what waits; nobody has to ring.
        post_spawn.connect(queue.ring_at_worker_start, dispatch_uid="ring_at_worker_start")
        # django-q2 forks six processes after this. Frozen objects are left alone by the garbage collector, which would
        # write to, and so copy, the memory they share: 40 MB less in all.
        gc.collect()
        gc.freeze()
