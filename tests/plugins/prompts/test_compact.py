"""The short prompt: the same for queries that differ in names, and answers under its names."""

from dataclasses import replace

import pytest

from trellis import Problem, Situation, build
from trellis.sql import Catalog, JoinMethod, Plan, ScanMethod, parse_hints
from trellis.sql.estimates import Estimate
from trellis.sql.reader import parse_query
from trellis_prompts.compact import _edges, _share


def text(situation, **config):
    return build("compact", config).build(situation.problem, situation)


def test_relations_stand_by_canonical_name_with_log_selectivities(scene):
    situation = scene()
    names = situation.query.canonical
    lines = text(situation).splitlines()
    expected = {"u": "users -2", "p": "posts -2", "v": "votes ?"}
    assert lines[:3] == sorted(f"{names[alias]} {what}" for alias, what in expected.items())
    edges = {"-".join(sorted((names[a], names[b]))) for a, b in ("up", "pv")}
    assert set(lines[3:5]) == edges
    assert lines[5:] == [f"default Leading((({names['u']} {names['p']}) {names['v']}))", ":"]


def test_aliases_and_the_order_of_the_text_do_not_show():
    def prompt(sql, aliases):
        query = parse_query(sql)
        plan = Plan(
            "Hash Join", join=JoinMethod.HASH,
            children=tuple(Plan("Seq Scan", scan=ScanMethod.SEQ, alias=alias, est_rows=5) for alias in aliases),
        )  # fmt: skip
        situation = Situation(Problem("q", sql), query, Catalog(), plan)
        return text(situation, columns=True, methods=True, scans=True)

    one = prompt("SELECT 1 FROM a x, b y WHERE x.i = y.j AND x.k = 3", "xy")
    other = prompt("SELECT 1 FROM b p, a q WHERE q.k = 5 AND p.j = q.i", "qp")
    assert one == other


def test_winners_of_the_same_template_are_shown_under_this_querys_names(scene):
    neighbours = [
        scene.neighbour("Leading((u (p v)))", 0.5),
        scene.neighbour("Leading((u (v p)))", 9.0, same_template=False),
        scene.neighbour("SeqScan(z) Leading(((y x) z))", 3.0, names=("z", "x", "y")),
    ]
    prompt = text(scene(neighbours=neighbours))
    names = scene().query.canonical
    assert f"\nnear Leading((({names['v']} {names['p']}) {names['u']}))\n" in prompt
    assert prompt.count("near") == 1
    with_scans = text(scene(neighbours=neighbours), scans=True)
    assert f"near SeqScan({names['u']})" in with_scans
    assert "near" not in text(scene(neighbours=neighbours), neighbours=0)


def test_a_query_that_was_read_otherwise_has_other_names_and_is_not_shown(scene):
    neighbour = replace(
        scene.neighbour("Leading(((v p) u))", 3.0), query=parse_query("SELECT 1 FROM users u, posts p, votes v")
    )
    assert "near" not in text(scene(neighbours=[neighbour]))


def test_an_answer_in_its_names_comes_back_in_the_querys(scene):
    situation = scene()
    names = situation.query.canonical
    renaming = build("compact").renaming(situation.query)
    answer = parse_hints(f"HashJoin({names['u']} {names['p']}) Leading((({names['p']} {names['u']}) {names['v']}))")
    assert renaming.undo(answer) == parse_hints("HashJoin(p u) Leading(((p u) v))")


def test_aliases_can_stay(scene):
    situation = scene(neighbours=[scene.neighbour("Leading(((y x) z))", 3.0, names=("z", "x", "y"))])
    assert text(situation, canonical=False, columns=True, decimals=1).splitlines() == [
        "u users -2.0", "p posts -2.0", "v votes ?", "p.owner = u.id", "p.id = v.post",
        "default Leading(((u p) v))", "near Leading(((v p) u))", ":",
    ]  # fmt: skip
    hints = parse_hints("Leading(((u p) v))")
    assert build("compact", {"canonical": False}).renaming(situation.query).undo(hints) == hints


def test_columns_are_renamed_and_texts_are_not():
    query = parse_query("SELECT 1 FROM a u, b p WHERE u.x = p.x AND u.y || 'u.y' < p.y")
    edges = _edges(query, query.canonical, columns=True)
    u, p = query.canonical["u"], query.canonical["p"]
    assert edges == sorted([" = ".join(sorted([f"{u}.x", f"{p}.x"])), f"{u}.y || 'u.y' < {p}.y"])


def test_neighbours_go_first_and_the_own_plan_next(scene):
    situation = scene(neighbours=[scene.neighbour("Leading(((v p) u))", 3.0)])
    whole = text(situation)
    assert "near" not in text(situation, max_tokens=len(whole) - 1)
    shortest = text(replace(situation, neighbours=lambda k: []), default=False)
    assert text(situation, max_tokens=len(shortest)) == shortest


@pytest.mark.parametrize("decimals", [0, 2])
def test_a_relation_without_filters_has_no_minus_zero(scene, decimals):
    assert _share(Estimate(1000, 999.9999), decimals) in ("0", "0.00")
