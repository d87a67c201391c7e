"""Lists that stay fast however many rows there are: nothing is counted or ordered that no index bounds."""

from __future__ import annotations

from functools import cached_property
from typing import Any, TypeVar

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ORDER_VAR, ChangeList
from django.core.paginator import InvalidPage, Paginator
from django.db.models import Model, QuerySet
from django.db.models.expressions import Combinable
from django.http import HttpRequest

from predictions.admin.dates import Calendar
from predictions.models import ImagePrediction, to_id
from predictions.ordering import along_order

Row = TypeVar("Row", bound=Model)
MOST = 10_000  # rows that an action changes at once
PER_PAGE = 100
COUNTED = 20 * PER_PAGE  # rows that a list counts and leads to
# So many rows that pass a filter are sorted in the time in which, of a million, COUNTED are met on the way.
COMMON = 50_000


class ListAdmin(admin.ModelAdmin[Row]):
    """An admin whose lists may be sent any ids: those that no row could have name nothing, as those of deleted rows."""

    list_per_page = list_max_show_all = PER_PAGE

    def response_action(self, request: HttpRequest, queryset: QuerySet[Row], *args: Any) -> Any:
        """Carry out an action on the chosen rows."""
        chosen = request.POST.copy()
        chosen.setlist(ACTION_CHECKBOX_NAME, [pk for pk in chosen.getlist(ACTION_CHECKBOX_NAME) if to_id(pk)])
        request.POST = chosen  # type: ignore[assignment]  # where Django reads it
        return super().response_action(request, queryset, *args)

    def _get_list_editable_queryset(self, request: HttpRequest, prefix: str) -> QuerySet[Row]:
        """Return the rows of a list's form; Django would ask for impossible ids, or for all rows."""
        return self.get_queryset(request).filter(pk__in=edited_ids(request))


class BoundedPaginator(Paginator[Any]):
    """Pages of the first COUNTED rows, found by one query for their ids; counting all would read all."""

    @cached_property
    def ids(self) -> list[Any]:
        """Return the ids of the rows in their order, one more than COUNTED if there are more."""
        rows: Any = self.object_list
        return list(rows.values_list("pk", flat=True)[: COUNTED + 1])

    @cached_property
    def count(self) -> int:
        """Return how many rows there are, COUNTED at most."""
        return min(len(self.ids), COUNTED)

    @property
    def more(self) -> bool:
        """Return whether there are more rows than are counted."""
        return len(self.ids) > COUNTED

    def ids_of(self, number: int) -> list[Any]:
        """Return the ids of a page's rows. By them rows are read, so that a search is not made twice."""
        return self.ids[(number - 1) * self.per_page : min(number * self.per_page, COUNTED)]


class BoundedChangeList(ChangeList):
    """A list of at most COUNTED rows, which says when there are more."""

    def get_results(self, request: HttpRequest) -> None:
        """Find the page's rows; as Django's own, but without counting all."""
        paginator = BoundedPaginator(self.queryset, self.list_per_page)
        try:
            number = paginator.validate_number(self.page_num)
        except InvalidPage as error:
            raise IncorrectLookupParameters from error
        rows = self.root_queryset.filter(pk__in=paginator.ids_of(number)).order_by(*self.queryset.query.order_by)
        self.result_list = rows if rows.query.select_related else self.apply_select_related(rows)
        self.result_count, self.more = paginator.count, paginator.more
        # Equal, so that the search form does not repeat the count, which it would take for the whole one.
        self.full_result_count, self.show_full_result_count = paginator.count, False
        self.show_admin_actions = bool(paginator.count)
        self.can_show_all, self.multi_page = False, paginator.num_pages > 1
        self.paginator = paginator


class PhotoChangeList(BoundedChangeList):
    """The list of photos."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """Leave those out that have no label, when it is labels or confidences that order the list."""
        rows = super().get_queryset(request, exclude_parameters)
        column = str(rows.query.order_by[0]).removeprefix("-")
        if column in {"top_prediction", "confidence"}:
            rows = rows.filter(**{f"{column}__isnull": False})
        return along_order(rows, COMMON)

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[str | Combinable]:
        """Order by one column, and by id in its direction: as an index does, so that only a page's rows are read.

        Without a column asked for, by the one that is filtered by a range, for the same reason.
        """
        if ORDER_VAR in self.params:
            self.params[ORDER_VAR] = self.params[ORDER_VAR].split(".")[0]
            column = str(super().get_ordering(request, queryset)[0])
        elif any(name.startswith("created_at__") for name in self.params):
            column = "-created_at"
        else:
            column = "confidence" if "band" in self.params else "-pk"
        return [column] if column in {"pk", "-pk"} else [column, "-pk" if column.startswith("-") else "pk"]

    def get_results(self, request: HttpRequest) -> None:
        """Read only what the list shows. If edited rows are shown again, for their errors, they are those of the form.

        Photos may have come since: the form's values must not stand beside other photos.
        """
        super().get_results(request)
        self.result_list = self._shown(self.result_list)
        if request.method == "POST" and "_save" in request.POST:
            rows = self._shown(self.apply_select_related(ImagePrediction.objects.filter(pk__in=edited_ids(request))))
            found = {row.pk: row for row in rows}
            self.result_list = [found[pk] for pk in edited_ids(request) if pk in found]

    @staticmethod
    def _shown(rows: Any) -> Any:
        return rows.with_corrector().defer("all_predictions", "error")

    @cached_property
    def calendar(self) -> Calendar:
        """Return the date hierarchy's links."""
        return Calendar(self)


def edited_ids(request: HttpRequest) -> list[int]:
    """Return the ids of the rows whose fields a list's form sent, in its order."""
    sent = [request.POST.get(f"form-{number}-id", "") for number in range(PER_PAGE)]
    return [pk for pk in map(to_id, sent) if pk]
