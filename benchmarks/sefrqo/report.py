"""RESULTS.md from results/*.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sefrqo.group import LAST, OVER, Group, decisions, off, off_by, outside
from sefrqo.measures import (
    Interval,
    at_budget,
    geometric_mean,
    mean_ratio,
    share_slower,
    slowest,
    sum_ratio,
)
from sefrqo.suite import ABLATIONS, EXPLORED, FULL, KS, NEW, TUNED, UNSEEN

BUDGETS = (3, 10, 20)
"""Seconds of exploring, as multiples of what the set's queries take once by default."""
BEST = ("portfolio", "portfolio + sefrqo", "sefrqo")
"""Methods that are held against the targets."""
FOUR = KS.index(4)

HEAD = """# Query optimizers that evolve, measured

Written by `python benchmarks/sefrqo --report` from `results/*.json`, which `python benchmarks/sefrqo` measures.

**How.** All methods only choose hints. A plan is measured once, when the first method asks for it, and kept in a journal that
all look it up in; in which order a method tries plans, and so what it knows after k of them, is its own. The loop is the one
that explores in production (`trellis.exploring`): a ladder of time-outs, at most 1.2 times the best so far, what ran faster
verified in five interleaved pairs with the default, results compared. Every method has tried 8 plans on each training query
before it meets another, and tries up to 8 there.

**What the numbers are.** A speed-up is the default's time over the method's, in the median of five pairs. *First shot*: the
first proposal, run as it is, stopped at {slowest:g} times the default's time. *k*: what is served after k tries, the default
where nothing was verified to be faster; judged by pairs that no decision has seen. *Oracle*: the fastest plan that any method
has measured, judged likewise. Means are geometric; intervals are 95% bootstrap intervals over queries, paired where two methods
are compared. *new constants*: other queries of templates that were explored. *held-out templates*: nothing like them was.
"""


def write_report(results: Path, target: Path) -> Path:
    """Write the report of everything measured so far."""
    by_name: dict[str, dict[int, Mapping[str, Any]]] = {}
    for path in sorted(results.glob("*.json")):
        name, _, seed = path.stem.rpartition("-")
        cell = json.loads(path.read_text(encoding="utf-8"))
        # Without an oracle not all of it is measured yet.
        if "oracle" in cell:
            by_name.setdefault(name, {})[int(seed)] = cell
    groups = [Group(name, dict(sorted(cells.items()))) for name, cells in by_name.items()]
    groups.sort(key=lambda group: (group.name != "shop", group.name))
    sections = [HEAD.format(slowest=FULL.slowest), _targets(groups)] if groups else [HEAD]
    for group in groups:
        sections.append(_group(group))
    target.write_text("\n".join(sections), encoding="utf-8")
    return target


def _targets(groups: Sequence[Group]) -> str:
    """What was to be reached, and what was."""
    lines = ["## What was to be reached\n", "| target | reached |", "|---|---|"]
    found = [decisions(group) for group in groups]
    wrong = sum(cell["table"]["wrong"] for group in groups for cell in group.cells.values())
    slower, plans = sum(one[1] for one in found), sum(one[0] for one in found)
    lines.append(
        f"| served: none more than 5% slower, no different result | {slower} of {plans} plans slower, {wrong} different |"
    )
    for group in groups:
        for set_, share in ((NEW, "95%"), (UNSEEN, "85%")):
            if set_ not in group.sets():
                continue
            oracle, clusters = group.oracle(set_), group.clusters(set_)
            best = [method for method in BEST if method in group.methods(set_)]
            of_oracle, over = [], []
            for method in best:
                four = group.served(set_, method, FOUR)
                of_oracle.append(f"{method} {_percent(mean_ratio(four, oracle, clusters=clusters))}")
                if "neighbours" in group.methods(set_):
                    theirs = group.served(set_, "neighbours", FOUR)
                    over.append(f"{method} {_interval(mean_ratio(four, theirs, clusters=clusters))}")
            lines.append(f"| {set_}: k = 4 at {share} of the oracle's mean | {'; '.join(of_oracle)} |")
            lines.append(f"| {set_}: k = 4 over neighbours alone, interval above 1 | {'; '.join(over)} |")
            if "sefrqo" in group.methods(set_):
                first = group.first(set_, "sefrqo")
                mean = _interval(mean_ratio(first, [1.0] * len(first), clusters=clusters))
                lines.append(
                    f"| {set_}: first shot of the language model 1.9, at most 3% slower than 1.2x | {mean}, "
                    f"{share_slower(first, 1.2):.0%} slower |"
                )
        if group.name == "stats":
            taken = {method: off(group, method, kept=outside(group)[0]) for method in group.methods(EXPLORED)}
            lines.append(
                "| stats: 60% off the total outside the query without head-room, explored for 10x | "
                + "; ".join(
                    f"{method} {taken[method][0]:.0%}" for method in sorted(taken, key=lambda m: -taken[m][0])[:3]
                )
                + " |"
            )
    return "\n".join(lines) + "\n"


