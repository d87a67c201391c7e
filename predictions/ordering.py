"""Filtered rows in an order, of a database without statistics.

SQLite does not know how many rows pass a filter, and takes most for one that few do: it looks those up in the filter's
index and sorts them, all of a million if need be, for the hundred that are shown. Or it walks past a million in order,
for the few that there are. PostgreSQL knows better.
"""

from __future__ import annotations

from typing import Any, TypeVar

from django.db import connections
from django.db.models import Exists, Func, Lookup, QuerySet
from django.db.models.expressions import Col
from django.db.models.lookups import Exact, IsNull

Rows = TypeVar("Rows", bound=QuerySet[Any])


class Unindexed(Func):
    """A column whose index SQLite leaves alone: its documented unary plus."""

    template = "+%(expressions)s"
    arity = 1


def along_order(rows: Rows, common: int) -> Rows:
    """Return the same rows. If a filter lets at most `common` rows pass, those are sorted; else all are met in order.

    One query asks how much each filter lets pass, of its index. What is searched for in texts has none, and stays.
    """
    if connections[rows.db].vendor != "sqlite":
        return rows
    order = str((rows.query.order_by or rows.model._meta.ordering)[0]).removeprefix("-")
    order = "id" if order == "pk" else order
    filters: dict[Col, list[Lookup[Any]]] = {}
    for condition in rows.query.where.children:
        if isinstance(condition, Lookup) and (column := _column(condition)):
            filters.setdefault(column, []).append(condition)
    # The index of the order's own column, or of another column and the id, has the rows in order already.
    fitting = [column for column in filters if column.target.name == order or (order == "id" and _one(filters[column]))]
    if len(filters) <= len(fitting[:1]):
        return rows
    every = rows.model._default_manager.order_by()
    more = [Exists(every.filter(*found)[common:]) for found in filters.values()]
    are_common = next(iter(every.values_list(*more)[:1]), ())
    rare = [column for column, is_common in zip(filters, are_common, strict=False) if not is_common]
    walked = rows.all()
    unindexed = [column for column in filters if rare or column not in fitting]
    walked.query.where = walked.query.where.replace_expressions({column: Unindexed(column) for column in unindexed})
    if rare:
        few = every.filter(*(condition for column in rare for condition in filters[column]))
        walked = walked.filter(pk__in=few.values("pk"))
    return walked


def _one(conditions: list[Lookup[Any]]) -> bool:
    """Return whether conditions are about one value, or none."""
    return all(isinstance(condition, Exact | IsNull) for condition in conditions)


def _column(condition: Lookup[Any]) -> Col | None:
    """Return the column that a condition is about; of a year, that of the date."""
    side = condition.lhs
    while side is not None and not isinstance(side, Col):
        side = getattr(side, "lhs", None)
    return side
