"""RESULTS.md from results/*.json: tables of means, and differences with paired bootstrap intervals.

A difference pairs two methods on the same problem of the same task and seed. Problems are resampled as clusters: a problem
under several seeds and searches is drawn as one.
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trellis.run.measures import paired_bootstrap

MAIN = ("best-of-n", "beam", "mcts")

HEAD = """# AIRL-S, measured

Written by `python benchmarks/airl_s --report` from `results/*.json`, which `python benchmarks/airl_s` measures. Accuracies
are shares of test problems; differences are in points, with 95% intervals of a paired bootstrap over problems.
"""


@dataclass(frozen=True, slots=True)
class Found:
    """One row of a part, with the cell it was measured in."""

    task: str
    seed: int
    row: Mapping[str, Any]


def write_report(results: Path, target: Path) -> Path:
    """Write the report of everything measured so far."""
    cells = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*.json"))}
    parts: defaultdict[str, list[Found]] = defaultdict(list)
    extras: defaultdict[str, list[Found]] = defaultdict(list)
    for name, cell in cells.items():
        task, _, seed = name.rpartition("-")
        for part, measured in cell.items():
            parts[part] += [Found(task, int(seed), row) for row in measured["rows"]]
            extras[part].append(Found(task, int(seed), measured))
    sections = [
        HEAD,
        _cells(parts),
        *(write(parts[name], extras[name]) for name, write in SECTIONS.items() if parts[name]),
    ]
    target.write_text("\n".join(sections), encoding="utf-8")
    return target


def _cells(parts: Mapping[str, Sequence[Found]]) -> str:
    lines = ["| part | tasks | seeds | cells |", "|---|---|---|---|"]
    for name, found in parts.items():
        cells = {(one.task, one.seed) for one in found}
        tasks, seeds = {task for task, _ in cells}, {seed for _, seed in cells}
        lines.append(f"| {name} | {len(tasks)} | {len(seeds)} | {len(cells)} |")
    return "\n".join(lines) + "\n"


def _search(found: Sequence[Found], extras: Sequence[Found]) -> str:
    tasks = sorted({one.task for one in found})
    rewards = list(dict.fromkeys(one.row["reward"] for one in found if one.row["search"] in MAIN))
    rewards.sort(key=lambda reward: -_mean(found, reward=reward, search=("best-of-n",)))
    steering = [r for r in rewards if all(any(_of(found, reward=r, search=(s,))) for s in MAIN)]
    lines = ["## Search on the SFT policy\n"]
    lines.append(
        "Mean over tasks and seeds; searches step by step get up to 1.15 times the tokens of best-of-n, and what they took is "
        "below. `airl`: given traces (8 a problem where there are as many) and hard negatives finished by the policy, no "
        "verifier; all others but the bounds: the rollouts and their outcomes. `l` and names alone: without log π; `f` and "
        "`+ log-pi`: with half of it.\n"
    )
    lines += ["| reward | " + " | ".join(MAIN) + " | mean of the three | above majority |", "|---|" + "---|" * 5]
    for reward in rewards:
        means = [_mean(found, reward=reward, search=(search,)) for search in MAIN]
        over = MAIN if reward in steering else ("best-of-n",)
        above = _difference(found, {"reward": reward, "search": over}, {"reward": None, "search": ("majority",)})
        three = f"{statistics.fmean(means):.3f}" if reward in steering else ""
        above += "" if reward in steering else " (best-of-n)"
        lines.append(f"| {reward} | {_cells_of(means)} | {three} | {above} |")
    for name in ("majority", "greedy"):
        lines.append(f"| ({name}) | {_mean(found, reward=None, search=(name,)):.3f} | | | | |")
    majority = {(o.task, o.seed): o.row["tokens"] for o in found if o.row["search"] == "majority"}
    others = [s for s in dict.fromkeys(o.row["search"] for o in found) if s not in (*MAIN, "majority", "greedy")]
    lines += ["\n| search | airl f | log-pi | oracle | tokens, of majority's |", "|---|---|---|---|---|"]
    for search in [*MAIN, *others]:
        shown = ("airl f", "log-pi", "oracle")
        values = [_mean(found, reward=r, search=(search,)) for r in shown]
        spent = _fmean(
            o.row["tokens"] / majority[o.task, o.seed] for o in _of(found, reward="airl f", search=(search,))
        )
        lines.append(f"| {search} | {_cells_of([*values, spent])} |")
    lines.append("\nBy task, mean of best-of-n, beam and mcts:\n")
    columns = ["majority", "log-pi", "airl f", "airl-own f", "correct-wrong + log-pi", "outcome-value + log-pi"]
    columns += ["monte-carlo + log-pi", "oracle"]
    lines += ["| task | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for task in tasks:
        of_task = [one for one in found if one.task == task]
        values = [
            _mean(of_task, reward=None, search=("majority",))
            if column == "majority"
            else _mean(of_task, reward=column, search=MAIN)
            for column in columns
        ]
        lines.append(f"| {task} | {_cells_of(values)} |")
    lines.append("\n### AIRL's f against the others\n")
    lines.append("Points, over tasks, seeds and the three searches; a mean over tasks of equal size.\n")
    lines += ["| f above | difference |", "|---|---|"]
    f = {"reward": "airl f", "search": MAIN}
    lines.append(f"| majority | {_difference(found, f, {'reward': None, 'search': ('majority',)})} |")
    for reward in steering:
        if reward != "airl f":
            lines.append(f"| {reward} | {_difference(found, f, {'reward': reward, 'search': MAIN})} |")
    lines.append("\n### What the rewards know\n")
    lines.append(
        "On rollouts of test problems: AUC within a problem against the outcome (last step) and against the step"
    )
    lines.append("oracle (every step), expected calibration error and Brier score of a held-out logistic fit.\n")
    lines += ["| reward | outcome AUC | step AUC within | step AUC pooled | ECE | Brier |", "|---|---|---|---|---|---|"]
    for reward in extras[0].row["assess"]:
        values = [
            _fmean(e.row["assess"][reward].get(key) for e in extras)
            for key in ("outcome_auc", "step_auc_within", "step_auc", "ece", "brier")
        ]
        lines.append(f"| {reward} | {_cells_of(values)} |")
    lines.append("\n" + _fits(extras))
    lines.append("\n" + _seconds(extras))
    return "\n".join(lines) + "\n"


def _fits(extras: Sequence[Found]) -> str:
    """Return what each fit showed on problems held out: how much of a result is luck."""
    known = [e for e in extras if "fits" in e.row]
    names = list(dict.fromkeys(name for e in known for name in e.row["fits"]))
    note = (
        "On training problems held out, each fit in the order made; the best was kept. `airl`: minus its own loss, for no "
        "outcome may choose there. All others: AUC within a problem, last step, without log π; where the first has 0.90 no "
        "second is made. Of tasks that are not here a single fit was made.\n"
    )
    lines = [
        note,
        "| task, seed | " + " | ".join(names) + " |",
        "|---|" + "---|" * len(names),
    ]
    for e in known:
        told = (", ".join(f"{value:.2f}" for value in e.row["fits"][name]) for name in names)
        lines.append(f"| {e.task}, {e.seed} | {' | '.join(told)} |")
    return "\n".join(lines)


def _seconds(extras: Sequence[Found]) -> str:
    names = list(dict.fromkeys(name for e in extras for name in e.row.get("seconds", {})))
    lines = ["Wall-clock seconds, median over cells:\n", "| made | seconds |", "|---|---|"]
    for name in names:
        values = [e.row["seconds"][name] for e in extras if name in e.row.get("seconds", {})]
        lines.append(f"| {name} | {statistics.median(values):.1f} |")
    return "\n".join(lines)


def _policies(found: Sequence[Found], extras: Sequence[Found]) -> str:
    names = list(dict.fromkeys(one.row["policy"] for one in found))
    passes = [one for one in found if one.row["search"] is None]
    n = passes[0].row["samples"]
    columns = ["majority", "best-of-n, f", "beam, f", "best-of-n, log-pi", "best-of-n, oracle"]
    lines = ["## Policies\n", f"All at the same number of rollouts. pass@k from {n} samples of each test problem.\n"]
    lines += [
        f"| policy | pass@1 | above sft | pass@{n} | above sft | " + " | ".join(columns) + " |",
        "|---|" + "---|" * (4 + len(columns)),
    ]
    for name in names:
        own, sft = ([one for one in passes if one.row["policy"] == p] for p in (name, "sft"))
        first = _paired(own, sft, lambda row: [count / n for count in row["counts"]])
        any_ = _paired(own, sft, lambda row: [float(count > 0) for count in row["counts"]])
        of_policy = [one for one in found if one.row["policy"] == name]
        searched = [
            _mean(of_policy, reward=reward, search=(search,))
            for search, reward in (
                ("majority", None),
                ("best-of-n", "airl f"),
                ("beam", "airl f"),
                ("best-of-n", "log-pi"),
                ("best-of-n", "oracle"),
            )
        ]
        pass_1 = _fmean(one.row["pass@1"] for one in own)
        pass_n = _fmean(one.row[f"pass@{n}"] for one in own)
        lines.append(f"| {name} | {pass_1:.3f} | {first} | {pass_n:.3f} | {any_} | {_cells_of(searched)} |")
    lines += ["\npass@1 by task:\n", "| task | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for task in sorted({one.task for one in passes}):
        values = [_fmean(o.row["pass@1"] for o in passes if o.task == task and o.row["policy"] == p) for p in names]
        lines.append(f"| {task} | {_cells_of(values)} |")
    lines.append("\n" + _seconds(extras))
    return "\n".join(lines) + "\n"


def _refit(found: Sequence[Found], _: Sequence[Found]) -> str:
    lines = ["## The luck of a fit\n", "AIRL fitted several times on the same rollouts, best-of-n with f.\n"]
    lines += ["| weights | mean accuracy | std over fits, mean over cells | largest |", "|---|---|---|---|"]
    for variant in dict.fromkeys(one.row["variant"] for one in found):
        fits: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
        for one in found:
            if one.row["variant"] == variant:
                fits[one.task, one.seed].append(one.row["accuracy"])
        spreads = [statistics.stdev(values) for values in fits.values()]
        mean = _fmean(value for values in fits.values() for value in values)
        lines.append(f"| {variant} | {mean:.3f} | {statistics.fmean(spreads):.3f} | {max(spreads):.3f} |")
    return "\n".join(lines) + "\n"


def _forms(found: Sequence[Found], _: Sequence[Found]) -> str:
    lines = ["## Forms and stabilisers\n", "Best-of-n: by the logit l (or what the form gives for it), and by f.\n"]
    lines += ["| variant | l | f |", "|---|---|---|"]
    for variant in dict.fromkeys(one.row["variant"] for one in found):
        values = [
            _fmean(o.row["accuracy"] for o in found if o.row["variant"] == variant and o.row["score"] == score)
            for score in ("l", "f")
        ]
        lines.append(f"| {variant} | {_cells_of(values)} |")
    return "\n".join(lines) + "\n"


def _transfer(found: Sequence[Found], _: Sequence[Found]) -> str:
    lines = ["## The same reward with other policies\n"]
    lines.append("The reward fitted on the SFT policy's rollouts, unchanged, with a policy it has never seen.\n")
    shown = [("majority", None), ("best-of-n", "log-pi"), ("best-of-n", "airl f"), ("beam", "airl f")]
    lines += [
        "| policy | pass@1 | " + " | ".join(f"{s}{', ' + r if r else ''}" for s, r in shown) + " | f above majority |"
    ]
    lines.append("|---|" + "---|" * (len(shown) + 2))
    for name in dict.fromkeys(one.row["policy"] for one in found):
        of_policy = [one for one in found if one.row["policy"] == name]
        values = [_mean(of_policy, reward=reward, search=(search,)) for search, reward in shown]
        above = _difference(
            of_policy,
            {"reward": "airl f", "search": ("best-of-n", "beam")},
            {"reward": None, "search": ("majority",)},
        )
        pass_1 = _fmean(o.row["pass@1"] for o in of_policy if o.row["search"] is None)
        lines.append(f"| {name} | {pass_1:.3f} | {_cells_of(values)} | {above} |")
    return "\n".join(lines) + "\n"


def _curve(found: Sequence[Found], _: Sequence[Found]) -> str:
    lines = ["## Accuracy by budget\n", "N: the tokens of N whole completions.\n"]
    sizes = sorted({one.row["n"] for one in found})
    shown = [("majority", None), *((search, reward) for reward in ("airl f", "oracle") for search in MAIN)]
    lines += ["| N | " + " | ".join(f"{s}{', ' + r if r else ''}" for s, r in shown) + " | best with f |"]
    lines.append("|---|" + "---|" * (len(shown) + 1))
    for n in sizes:
        at = [one for one in found if one.row["n"] == n]
        values = [_mean(at, reward=reward, search=(search,)) for search, reward in shown]
        best = MAIN[max(range(3), key=lambda i: values[1 + i])]
        lines.append(f"| {n} | {_cells_of(values)} | {best} |")
    return "\n".join(lines) + "\n"


def _regimes(found: Sequence[Found], _: Sequence[Found]) -> str:
    lines = ["## Where success is sparse\n"]
    lines.append(
        "GRPO from the same SFT policy, with outcomes alone and with a process reward besides; AIRL's is fitted"
    )
    lines.append(
        "before and its fit counts into `AIRL's seconds`. pass@1, and the difference to outcomes alone at those seconds.\n"
    )
    names = list(dict.fromkeys(one.row["policy"] for one in found))
    base = "outcome, AIRL's seconds"
    lines += ["| task | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for task in sorted({one.task for one in found}):
        values = [_fmean(o.row["pass@1"] for o in found if o.task == task and o.row["policy"] == p) for p in names]
        lines.append(f"| {task} | {_cells_of(values)} |")
    n = found[0].row["samples"]
    lines += [
        f"\n| task | reward | pass@1 above outcomes alone | pass@{n} above | seconds of RL |",
        "|---|---|---|---|---|",
    ]
    for task in [*sorted({one.task for one in found}), "all"]:
        of_task = [one for one in found if task in ("all", one.task)]
        theirs = [one for one in of_task if one.row["policy"] == base]
        for name in names:
            ours = [one for one in of_task if one.row["policy"] == name]
            if name in ("sft", base):
                continue
            first = _paired(ours, theirs, lambda row: [count / n for count in row["counts"]])
            any_ = _paired(ours, theirs, lambda row: [float(count > 0) for count in row["counts"]])
            lines.append(f"| {task} | {name} | {first} | {any_} | {_fmean(o.row['seconds'] for o in ours):.0f} |")
    return "\n".join(lines) + "\n"


SECTIONS: dict[str, Callable[[Sequence[Found], Sequence[Found]], str]] = {
    "search": _search,
    "policies": _policies,
    "refit": _refit,
    "forms": _forms,
    "transfer": _transfer,
    "curve": _curve,
    "regimes": _regimes,
}


def _of(found: Iterable[Found], *, reward: str | None, search: Sequence[str]) -> Iterator[Found]:
    return (one for one in found if one.row["search"] in search and one.row.get("reward") == reward)


def _mean(found: Iterable[Found], *, reward: str | None, search: Sequence[str]) -> float:
    return _fmean(one.row["accuracy"] for one in _of(found, reward=reward, search=search))


def _difference(found: Sequence[Found], ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """Return the difference in points; where one side has one search and the other three, the one stands for each."""
    other = {(o.task, o.seed, o.row["search"]): o.row["correct"] for o in _of(found, **theirs)}
    single = theirs["search"][0] if len(theirs["search"]) == 1 else None
    a: list[float] = []
    b: list[float] = []
    clusters: list[tuple[str, int]] = []
    for one in _of(found, **ours):
        against = other.get((one.task, one.seed, single or one.row["search"]))
        if against is not None:
            a += map(float, one.row["correct"])
            b += map(float, against)
            clusters += [(one.task, i) for i in range(len(against))]
    return _points(a, b, clusters)


def _paired(ours: Sequence[Found], theirs: Sequence[Found], read: Callable[[Mapping[str, Any]], list[float]]) -> str:
    other = {(one.task, one.seed): read(one.row) for one in theirs}
    a: list[float] = []
    b: list[float] = []
    clusters: list[tuple[str, int]] = []
    for one in ours:
        values = read(one.row)
        a += values
        b += other[one.task, one.seed]
        clusters += [(one.task, i) for i in range(len(values))]
    return _points(a, b, clusters)


def _points(a: Sequence[float], b: Sequence[float], clusters: Sequence[tuple[str, int]]) -> str:
    if not a or a == b:
        return "" if not a else "0"
    difference, low, high = paired_bootstrap(a, b, clusters=clusters, num=2000)
    return f"{100 * difference:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def _fmean(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else float("nan")


def _cells_of(values: Iterable[float]) -> str:
    return " | ".join("" if value != value else f"{value:.3f}" for value in values)