def _group(group: Group) -> str:
    seeds = ", ".join(map(str, group.cells))
    title = "The generated shop" if group.name == "shop" else f"`--data {group.name}`"
    lines = [f"## {title}\n"]
    sizes = ", ".join(f"{len(group.default_ms(set_))} {set_}" for set_ in group.sets())
    version = next(iter(group.cells.values()))["workload"]["server_version"]
    lines.append(f"Queries of seeds {seeds}: {sizes}. PostgreSQL {version // 10000}.{version % 10000}.\n")
    unusable = {id_: why for cell in group.cells.values() for id_, why in cell["workload"]["unusable"].items()}
    lines += [f"Left out: {id_}, since {why}.\n" for id_, why in sorted(unusable.items())]
    lines += [_served(group), *(_set(group, set_) for set_ in group.sets()), _seconds(group)]
    if all("tuned" in cell for cell in group.cells.values()):
        lines.append(_tuned(group))
    if all("ablation" in cell for cell in group.cells.values()):
        lines.append(_ablation(group))
    if group.name != "shop":
        lines.append(_totals(group))
    return "\n".join(lines)


def _set(group: Group, set_: str) -> str:
    default_ms, clusters, oracle = group.default_ms(set_), group.clusters(set_), group.oracle(set_)
    ones = [1.0] * len(oracle)
    methods = group.methods(set_)
    base = "neighbours" if "neighbours" in methods else None
    lines = [f"### {set_}: {len(oracle)} queries\n"]
    lines += [
        f"| method | first shot | > {OVER}x | > 1.2x slower | worst | k = "
        + " | k = ".join(map(str, KS))
        + " | total, k = 8 | of the oracle's, k = 4 | over neighbours, k = 4 | k = 8 |",
        "|---|" + "---|" * (8 + len(KS)),
    ]
    for method in methods:
        first = group.first(set_, method)
        served = [group.served(set_, method, place) for place in range(len(KS))]
        cells = [
            _interval(mean_ratio(first, ones, clusters=clusters)),
            f"{share_slower(first, OVER):.0%}",
            f"{share_slower(first, 1.2):.0%}",
            f"{slowest(first):.1f}x",
            *(f"{geometric_mean(each):.2f}" for each in served),
            _interval(sum_ratio(default_ms, served[LAST])),
            _percent(mean_ratio(served[FOUR], oracle, clusters=clusters)),
        ]
        for place in (FOUR, LAST):
            theirs = None if base in (None, method) else group.served(set_, str(base), place)
            cells.append("" if theirs is None else _interval(mean_ratio(served[place], theirs, clusters=clusters)))
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    lines.append(
        f"| (oracle) | | | | | | | | {geometric_mean(oracle):.2f} | {_interval(sum_ratio(default_ms, oracle))} | | | |"
    )
    return "\n".join(lines) + "\n"


def _seconds(group: Group) -> str:
    """At equal seconds: what executions cost a method counts, the default's own and verification included."""
    lines = ["### At equal seconds of exploring\n"]
    lines.append(
        "Geometric mean of what is served when executions, the default's own and verification included, have taken so many "
        "times what the set takes once by default. In parentheses: all 8 tries were made within it.\n"
    )
    for set_ in group.sets():
        lines += [f"| {set_} | " + " | ".join(f"{budget}x" for budget in BUDGETS) + " | all tries take |"]
        lines.append("|---|" + "---|" * (1 + len(BUDGETS)))
        for method in group.methods(set_):
            cells = []
            for budget in BUDGETS:
                found: list[float] = []
                more = False
                for cell in group.cells.values():
                    rows = cell["methods"][method][set_]
                    total_s = sum(cell["workload"]["sets"][set_]["default_ms"]) / 1000
                    speedups, cut = at_budget(rows["served"], rows["seconds"], budget * total_s)
                    found += speedups
                    more |= cut
                mean = f"{geometric_mean(found):.2f}"
                cells.append(mean if more else f"({mean})")
            total = sum(map(sum, group.column(set_, method, "seconds"))) * 1000 / sum(group.default_ms(set_))
            lines.append(f"| {method} | " + " | ".join(cells) + f" | {total:.0f}x |")
        lines.append("")
    return "\n".join(lines)


