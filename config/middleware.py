"""What the framework's own middleware does not do for clients of an API."""

from collections.abc import Callable
from functools import partial

from django.http import HttpRequest, HttpResponse, HttpResponsePermanentRedirect, JsonResponse
from django.middleware.common import CommonMiddleware


class MethodKeepingCommonMiddleware(CommonMiddleware):
    """Redirects to the address with a slash by 308: after a 301, a POST would arrive as a GET, its file lost."""

    response_redirect_class = partial(HttpResponsePermanentRedirect, preserve_request=True)  # type: ignore[assignment]


def require_content_length(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[..., HttpResponse]:
    """Answer 411 to a body in chunks of unknown number: Django reads none of it, and would say that it is empty."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if "chunked" in request.headers.get("Transfer-Encoding", "").lower():
            return JsonResponse({"detail": "Send the Content-Length; chunked bodies are not accepted"}, status=411)
        return get_response(request)

    return middleware
