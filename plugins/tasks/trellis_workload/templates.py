"""The query templates: join graphs of eight shapes over the shop, with filters that planners misjudge.

What makes a template hard is said where it is drawn, in the words of `shop` and `predicates`. The template `control` has
independent columns only: what a search "finds" there is noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from trellis_workload.config import Shape
from trellis_workload.predicates import Draw


@dataclass(frozen=True, slots=True)
class Template:
    """A join graph and what its queries filter.

    Attributes:
        name: Unique.
        shape: The shape of its join graph.
        relations: `alias table`, in the order of FROM.
        joins: The equalities that join them.
        select: The aggregates.
        filters: Draws the filters of one query.
    """

    name: str
    shape: Shape
    relations: tuple[str, ...]
    joins: tuple[str, ...]
    select: str
    filters: Callable[[Draw], Sequence[str]]

    def sql(self, random: Random) -> str:
        """Draw one query."""
        relations = ", ".join(f"{table} {alias}" for alias, table in self.aliases.items())
        conditions = "\n  AND ".join((*self.joins, *self.filters(Draw(random))))
        return f"SELECT {self.select}\nFROM {relations}\nWHERE {conditions}"

    @property
    def aliases(self) -> dict[str, str]:
        """The table of each alias, in the order of FROM."""
        return dict(relation.split() for relation in self.relations)


def _template(
    name: str, shape: Shape, relations: str, joins: str, select: str
) -> Callable[[Callable[[Draw], Sequence[str]]], Template]:
    def made(filters: Callable[[Draw], Sequence[str]]) -> Template:
        return Template(
            name,
            shape,
            tuple(r.strip() for r in relations.split(",")),
            tuple(j.strip() for j in joins.split(",")),
            select,
            filters,
        )

    return made


@_template(
    "hub_facts",
    "hub",
    "c customer, t ticket, r review, v visit, s store, z city",
    "t.customer_id = c.id, r.customer_id = c.id, v.customer_id = c.id, v.store_id = s.id, c.city_id = z.id",
    "count(*), min(t.day), max(s.area)",
)
def hub_facts(d: Draw) -> list[str]:
    """Tickets and reviews look tiny and multiply; the visits, which cost most to read, eliminate."""
    return [
        *d.hot("c"),
        *d.rare("t", "ticket"),
        *d.within("t.day", 0.3),
        *d.rare("r", "review"),
        *d.equal("r.rating", 1, 5),
        *d.common("v", "visit"),
        *d.within("v.day", 0.06),
    ]


@_template(
    "hub_dimensions",
    "hub",
    "c customer, t ticket, r review, p product, b brand, o orders, s store",
    "t.customer_id = c.id, r.customer_id = c.id, r.product_id = p.id, p.brand_id = b.id, o.customer_id = c.id, "
    "o.store_id = s.id",
    "count(*), sum(p.price), min(o.day)",
)
def hub_dimensions(d: Draw) -> list[str]:
    """Part of what eliminates stands one join behind the hub's largest fact, part two joins behind the smaller one."""
    return [
        *d.hot("c"),
        *d.rare("t", "ticket"),
        *d.within("t.day", 0.3),
        *d.rare("r", "review"),
        *d.common("o", "orders"),
        *d.within("s.area", 0.1, first=100, last=999),
        *d.within("p.price", 0.3, first=1, last=500),
    ]


@_template(
    "star_customer",
    "star",
    "c customer, z city, t ticket, r review, o orders",
    "c.city_id = z.id, t.customer_id = c.id, r.customer_id = c.id, o.customer_id = c.id",
    "count(*), max(o.day), min(t.day)",
)
def star_customer(d: Draw) -> list[str]:
    """Three facts on the hot key, of which the largest eliminates."""
    return [
        *d.hot("c", depth=2),
        *d.rare("t", "ticket"),
        *d.within("t.day", 0.35),
        *d.rare("r", "review"),
        *d.equal("r.rating", 1, 5),
        *d.common("o", "orders"),
        *d.within("o.day", 0.05),
    ]