def _ablation(group: Group) -> str:
    """What each part is worth on unseen queries."""
    lines = ["### Ablation\n", "Geometric means, and their ratio to the whole method's.\n"]
    sets = [set_ for set_ in (NEW, UNSEEN) if set_ in group.sets()]
    lines += ["| | " + " | ".join(f"{set_}, first shot | k = 4 | k = 8 | ratio, k = 8" for set_ in sets) + " |"]
    lines.append("|---|" + "---|---|---|---|" * len(sets))
    for whole in ("portfolio", "sefrqo"):
        names = [
            name
            for name in ABLATIONS
            if name.startswith(whole) and all(name in cell["ablation"] for cell in group.cells.values())
        ]
        for name in [whole, *names]:
            cells = []
            for set_ in sets:
                if set_ not in next(iter(group.cells.values()))["methods"].get(whole, {}):
                    continue
                part = "methods" if name == whole else "ablation"
                rows = [cell[part][name][set_] for cell in group.cells.values()]
                first = [speedup for row in rows for speedup in row["first"]]
                four, last = ([each[k] for row in rows for each in row["served"]] for k in (FOUR, LAST))
                theirs = group.served(set_, whole, LAST)
                ratio = "" if name == whole else _interval(mean_ratio(last, theirs, clusters=group.clusters(set_)))
                cells += [*(f"{geometric_mean(each):.2f}" for each in (first, four, last)), ratio]
            if cells:
                lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _served(group: Group) -> str:
    """Whether what is served is ever slower than the default."""
    plans, slower, worst = decisions(group)
    tables = [cell["table"] for cell in group.cells.values()]
    total = {name: sum(table[name] for table in tables) for name in tables[0]}
    return (
        f"**Served**: of {plans} plans that any method served at any k, {slower} were more than 5% slower than the default when "
        f"judged by five new pairs; the worst took {worst:.2f} times its time. **{total['wrong']} different results** in "
        f"{total['executions']:.0f} executions of {total['plans']:.0f} plans, which took {total['seconds'] / 60:.0f} minutes in "
        f"all; {total['failed']} plans failed.\n"
    )


def _tuned(group: Group) -> str:
    settings = ", ".join(f"{name} = {value}" for name, value in TUNED.items())
    lines = ["### A tuned server\n"]
    lines.append(
        f"{settings}, once for all queries. `alone`: its default against the plain server's, in pairs. `portfolio on top`: what "
        "the portfolio serves there after 8 tries, over the tuned default; `both` is their product, over the plain default.\n"
    )
    lines += [
        "| set | alone | > 1.2x slower | portfolio on top | both | portfolio on the plain server |",
        "|---|" + "---|" * 5,
    ]
    for set_ in group.sets():
        alone: list[float] = []
        top: list[float] = []
        both: list[float] = []
        plain: list[float] = []
        for cell in group.cells.values():
            own = dict(zip(cell["workload"]["sets"][set_]["ids"], cell["tuned"]["speedup"][set_], strict=True))
            ids = cell["tuned"]["workload"]["sets"][set_]["ids"]
            served = [row[LAST] for row in cell["tuned"]["portfolio"][set_]["served"]]
            alone += own.values()
            top += served
            both += [own[id_] * speedup for id_, speedup in zip(ids, served, strict=True)]
            plain += [row[LAST] for row in cell["methods"]["portfolio"][set_]["served"]]
        ones = [1.0] * len(alone)
        cells = [
            _interval(mean_ratio(alone, ones)),
            f"{share_slower(alone, 1.2):.0%}",
            *(_interval(mean_ratio(each, [1.0] * len(each))) for each in (top, both, plain)),
        ]
        lines.append(f"| {set_} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _totals(group: Group) -> str:
    """Total latency of the explored queries."""
    default_ms, (kept, out) = group.default_ms(EXPLORED), outside(group)
    lines = ["### Total latency\n"]
    kept_s = sum(default_ms[i] for i in kept) / 1000
    without = f"; without {out}, the longest on which no plan is 1.1 times as fast, {kept_s:.1f} s" if out else ""
    lines.append(
        f"By default {sum(default_ms) / 1000:.1f} s{without}. What is taken off that, explored for 10 times the whole's time, "
        "and to the end:\n"
    )
    lines += ["| method | off, 10x | off, k = 8 |", "|---|---|---|"]
    for method in group.methods(EXPLORED):
        at_10, last = off(group, method, kept=kept)
        lines.append(f"| {method} | {at_10:.0%} | {last:.0%} |")
    lines.append(f"| (oracle) | | {off_by(default_ms, group.oracle(EXPLORED), kept):.0%} |")
    return "\n".join(lines) + "\n"


def _interval(found: Interval | Sequence[float]) -> str:
    value, low, high = found
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def _percent(found: Interval) -> str:
    return f"{found.value:.0%} ({found.low:.0%} to {found.high:.0%})"
