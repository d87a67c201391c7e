"""Pages by Link header, so that a list's body stays the array that the tutorial's clients expect."""

from typing import Any

from rest_framework.exceptions import NotFound
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response


class LinkHeaderPagination(CursorPagination):
    """Newest first. `next` and `prev` stand in the Link header (RFC 8288).

    By cursor: no page costs a count over all rows, and none shifts when images arrive in between.
    """

    ordering = "-id"
    page_size = 100
    page_size_query_param = "page_size"
    max_page_size = 500

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any] | None:
        """Return a page's rows. A cursor that somebody made up is refused, like one that is no cursor at all."""
        try:
            return super().paginate_queryset(queryset, request, view)
        except (ValueError, OverflowError) as error:
            raise NotFound(self.invalid_cursor_message) from error

    def get_paginated_response(self, data: Any) -> Response:
        """Return the bare array, with its neighbours' addresses beside it."""
        links = {"next": self.get_next_link(), "prev": self.get_previous_link()}
        header = ", ".join(f'<{url}>; rel="{relation}"' for relation, url in links.items() if url)
        return Response(data, headers={"Link": header} if header else None)

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Describe the array as it is."""
        return schema