@_template(
    "star_product",
    "star",
    "p product, b brand, k category, i item, r review, x product_tag",
    "p.brand_id = b.id, p.category_id = k.id, i.product_id = p.id, r.product_id = p.id, x.product_id = p.id",
    "count(*), sum(i.quantity), min(r.rating)",
)
def star_product(d: Draw) -> list[str]:
    """The line follows from the brand, across a join; reviews multiply, items eliminate."""
    return [
        *d.brand(),
        *d.rare("r", "review", depth=2),
        *d.equal("r.rating", 1, 5),
        *d.equal("x.tag_id", 1, 20),
        *d.common("i", "item"),
        *d.equal("i.quantity", 10, 20),
    ]


@_template(
    "snowflake_item",
    "snowflake",
    "i item, p product, b brand, k category, o orders, s store, z city",
    "i.product_id = p.id, p.brand_id = b.id, p.category_id = k.id, i.order_id = o.id, o.store_id = s.id, s.city_id = z.id",
    "count(*), sum(i.quantity), max(o.day)",
)
def snowflake_item(d: Draw) -> list[str]:
    """Two dependencies across joins, one on either arm; the item's own filter looks selective."""
    return [*d.brand(), *d.rare("i", "item"), *d.city("s.region"), *d.rare("o", "orders", depth=2)]


@_template(
    "snowflake_review",
    "snowflake",
    "r review, p product, b brand, c customer, z city, v visit",
    "r.product_id = p.id, p.brand_id = b.id, r.customer_id = c.id, c.city_id = z.id, v.customer_id = c.id",
    "count(*), min(r.rating), max(v.day)",
)
def snowflake_review(d: Draw) -> list[str]:
    """The visits of hot customers multiply before the products they reviewed eliminate."""
    return [
        *d.hot("c"),
        *d.rare("v", "visit"),
        *d.within("v.day", 0.8),
        *d.rare("r", "review"),
        *d.brand(),
        *d.within("p.price", 0.4, first=1, last=500),
    ]


@_template(
    "chain_catalogue",
    "chain",
    "b brand, p product, i item, o orders, c customer, z city",
    "p.brand_id = b.id, i.product_id = p.id, i.order_id = o.id, o.customer_id = c.id, c.city_id = z.id",
    "count(*), sum(i.quantity), min(c.joined)",
)
def chain_catalogue(d: Draw) -> list[str]:
    """Dependencies across a join at both ends of the chain."""
    return [*d.brand(), *d.rare("i", "item", depth=2), *d.rare("o", "orders"), *d.city("c.market")]


@_template(
    "chain_tags",
    "chain",
    "g tag, x product_tag, p product, r review, c customer, v visit",
    "x.tag_id = g.id, x.product_id = p.id, r.product_id = p.id, r.customer_id = c.id, v.customer_id = c.id",
    "count(*), max(p.price), min(v.day)",
)
def chain_tags(d: Draw) -> list[str]:
    """From a topic to the visits of who reviewed it: reviews and visits multiply unless the customer comes first."""
    return [
        *d.equal("g.topic", 0, 8),
        *d.hot("c"),
        *d.rare("v", "visit"),
        *d.within("v.day", 0.25),
        *d.common("r", "review"),
        *d.equal("r.rating", 1, 5),
        *d.within("p.price", 0.3, first=1, last=500),
    ]


@_template(
    "cycle_bought",
    "cycle",
    "c customer, r review, p product, i item, o orders",
    "r.customer_id = c.id, r.product_id = p.id, i.product_id = p.id, i.order_id = o.id, o.customer_id = c.id",
    "count(*), sum(i.quantity), min(r.rating)",
)
def cycle_bought(d: Draw) -> list[str]:
    """Who reviewed what they bought: hot customers and hot products meet."""
    return [
        *d.hot("c"),
        *d.rare("o", "orders"),
        *d.rare("i", "item", depth=2),
        *d.rare("r", "review"),
        *d.equal("r.rating", 1, 5),
        *d.within("p.price", 0.3, first=1, last=500),
    ]


@_template(
    "cycle_follows",
    "cycle",
    "f follows, c customer, e customer, r review, w review, p product",
    "f.follower_id = c.id, f.followed_id = e.id, r.customer_id = c.id, w.customer_id = e.id, r.product_id = p.id, "
    "w.product_id = p.id",
    "count(*), min(r.rating), max(p.price)",
)
def cycle_follows(d: Draw) -> list[str]:
    """Who follows a customer that reviewed the same product."""
    return [
        *d.hot("c"),
        *d.rare("r", "review"),
        *d.equal("w.rating", 1, 5),
        *d.within("e.joined", 0.1),
        *d.within("p.price", 0.2, first=1, last=500),
    ]


