"""Which reward puts plans in the right order before any of them runs: AIRL, predicted latency, the planner's cost, chance.

Legal plans of every query of the shop workload are measured (`measured_plans.py`); rewards are fitted on those of training
queries and put the plans of test queries in order: queries with new constants of templates that were trained on, and of three
templates of which nothing was. All rewards that read tokens have one network (the same first weights), batches and number of
updates; so have the two that are linear in words, of larger batches and fewer updates.
Per query: Spearman's correlation of score and measured gain; and the speed-up over the default when the 1, 2 or 4 plans
ranked highest are executed and the fastest is taken if it beats the default ("verified"), else the default. Intervals are of
resampled queries.

    python benchmarks/sql/ranking.py --measure   # measure what the journal lacks, write results/ranking_plans.jsonl.gz
    python benchmarks/sql/ranking.py --words     # only EXPLAIN those that were measured, for rewards that read words
    python benchmarks/sql/ranking.py             # fit and compare on these, write results/ranking.json and RANKING.md
    python benchmarks/sql/ranking.py --fit 0     # only fit what is missing of seed 0; fits are kept in --fits
    python benchmarks/sql/ranking.py --report    # write RANKING.md again
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trellis import Outcome, Problem, Rollout, Step, Task, Trajectory, build
from trellis.run.measures import spearman
from trellis.types import Split

HERE = Path(__file__).parent
PLANS = HERE / "results" / "ranking_plans.jsonl.gz"
RESULT = HERE / "results" / "ranking.json"
REPORT = HERE / "RANKING.md"
BATCH = 32
WORDS_BATCH, WORDS_UPDATES = 128, 200
SETS = ("validation", "new constants", "unseen templates")
TOP = (1, 2, 4)
MAIN = "airl, words"
METHODS = {
    "random": "chance",
    "plan-cost": "the planner's cost of the plan, nothing learned",
    "latency": "latency-predictor: regression of the measured gain",
    "latency, centred": "the same, each query's gains less their mean (`center: true`)",
    "latency, words": "centred regression, linear in the task's words for decisions and plans (`reads: words`)",
    "airl, words": "graded AIRL, linear in the same words",
    "airl-sorted": "AIRL, experts are plans measured faster than the default, negatives the query's others",
    "airl": "AIRL, experts are all plans to the degree of their measured gain (`experts: graded`)",
    "latency + cost": "latency-predictor and the planner's cost, weight chosen on validation queries",
    "airl + cost": "graded AIRL and the planner's cost, weight chosen on validation queries",
    "latency, words + cost": "that regression and the planner's cost, likewise",
    "airl, words + cost": "that AIRL and the planner's cost, likewise",
}
WORDS = {"reads": "words", "learning_rate": 0.03, "weight_decay": 0.1}
LEARNED: dict[str, tuple[str, dict[str, Any]]] = {
    "latency, words": ("latency-predictor", {**WORDS, "center": True}),
    "airl, words": ("airl", {**WORDS, "experts": "graded", "grade_temperature": 1.0, "search_score": "l"}),
    "latency": ("latency-predictor", {}),
    "latency, centred": ("latency-predictor", {"center": True}),
    "airl-sorted": (
        "airl", {"experts": "rollouts", "negatives": "wrong", "match": "problem", "search_score": "l"},
    ),
    "airl": ("airl", {"experts": "graded", "grade_temperature": 1.0, "search_score": "l"}),
}  # fmt: skip
SETTINGS = ("scale", "seeds", "updates", "rate", "layers", "width", "prompt")
WEIGHTS = (0.1, 0.2, 0.4, 0.8)


def load(path: Path = PLANS) -> dict[str, list[dict[str, Any]]]:
    """Return the measured queries by split: "train", "validation", "new constants", "unseen templates"."""
    found: dict[str, list[dict[str, Any]]] = {}
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            query = json.loads(line)
            found.setdefault(query["split"], []).append(query)
    # Whatever was planned: a template of which nothing was trained on is unseen.
    trained = {query["template"] for query in found["train"]}
    unseen = [query for query in found["new constants"] if query["template"] not in trained]
    found["new constants"] = [query for query in found["new constants"] if query["template"] in trained]
    found["unseen templates"] += unseen
    return found


def rollouts(query: Mapping[str, Any], prompt: str = "prompt") -> list[Rollout]:
    """Return a query's plans as a workload's `experience` has them."""
    problem = Problem(query["id"], query["sql"])
    return [
        Rollout(
            Trajectory(problem, query[prompt], tuple(map(Step, plan["steps"])), finished=True),
            Outcome(plan["faster"], float(plan["faster"]), "", plan["gain"], plan["bounded"]),
        )
        for plan in query["plans"]
    ]


class Recorded(Task):
    """What the workload said of the steps of measured plans, for rewards that read its words."""

    def __init__(self, queries: Sequence[Mapping[str, Any]]) -> None:
        self._words: dict[tuple[str, tuple[str, ...]], list[list[str]]] = {
            (query["id"], tuple(plan["steps"])): plan["words"] for query in queries for plan in query["plans"]
        }

    def problems(self, split: Split) -> Sequence[Problem]:
        """Return nothing: it is asked for words alone."""
        return ()

    def verify(self, trajectory: Trajectory) -> Outcome:
        """Judge nothing: plans were measured before."""
        return Outcome(False, 0.0, "nothing is run here")

    def step_words(self, trajectory: Trajectory) -> list[list[str]]:
        """Return a measured plan's words."""
        return self._words[trajectory.problem.id, tuple(step.text for step in trajectory.steps)]


