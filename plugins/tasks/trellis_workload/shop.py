"""A shop whose data breaks what planners assume: fifteen tables as pure SQL, the same rows for the same seed.

A planner multiplies selectivities as if columns were independent, and spreads the rows of a foreign key evenly over the
keys. Here neither holds, in four ways that multiply each other:

1. *Hot keys.* One percent of the customers own over a third of all orders, visits, reviews and tickets; one percent of the
   products over a third of all items and reviews. Foreign keys are skewed inside both groups too (u^1.5, u²).
2. *Functional dependencies.* A table's class (0 … K-1) is written into three columns, each coarser than the one before:
   segment → plan → channel. Three predicates on it select as much as the first alone, and look far more selective.
3. *Dependencies across a join.* product.line follows from the brand, customer.market and store.region from the city.
4. *Reversed habits.* The classes that are common among the facts of ordinary customers are rare among those of hot
   customers, and the other way round: a predicate that looks selective multiplies, one that looks idle eliminates.

Random numbers are `hashint8extended(row, seed)`, so no random state is kept and every row can be computed alone. Powers
are products and square roots, which IEEE 754 fixes; `pow` may differ in its last bit between machines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

DIVISORS = (1, 2, 4)
"""Column i of class k holds `<column>-<k // DIVISORS[i]>`."""


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Three columns of a table that a class in 0 … `num_classes` - 1 determines, each determining the next.

    Attributes:
        columns: From fine to coarse.
        num_classes: How many classes.
    """

    columns: tuple[str, ...]
    num_classes: int

    def value(self, column: str, class_: int) -> str:
        """Return what the column holds in rows of this class."""
        return f"{column}-{class_ // DIVISORS[self.columns.index(column)]}"


HIERARCHIES: Mapping[str, Hierarchy] = {
    "city": Hierarchy(("country", "zone", "continent"), 20),
    "customer": Hierarchy(("segment", "plan", "channel"), 40),
    "brand": Hierarchy(("label", "owner", "tier"), 40),
    "orders": Hierarchy(("status", "priority", "handling"), 24),
    "item": Hierarchy(("promotion", "campaign", "budget"), 20),
    "review": Hierarchy(("language", "site", "format"), 20),
    "ticket": Hierarchy(("kind", "team", "severity"), 24),
    "visit": Hierarchy(("device", "os", "browser"), 24),
    "shipment": Hierarchy(("service", "carrier", "mode"), 16),
}
HOT_CLASSES = 4
"""Hot customers and the brands of hot products are spread evenly over the classes 0 … 3, and have them to themselves."""
NUM_DAYS = 1000
HOT_SHARE = 0.35
"""The share of a fact's rows that belongs to the hot hundredth of its customers or products; skew adds some more."""

_FIXED_ROWS = {"city": 200, "store": 400, "category": 60, "brand": 400, "tag": 300}
_SCALED_ROWS = {
    "customer": 20_000,
    "product": 6_000,
    "orders": 100_000,
    "item": 220_000,
    "review": 80_000,
    "ticket": 60_000,
    "visit": 120_000,
    "shipment": 90_000,
    "product_tag": 36_000,
    "follows": 50_000,
}
TABLES = (*_FIXED_ROWS, *_SCALED_ROWS)


HOT_BRANDS = 20
_BRAND_CLASS = (
    f"CASE WHEN {{0}} <= {HOT_BRANDS} THEN ({{0}} - 1) % {HOT_CLASSES} "
    f"ELSE {HOT_CLASSES} + ({{0}} - {HOT_BRANDS + 1}) % {40 - HOT_CLASSES} END"
)


class Shop(NamedTuple):
    """The statements that make a shop, in the order to run them.

    Attributes:
        schema: CREATE TABLE, primary keys included.
        load: INSERT … SELECT, then CREATE INDEX.
        finish: VACUUM and ANALYZE, to be run outside a transaction.
    """

    schema: tuple[str, ...]
    load: tuple[str, ...]
    finish: tuple[str, ...]


def num_rows(scale: float) -> dict[str, int]:
    """Return how many rows each table has."""
    return _FIXED_ROWS | {table: round(scale * rows) for table, rows in _SCALED_ROWS.items()}


