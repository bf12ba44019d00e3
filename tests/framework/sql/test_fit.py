import pytest

from trellis.errors import HintError
from trellis.sql import Catalog, Index, Table, check_hints, lint, parse_hints
from trellis.sql.reader import parse_query

SHOP = """
SELECT count(*)
FROM orders o JOIN customer c ON c.id = o.customer_id, city, (SELECT i.order_id, count(*) AS n
    FROM item i JOIN product p ON p.id = i.product_id GROUP BY i.order_id) d
WHERE d.order_id = o.id AND city.id = c.city_id
  AND EXISTS (SELECT 1 FROM review r WHERE r.customer_id = c.id)
"""
ORDERS = Table("orders", indexes={name: Index(name) for name in ("orders_pkey", "orders_customer")})
CATALOG = Catalog(
    {
        "orders": ORDERS,
        "public.orders": ORDERS,
        "customer": Table("customer"),
        "city": Table("city", kind="view"),
        "item": Table("item", indexes={"item_order": Index("item_order")}),
        "product": Table("product", indexes={"product_pkey": Index("product_pkey")}),
    },
    version="1",
)


def check(text, sql=SHOP, catalog=CATALOG):
    check_hints(parse_hints(text), parse_query(sql), catalog)


def refusal(text, sql=SHOP, catalog=CATALOG):
    with pytest.raises(HintError) as caught:
        check(text, sql, catalog)
    return caught.value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SeqScan(o) IndexScan(i item_order) BitmapScan(p) SeqScan(r)",
        "IndexScan(o orders_customer)",
        "HashJoin(c o) NestLoop(i p) Set(enable_sort off)",
        "Leading((((d o) c) city)) Leading((p i)) HashJoin(d o) HashJoin(c d o)",
        "Leading(((d o) (city c))) HashJoin(c city)",
    ],
)
def test_hints_that_fit_pass(text):
    check(text)


def test_an_unknown_alias_comes_with_those_there_are():
    error = refusal("SeqScan(cit)")
    assert "the query has no alias cit; did you mean 'city'?" in str(error)
    assert set(error.choices) == {"o", "c", "city", "d", "i", "p", "r"}
    assert error.hint == "SeqScan(cit)"


def test_a_table_named_instead_of_its_alias_is_told_the_alias():
    assert str(refusal("HashJoin(orders c)")) == "HashJoin(c orders): the query calls the table orders o"


def test_an_alias_of_several_relations_cannot_be_named():
    sql = "SELECT 1 FROM a x, b WHERE x.id = b.id AND EXISTS (SELECT 1 FROM c x WHERE x.id = 1)"
    error = refusal("SeqScan(x)", sql, None)
    assert "x cannot be named by a hint: it stands for several relations of the query" in str(error)
    assert "Give each an alias of its own" in str(error)
    assert error.choices == ("b",)


def test_only_tables_have_scans_to_choose():
    assert "d is a subquery; only the scan of a table can be chosen" in str(refusal("SeqScan(d)"))
    assert "city is the view city" in str(refusal("SeqScan(city)"))
    with_cte = "WITH best AS (SELECT id FROM t) SELECT 1 FROM best b"
    assert "b is a CTE" in str(refusal("SeqScan(b)", with_cte, None))


def test_an_index_has_to_be_one_of_the_alias_own_table():
    error = refusal("IndexScan(o orders_costumer)")
    assert "the table orders has no index orders_costumer; did you mean 'orders_customer'?" in str(error)
    assert error.choices == ("orders_customer", "orders_pkey")
    assert "no index item_order" in str(refusal("IndexScan(o item_order)"))
    assert str(refusal("IndexScan(c customer_pkey)")).endswith("has no index customer_pkey; it has none")
    assert "review is not in the catalog" in str(refusal("IndexScan(r review_pkey)"))
    check("IndexScan(o orders_costumer)", catalog=None)


def test_a_hint_stays_in_one_block():
    assert "c is in the query, p in the subquery d in FROM; a hint stays in one block" in str(refusal("HashJoin(p c)"))
    assert "a hint stays in one block" in str(refusal("Leading(((((d o) c) city) r))"))


def test_a_tree_holds_every_relation_of_its_block():
    error = refusal("Leading(((d o) c))")
    assert "the tree leaves out city; it must hold every relation of the query" in str(error)
    assert error.choices == ("o", "c", "city", "d")


def test_a_join_hint_is_one_of_the_trees_joins():
    error = refusal("Leading((((d o) c) city)) HashJoin(c city)")
    assert error.hint == "HashJoin(c city)"
    assert "makes no join of exactly these aliases. Its joins: d o; c d o; c city d o" in str(error)
    check("Leading((p i)) HashJoin(c city)")


def test_an_outer_join_limits_the_order():
    sql = "SELECT 1 FROM a LEFT JOIN b ON a.id = b.id, c WHERE c.id = a.id"
    check("Leading(((c a) b))", sql, None)
    error = refusal("Leading(((b a) c))", sql, None)
    assert "the order is not legal in the query: b must be the right input of one join" in str(error)


def test_a_fixed_block_says_why():
    sql = "SELECT 1 FROM a FULL JOIN b ON a.id = b.id"
    assert "the join order of the query cannot be changed: it has a FULL JOIN" in str(
        refusal("Leading((a b))", sql, None)
    )
    check("HashJoin(a b)", sql, None)


def test_lint_reports_every_hint_that_does_not_fit_where_it_stands():
    text = "SeqScan(x)\nNestedLoop(o c)\nIndexScan(o nope)\nHashJoin(c o)"
    findings = lint(text, query=parse_query(SHOP), catalog=CATALOG)
    assert [(finding.line, finding.column) for finding in findings] == [(1, 1), (2, 1), (3, 1)]
    assert {finding.severity for finding in findings} == {"error"}