def vocabulary(queries: Sequence[Mapping[str, Any]], prompt: str) -> list[str]:
    """Return what is one token: names in their places, table names, and conditions up to their literals."""
    words = {f"{before}t{number}" for number in range(1, 13) for before in ("", " ", "(", "-", "Join(")}
    words |= {"Leading(", "((", "(((", "))", ")))", ")\n", " (", "default ", " BETWEEN ", " AND "}
    for query in queries:
        words |= set(re.findall(r" [a-z_]+ (?:= '[a-z_]+-|[=<>]+ )| [a-z_]+ BETWEEN | [a-z_]{3,} ", query[prompt]))
    return sorted(words)


def fit(
    kind: str,
    config: dict[str, Any],
    queries: Sequence[dict[str, Any]],
    args: argparse.Namespace,
    *,
    seed: int,
    task: Task,
) -> Any:
    """Fit a reward on the plans of queries, whole queries a batch."""
    init = {"model_type": "gpt2", "n_layer": args.layers, "n_embd": args.width, "n_head": 4, "n_positions": 768}
    words = {"words": vocabulary(queries, args.prompt)}
    policy = build("transformers", {"init": init, "tokenizer": words, "cpu_threads": 1, "seed": seed})
    reward = build(kind, {"learning_rate": args.rate, "weight_decay": 0.05, **config}, policy=policy, task=task)
    size, updates = (WORDS_BATCH, WORDS_UPDATES) if "reads" in config else (BATCH, args.updates)
    reward.reset(seed=seed, num_updates=updates)
    rng = np.random.default_rng(seed)
    plans = [rollouts(query, args.prompt) for query in queries]
    order: list[int] = []
    started = time.monotonic()
    for update in range(updates):
        batch: list[Rollout] = []
        while len(batch) < size:
            order = order or list(rng.permutation(len(plans)))
            batch += plans[order.pop()]
        metrics = reward.update([], batch)
        if (update + 1) % 50 == 0:
            print(f"  {kind} {update + 1}: loss {metrics['loss']:.3f}, {time.monotonic() - started:.0f} s", flush=True)
    return reward


def scored(reward: Any, queries: Sequence[dict[str, Any]], prompt: str) -> list[np.ndarray]:
    """Return the scores of each query's plans."""
    return [np.array([row[-1] for row in reward.score([r.trajectory for r in rollouts(q, prompt)])]) for q in queries]


def correlation(scores: np.ndarray, gains: np.ndarray) -> float:
    """Return Spearman's correlation; NaN where all gains are alike, 0 where all scores are."""
    if np.ptp(gains) == 0:
        return float("nan")
    return spearman(scores.tolist(), gains.tolist()) or 0.0


def gains_of(query: Mapping[str, Any]) -> np.ndarray:
    """Return the measured gains of a query's plans; those that were stopped have their bound."""
    return np.array([plan["gain"] for plan in query["plans"]])