def hot_keys(rows: int) -> int:
    """Return how many keys of a table, from 1, are hot: a hundredth."""
    return max(HOT_CLASSES, rows // 100)


class _Table:
    """One table's columns as SQL over `i`, the number of the row from 1, and `class`, if it is given one."""

    def __init__(self, name: str, *, seed: int, rows: Mapping[str, int], source: str = "") -> None:
        self.name = name
        self._rows = rows
        self._source = source or f"generate_series(1, {rows[name]}) AS i"
        # A shop takes fewer than 1,000 streams of numbers and a table fewer than 50, so that no two columns share one.
        self._stream = seed * 1000 + 50 * TABLES.index(name)
        self._drawn: list[tuple[str, str]] = []
        self._class = "0"
        self._columns = [("id", "int PRIMARY KEY", "i")]
        self._indexed: list[str] = []

    def uniform(self, power: float = 1) -> str:
        """Return u^power, the power 1.5 or whole, with u from a new stream of numbers in [0, 1)."""
        self._stream += 1
        u = f"((hashint8extended(i, {self._stream}) & 9007199254740991)::float8 / 9007199254740992)"
        return " * ".join([u] * int(power) + [f"sqrt({u})"] * (power == 1.5))

    def below(self, count: int, power: float = 1) -> str:
        """Return an integer in 0 … count - 1, the low ones more frequent the higher the power."""
        return f"floor({count} * {self.uniform(power)})::int"

    def draw(self, name: str, sql: str) -> None:
        """Name an expression that other columns may use, without making it a column."""
        self._drawn.append((name, sql))

    def number(self, name: str, sql: str) -> None:
        """Add a column of integers."""
        self.draw(name, sql)
        self._columns.append((name, "int NOT NULL", name))

    def reference(self, name: str, sql: str) -> None:
        """Add a foreign key, with its index."""
        self.number(name, sql)
        self._indexed.append(name)

    def text(self, name: str, sql: str) -> None:
        """Add a column of text, which may use what is drawn."""
        self._columns.append((name, "text NOT NULL", sql))

    def key(self, name: str, table: str, *, power: int = 1) -> None:
        """Add a foreign key, the low keys more frequent the higher the power."""
        self.reference(name, f"1 + {self.below(self._rows[table], power)}")

    def hot_key(self, name: str, table: str) -> None:
        """Add a foreign key of which `HOT_SHARE` falls on the hot keys of its table, and some more by skew."""
        rows = self._rows[table]
        hot, any_ = self.below(hot_keys(rows), 1.5), self.below(rows, 2)
        self.reference(name, f"1 + CASE WHEN {self.uniform()} < {HOT_SHARE} THEN {hot} ELSE {any_} END")

    def classes(self, class_sql: str, columns: Sequence[str]) -> None:
        """Give every row a class, and write it into the columns, each coarser than the one before."""
        self._class = class_sql
        for column, divisor in zip(columns, DIVISORS, strict=False):
            self.text(column, f"'{column}-' || class / {divisor}")

    def habits(self, key: str, table: str) -> None:
        """Add this table's hierarchy: low classes are common for ordinary keys of `table`, high ones for hot keys."""
        hierarchy = HIERARCHIES[self.name]
        self.draw("common", self.below(hierarchy.num_classes, 3))
        hot = f"{key} <= {hot_keys(self._rows[table])}"
        class_sql = f"CASE WHEN {hot} THEN {hierarchy.num_classes - 1} - common ELSE common END"
        self.classes(class_sql, hierarchy.columns)

    def create(self) -> str:
        """Return the CREATE TABLE."""
        columns = ", ".join(f"{name} {kind}" for name, kind, _ in self._columns)
        # The statistics are those of `finish`, not of whenever a background worker came by: plans stay as they are.
        return f"CREATE TABLE {self.name} ({columns}) WITH (autovacuum_enabled = false)"

    def insert(self) -> str:
        """Return the INSERT. OFFSET 0 keeps the planner from writing each draw out again wherever it is used."""
        drawn = ", ".join(["i", *(f"{sql} AS {name}" for name, sql in self._drawn)])
        columns = ", ".join(sql for *_, sql in self._columns)
        return (
            f"INSERT INTO {self.name} SELECT {columns} FROM (SELECT *, {self._class} AS class FROM "
            f"(SELECT {drawn} FROM {self._source} OFFSET 0) AS drawn OFFSET 0) AS classed ORDER BY i"
        )

    def indexes(self) -> Iterable[str]:
        """Return a CREATE INDEX per foreign key."""
        return (f"CREATE INDEX {self.name}_{column} ON {self.name} ({column})" for column in self._indexed)


def make_shop(*, seed: int, scale: float) -> Shop:
    """Return the statements that make the shop of this seed.

    Args:
        seed: Fixes every row.
        scale: Rows relative to the default shop; the five small dimensions keep their size.
    """
    tables = _tables(seed, num_rows(scale))
    return Shop(
        schema=tuple(table.create() for table in tables),
        load=(*(table.insert() for table in tables), *(index for table in tables for index in table.indexes())),
        finish=(f"VACUUM (ANALYZE) {', '.join(TABLES)}",),
    )


def _tables(seed: int, rows: Mapping[str, int]) -> list[_Table]:
    def table(name: str, source: str = "") -> _Table:
        return _Table(name, seed=seed, rows=rows, source=source)

    city = table("city")
    city.classes("(i - 1) % 20", HIERARCHIES["city"].columns)
    city.number("population", f"1000 + {city.below(1_000_000, 4)}")

    store = table("store")
    store.key("city_id", "city")
    store.classes("(city_id - 1) % 20", ("region",))
    store.number("area", f"100 + {store.below(900)}")

    category = table("category")
    category.number("department", category.below(12, 2))

    brand = table("brand")
    brand.classes(_BRAND_CLASS.format("i"), HIERARCHIES["brand"].columns)

    tag = table("tag")
    tag.number("topic", tag.below(25))

    hot_customer = f"i <= {hot_keys(rows['customer'])}"
    customer = table("customer")
    customer.key("city_id", "city", power=3)
    customer.number("joined", customer.below(NUM_DAYS))
    customer.draw("cold", customer.below(40 - HOT_CLASSES, 2))
    customer.classes(
        f"CASE WHEN {hot_customer} THEN (i - 1) % {HOT_CLASSES} ELSE {HOT_CLASSES} + cold END",
        HIERARCHIES["customer"].columns,
    )
    customer.text("market", "'market-' || (city_id - 1) % 20")

    product = table("product")
    product.key("category_id", "category", power=2)
    hot, cold = product.below(HOT_BRANDS, 2), product.below(rows["brand"] - HOT_BRANDS, 2)
    product.reference(
        "brand_id", f"CASE WHEN i <= {hot_keys(rows['product'])} THEN 1 + {hot} ELSE 1 + {HOT_BRANDS} + {cold} END"
    )
    product.classes(_BRAND_CLASS.format("brand_id"), ("line", "family"))
    product.number("price", f"1 + {product.below(500, 2)}")

    orders = table("orders")
    orders.hot_key("customer_id", "customer")
    orders.key("store_id", "store", power=3)
    orders.habits("customer_id", "customer")
    orders.number("day", orders.below(NUM_DAYS))

    item = table("item")
    item.key("order_id", "orders")
    item.hot_key("product_id", "product")
    item.habits("product_id", "product")
    item.number("quantity", f"1 + {item.below(20, 3)}")

    review = table("review")
    review.hot_key("customer_id", "customer")
    review.hot_key("product_id", "product")
    review.habits("customer_id", "customer")
    review.number("rating", f"1 + {review.below(5)}")

    ticket = table("ticket")
    ticket.hot_key("customer_id", "customer")
    ticket.habits("customer_id", "customer")
    ticket.number("day", ticket.below(NUM_DAYS))

    visit = table("visit")
    visit.hot_key("customer_id", "customer")
    visit.key("store_id", "store", power=3)
    visit.habits("customer_id", "customer")
    visit.number("day", visit.below(NUM_DAYS))

    shipment = table("shipment", f"(SELECT id AS i, customer_id FROM orders WHERE id <= {rows['shipment']}) AS o")
    shipment.reference("order_id", "i")
    shipment.draw("customer_id", "customer_id")
    shipment.habits("customer_id", "customer")
    shipment.number("delay", shipment.below(30, 2))

    product_tag = table("product_tag")
    product_tag.key("product_id", "product", power=2)
    product_tag.key("tag_id", "tag", power=3)

    follows = table("follows")
    follows.hot_key("follower_id", "customer")
    follows.key("followed_id", "customer", power=2)

    return [
        city,
        store,
        category,
        brand,
        tag,
        customer,
        product,
        orders,
        item,
        review,
        ticket,
        visit,
        shipment,
        product_tag,
        follows,
    ]
