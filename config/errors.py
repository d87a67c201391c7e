"""Every error's answer outside DRF: a page with the way back for people, {"detail": sentence} for API clients."""

from http import HTTPStatus

from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.utils.cache import patch_vary_headers

# Behind these addresses are programs, whatever they say that they accept.
# And without the last slash. Those of other services' protocols have another name for the sentence.
PROTOCOL_PATHS = ("/v2/", "/classify/")
PROBE_PATHS = ("/ping/", "/livez/", "/readyz/", "/metrics/")
API_PATHS = ("/predictions/", "/label-rules/", "/models/", "/schema/", *PROBE_PATHS, *PROTOCOL_PATHS)
SENTENCES = {
    400: "The request could not be understood",
    403: "This is not allowed for you",
    404: "There is nothing at this address",
    413: "The request is too large; send less at a time",
    429: "There were too many requests from you; try again in a moment",
    500: "Something went wrong; it was logged",
}
TOO_MANY_PARTS = "The request has too many files, or too many or too large fields; send less at a time"
CSRF_FAILED = "It could not be verified that this form came from our page; allow cookies, reload the page and try again"


def respond(request: HttpRequest, status: int, sentence: str = "") -> HttpResponse:
    """Return the answer of a status, with a sentence of its own if it has one; nothing else of the error is shown.

    The page is the template of that status, or error.html, which titles it with the status' standard phrase.
    """
    sentence = sentence or SENTENCES[status]
    response: HttpResponse
    if wants_json(request):
        key = "error" if f"{request.path_info}/".startswith(PROTOCOL_PATHS) else "detail"
        response = JsonResponse({key: sentence}, status=status)
    else:
        # After a fault of ours, nothing that context processors and base.html read can be relied on.
        source, layout = (request, "base.html") if status < HTTPStatus.INTERNAL_SERVER_ERROR else (None, "_bare.html")
        context = {"sentence": sentence, "heading": HTTPStatus(status).phrase, "layout": layout}
        response = HttpResponse(render_to_string([f"{status}.html", "error.html"], context, source), status=status)
    patch_vary_headers(response, ["Accept"])
    return response


def wants_json(request: HttpRequest) -> bool:
    """Tell an API client, by its address or by what it accepts, from a browser; `*/*` alone is none."""
    if f"{request.path_info}/".startswith(API_PATHS):
        return True
    try:
        return request.get_preferred_type(["text/html", "application/json"]) == "application/json"
    except ValueError:  # a header in a made-up encoding must not fail the answer to a failure
        return False


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 400: the request is malformed, suspicious, or has more parts than Django takes."""
    too_many = isinstance(exception, RequestDataTooBig | TooManyFieldsSent | TooManyFilesSent)
    return respond(request, 400, TOO_MANY_PARTS if too_many else "")


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 403."""
    return respond(request, 403)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer 403 to a form without a valid token; the reason is in the log, where Django writes it."""
    return respond(request, 403, CSRF_FAILED)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 404; the exception would name models and patterns."""
    return respond(request, 404)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer 500, for DRF's views too: they hand on what they do not know. Django has logged the traceback."""
    return respond(request, 500)