def measures(scores: Sequence[np.ndarray], queries: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """Return by query: Spearman's correlation, the log speed-up with k plans executed, and that of the first, unguarded."""
    found: dict[str, list[float]] = {"spearman": [], "first": [], **{f"top {k}": [] for k in TOP}}
    for values, query in zip(scores, queries, strict=True):
        gains = gains_of(query)
        order = np.argsort(-values, kind="stable")
        found["spearman"].append(correlation(values, gains))
        found["first"].append(float(gains[order[0]]))
        for k in TOP:
            found[f"top {k}"].append(max(0.0, float(gains[order[:k]].max())))
    return found


def all_scores(
    data: Mapping[str, list[dict[str, Any]]], args: argparse.Namespace, seed: int
) -> dict[str, dict[str, list[np.ndarray]]]:
    """Return by set and method the scores of every query's plans."""
    rng = np.random.default_rng([seed, 1])
    found: dict[str, dict[str, list[np.ndarray]]] = {
        name: {
            "random": [rng.random(len(q["plans"])) for q in data[name]],
            "plan-cost": [np.array([plan["cost"] for plan in q["plans"]]) for q in data[name]],
        }
        for name in SETS
    }
    for method in args.methods:
        if args.kept and not _kept(method, args, seed).exists():
            continue
        given = _fitted(method, data, args, seed)
        scale = LEARNED[method][1].get("grade_temperature", 1.0)
        both = _weighted(given["validation"], data["validation"], scale)
        for name in SETS:
            found[name][method] = given[name]
            if method in ("latency", "airl", "latency, words", "airl, words"):
                pairs = zip(given[name], found[name]["plan-cost"], strict=True)
                found[name][f"{method} + cost"] = [scale * values + both * cost for values, cost in pairs]
    return found


def _kept(method: str, args: argparse.Namespace, seed: int) -> Path:
    updates = WORDS_UPDATES if "reads" in LEARNED[method][1] else args.updates
    path: Path = args.fits / f"{method.replace(', ', '-')}-{args.prompt}-{updates}-{seed}.json"
    return path


def _fitted(
    method: str, data: Mapping[str, list[dict[str, Any]]], args: argparse.Namespace, seed: int
) -> dict[str, list[np.ndarray]]:
    """Return by set the scores of a fitted reward: as they were kept, or of a new fit."""
    kept = _kept(method, args, seed)
    if not kept.exists():
        print(f"seed {seed}: {method}", flush=True)
        kind, config = LEARNED[method]
        task = Recorded([query for queries in data.values() for query in queries])
        reward = fit(kind, config, data["train"], args, seed=seed, task=task)
        scores = {name: [values.tolist() for values in scored(reward, data[name], args.prompt)] for name in SETS}
        args.fits.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(scores), encoding="utf-8")
    read = json.loads(kept.read_text(encoding="utf-8"))
    return {name: [np.array(values) for values in read[name]] for name in SETS}


def _weighted(scores: Sequence[np.ndarray], queries: Sequence[dict[str, Any]], scale: float) -> float:
    """Return the weight of the planner's cost with the highest mean correlation."""
    costs = [np.array([plan["cost"] for plan in query["plans"]]) for query in queries]

    def mean(weight: float) -> float:
        both = [scale * values + weight * cost for values, cost in zip(scores, costs, strict=True)]
        return float(np.nanmean(measures(both, queries)["spearman"]))

    return max(WEIGHTS, key=mean)


def interval(values: np.ndarray, of: Callable[[np.ndarray], np.ndarray]) -> list[float]:
    """Return the 95% interval of resampled queries; `values` has a query a row."""
    rows = np.random.default_rng(0).integers(len(values), size=(2000, len(values)))
    return [float(v) for v in np.quantile(of(values[rows]), [0.025, 0.975])]


def summary(found: Mapping[str, Mapping[str, list[float]]]) -> dict[str, Any]:
    """Return means over queries with intervals, and paired differences of AIRL to the others."""
    table: dict[str, Any] = {}
    for method, by in found.items():
        row: dict[str, Any] = {}
        for name, values in by.items():
            known = np.array(values)
            known = known[~np.isnan(known)]
            if name == "spearman":
                row[name] = [float(known.mean()), *interval(known, lambda v: v.mean(-1))]
            else:
                row[name] = [float(np.exp(known.mean())), *interval(known, lambda v: np.exp(v.mean(-1)))]
        table[method] = row
    return table


def _mean(values: np.ndarray) -> np.ndarray:
    return np.asarray(values.mean(-1))


def _geometric(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(values.mean(-1)))


