"""Pages by Link header, so that a list's body stays the array that the tutorial's clients expect."""

from typing import Any

from django.core import signing
from rest_framework.exceptions import NotFound
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from predictions.filters import beyond


class LinkHeaderPagination(CursorPagination):
    """`next` and `prev` stand in the Link header (RFC 8288).

    By cursor: no page costs a count over all rows, and none shifts when images arrive in between. A cursor holds the
    place of a row in the order, in every column of it: DRF's own knows the first only, and loses its way among the
    thousands of corrections whose confidence is 1. It is signed, so that nobody makes one up.
    """

    page_size = 100
    page_size_query_param = "page_size"
    max_page_size = 500

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any] | None:
        """Return a page's rows; a cursor of another order, or of nobody's making, is not found."""
        self.request, self.base_url = request, str(request.build_absolute_uri())
        self.order = tuple(queryset.query.order_by or queryset.model._meta.ordering)
        forward, place = self._place(request.query_params.get(self.cursor_query_param))
        if place:
            queryset = queryset.filter(beyond(self.order, place, forward=forward))
        size = self.get_page_size(request) or self.page_size
        found = list((queryset if forward else queryset.reverse())[: size + 1])
        more, self.page = len(found) > size, found[:size]
        if not forward:
            self.page.reverse()
        self.has_next, self.has_previous = (more, bool(place)) if forward else (True, more)
        return self.page

    def get_next_link(self) -> str | None:
        """Return the address of the page behind this one."""
        return self._link(self.page[-1], forward=True) if self.page and self.has_next else None

    def get_previous_link(self) -> str | None:
        """Return the address of the page before this one."""
        return self._link(self.page[0], forward=False) if self.page and self.has_previous else None

    def get_paginated_response(self, data: Any) -> Response:
        """Return the bare array, with its neighbours' addresses beside it."""
        links = {"next": self.get_next_link(), "prev": self.get_previous_link()}
        header = ", ".join(f'<{url}>; rel="{relation}"' for relation, url in links.items() if url)
        return Response(data, headers={"Link": header} if header else None)

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Describe the array as it is."""
        return schema

    def _link(self, row: Any, *, forward: bool) -> str:
        place = [getattr(row, column.removeprefix("-")) for column in self.order]
        cursor = signing.dumps([forward, place], salt=self._salt())
        return replace_query_param(str(self.base_url), self.cursor_query_param, cursor)

    def _place(self, cursor: str | None) -> tuple[bool, list[Any]]:
        if not cursor:
            return True, []
        try:
            forward, place = signing.loads(cursor, salt=self._salt())
        except signing.BadSignature as error:
            raise NotFound(self.invalid_cursor_message) from error
        return forward, place

    def _salt(self) -> str:
        return f"predictions.pagination {self.order}"