@_template(
    "many_tags",
    "many-to-many",
    "p product, x product_tag, g tag, i item, r review",
    "x.product_id = p.id, x.tag_id = g.id, i.product_id = p.id, r.product_id = p.id",
    "count(*), sum(i.quantity), max(r.rating)",
)
def many_tags(d: Draw) -> list[str]:
    """Tags, reviews and items all multiply on a product, until one topic is taken."""
    return [
        *d.line(),
        *d.common("i", "item"),
        *d.within("p.price", 0.4, first=1, last=500),
        *d.rare("r", "review"),
        *d.equal("r.rating", 1, 5),
        *d.equal("g.topic", 0, 24),
    ]


@_template(
    "many_follows",
    "many-to-many",
    "c customer, f follows, e customer, t ticket, v visit, o orders",
    "f.follower_id = c.id, f.followed_id = e.id, t.customer_id = c.id, v.customer_id = c.id, o.customer_id = e.id",
    "count(*), min(v.day), max(o.day)",
)
def many_follows(d: Draw) -> list[str]:
    """Tickets and followed customers multiply on hot customers, whose visits eliminate."""
    return [
        *d.hot("c"),
        *d.rare("t", "ticket"),
        *d.within("t.day", 0.06),
        *d.within("e.joined", 0.1),
        *d.common("v", "visit"),
        *d.within("v.day", 0.05),
        *d.common("o", "orders"),
        *d.within("o.day", 0.2),
    ]


@_template(
    "wide_ten",
    "wide",
    "c customer, z city, o orders, s store, h shipment, i item, p product, b brand, k category, t ticket",
    "c.city_id = z.id, o.customer_id = c.id, o.store_id = s.id, h.order_id = o.id, i.order_id = o.id, i.product_id = p.id, "
    "p.brand_id = b.id, p.category_id = k.id, t.customer_id = c.id",
    "count(*), sum(i.quantity), max(h.delay)",
)
def wide_ten(d: Draw) -> list[str]:
    """Ten relations: planning alone takes long."""
    return [
        *d.hot("c"),
        *d.rare("o", "orders"),
        *d.rare("h", "shipment", depth=2),
        *d.common("t", "ticket"),
        *d.within("t.day", 0.2),
        *d.within("p.price", 0.3, first=1, last=500),
    ]


@_template(
    "wide_eleven",
    "wide",
    "c customer, z city, o orders, s store, h shipment, i item, p product, b brand, x product_tag, g tag, v visit",
    "c.city_id = z.id, o.customer_id = c.id, o.store_id = s.id, h.order_id = o.id, i.order_id = o.id, i.product_id = p.id, "
    "p.brand_id = b.id, x.product_id = p.id, x.tag_id = g.id, v.customer_id = c.id",
    "count(*), sum(i.quantity), min(v.day)",
)
def wide_eleven(d: Draw) -> list[str]:
    """Eleven relations, with a tag and a second fact on the customer."""
    return [
        *d.hot("c"),
        *d.rare("o", "orders"),
        *d.within("o.day", 0.3),
        *d.rare("h", "shipment", depth=2),
        *d.brand(),
        *d.common("v", "visit"),
        *d.within("v.day", 0.3),
        *d.equal("g.topic", 0, 24),
    ]


@_template(
    "control",
    "control",
    "o orders, c customer, s store, z city",
    "o.customer_id = c.id, o.store_id = s.id, s.city_id = z.id",
    "count(*), min(o.day), max(c.joined)",
)
def control(d: Draw) -> list[str]:
    """Independent columns, each estimated well."""
    return [*d.within("o.day", 0.1), *d.within("c.joined", 0.3), *d.within("s.area", 0.5, first=100, last=999)]


TEMPLATES: tuple[Template, ...] = (
    hub_facts,
    hub_dimensions,
    star_customer,
    star_product,
    snowflake_item,
    snowflake_review,
    chain_catalogue,
    chain_tags,
    cycle_bought,
    cycle_follows,
    many_tags,
    many_follows,
    wide_ten,
    wide_eleven,
    control,
)