def paired(one: Mapping[str, list[float]], other: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """Return differences of correlations, and ratios of speed-ups, with intervals over queries."""
    found = {}
    for name in one:
        difference = np.array(one[name]) - np.array(other[name])
        difference = difference[~np.isnan(difference)]
        shown = _mean if name == "spearman" else _geometric
        found[name] = [float(shown(difference)), *interval(difference, shown)]
    return found


def compare(data: Mapping[str, list[dict[str, Any]]], args: argparse.Namespace) -> dict[str, Any]:
    """Fit all seeds, and return tables by set: a query's value is the mean over seeds."""
    by_seed = [
        {name: {m: measures(s, data[name]) for m, s in scores.items()} for name, scores in found.items()}
        for found in (all_scores(data, args, seed) for seed in range(args.seeds))
    ]
    result: dict[str, Any] = {}
    for name in SETS:
        seeds: dict[str, list[dict[str, list[float]]]] = {}
        for one in by_seed:
            for method, values in one[name].items():
                seeds.setdefault(method, []).append(values)
        mean = {m: {k: list(np.mean([one[k] for one in ones], axis=0)) for k in ones[0]} for m, ones in seeds.items()}
        oracle = measures([gains_of(query) for query in data[name]], data[name])
        result[name] = {
            "queries": len(data[name]),
            "methods": summary({**mean, "oracle": oracle}),
            "seeds": {m: [float(np.nanmean(one["spearman"])) for one in ones] for m, ones in seeds.items()},
            "airl against": {m: paired(mean[MAIN], mean[m]) for m in mean if m != MAIN} if MAIN in mean else {},
        }
    return result


def measure(args: argparse.Namespace) -> None:
    """Measure, and write what fitting needs."""
    from measured_plans import export, ground

    found = ground(args.directory, scale=args.scale, num_queries=450, journal=args.journal)
    export(found, args.journal, PLANS)


def words(args: argparse.Namespace) -> None:
    """Add the words of steps to plans that were measured before there were any."""
    from measured_plans import add_words, ground

    add_words(ground(args.directory, scale=args.scale, num_queries=450, journal=args.journal), PLANS)


def write_report() -> None:
    """Write RANKING.md from what was measured last."""
    from ranking_report import report

    batches = (
        f"a batch of whole queries, {BATCH} plans or more; rewards that read words have {WORDS_UPDATES} updates, "
        f"{WORDS_BATCH} plans or more"
    )
    protocol = (__doc__ or "").split("\n\n")[1]
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    REPORT.write_text(report(result, methods=METHODS, batches=batches, protocol=protocol), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--words", action="store_true", help="add the words of steps to measured plans that lack them")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--fit", type=int, help="a seed")
    parser.add_argument("--kept", action="store_true", help="compare what is kept, whatever seeds lack a fit")
    parser.add_argument("--fits", type=Path, default=Path("runs/ranking-fits"))
    parser.add_argument("--directory", type=Path, default=Path("runs/ranking-postgres"), help="the embedded server's")
    parser.add_argument("--journal", type=Path, default=Path("runs/ranking.sqlite"))
    parser.add_argument("--scale", type=float, default=0.5)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--updates", type=int, default=600)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--prompt", default="with_conditions", choices=["prompt", "with_conditions"])
    parser.add_argument("--methods", nargs="*", default=list(LEARNED), choices=list(LEARNED))
    args = parser.parse_args()
    if args.measure:
        measure(args)
    elif args.words:
        words(args)
    elif args.report:
        write_report()
    elif args.fit is not None:
        data = load()
        for method in args.methods:
            _fitted(method, data, args, args.fit)
    elif args.kept and not any(_kept(m, args, seed).exists() for m in args.methods for seed in range(args.seeds)):
        parser.error(f"--kept: there is no fit in {args.fits} to compare: make some with --fit SEED")
    else:
        data = load()
        result: dict[str, Any] = {
            "settings": {name: str(getattr(args, name)) for name in SETTINGS},
            "training": {"queries": len(data["train"]), "plans": sum(len(q["plans"]) for q in data["train"])},
            "sets": compare(data, args),
        }  # fmt: skip
        for name, found in result["sets"].items():
            for method, row in found["methods"].items():
                print(name, method, {k: round(v[0], 3) for k, v in row.items()}, found["seeds"].get(method))
        RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        write_report()


if __name__ == "__main__":
    main()
