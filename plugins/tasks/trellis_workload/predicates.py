"""The predicates that a query may have over the shop, each drawn with a value that exists.

A *stack* is up to three predicates of one hierarchy, which look independent and are not; *rare* classes are rare in all but
common among the facts of hot keys, so they look selective and multiply; *common* ones look idle and eliminate.
"""

from __future__ import annotations

from random import Random

from trellis_workload.shop import DIVISORS, HIERARCHIES, HOT_CLASSES, NUM_DAYS


class Draw:
    """Draws the predicates of one query."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def hot(self, alias: str, *, depth: int = 3) -> list[str]:
        """Stack predicates that select a quarter of the hot customers."""
        return _stack(alias, "customer", self.random.randrange(HOT_CLASSES), depth)

    def rare(self, alias: str, table: str, *, depth: int = 3) -> list[str]:
        """Stack predicates on a class that is common among the facts of hot keys only."""
        return _stack(alias, table, HIERARCHIES[table].num_classes - 1 - self.random.randrange(3), depth)

    def common(self, alias: str, table: str, *, depth: int = 1) -> list[str]:
        """Stack predicates on a class that is common, but not among the facts of hot keys."""
        return _stack(alias, table, self.random.randrange(3), depth)

    def city(self, column: str) -> list[str]:
        """Select one country through a column that follows from the city, and again through the city `z` itself."""
        class_ = self.random.randrange(6)
        name = column.split(".")[1]
        return [f"{column} = '{name}-{class_}'", *_stack("z", "city", class_, 2)]

    def line(self) -> list[str]:
        """Select a line of hot products through two columns of `p`."""
        return _line(self.random.randrange(HOT_CLASSES))

    def brand(self) -> list[str]:
        """Select a line of hot products through `p`, and again through the brand `b` that it follows from."""
        class_ = self.random.randrange(HOT_CLASSES)
        return [*_line(class_), *_stack("b", "brand", class_, 3)]

    def within(self, column: str, share: float, *, first: int = 0, last: int = NUM_DAYS - 1) -> list[str]:
        """Select a range that holds this share of a column's values, of which the least and greatest are given."""
        width = max(1, round(share * (last - first + 1)))
        start = self.random.randint(first, last - width + 1)
        return [f"{column} BETWEEN {start} AND {start + width - 1}"]

    def equal(self, column: str, low: int, high: int) -> list[str]:
        """Select one value of a column of integers."""
        return [f"{column} = {self.random.randint(low, high)}"]


def _stack(alias: str, table: str, class_: int, depth: int) -> list[str]:
    hierarchy = HIERARCHIES[table]
    return [f"{alias}.{column} = '{hierarchy.value(column, class_)}'" for column in hierarchy.columns[:depth]]


def _line(class_: int) -> list[str]:
    return [
        f"p.{column} = '{column}-{class_ // divisor}'"
        for column, divisor in zip(("line", "family"), DIVISORS, strict=False)
    ]
