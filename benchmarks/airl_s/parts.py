"""The parts of the suite: each measures one cell and returns what it found as JSON values."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from cell import NO_DROPOUT, SMALL, Cell, Measured, Remembering
from rewards import GIVEN, OWN, airl_given, airl_own, all_rewards, f

from trellis import RewardModel, Rollout, SearchAlgorithm, TrainablePolicy, build
from trellis.errors import CapabilityError
from trellis.run.measures import held_out_calibration, pass_at_k, step_auc, within_problem_auc

Row = dict[str, Any]

MORE_TOKENS = 1.15
"""Searches step by step may take so many times the tokens of n whole completions, for the last round is cut else."""


def searches(n: int) -> dict[str, SearchAlgorithm]:
    """Return the searches that a reward steers, at the tokens of n completions."""
    width = max(1, round(n**0.5))
    expand = max(1, n // width)
    return {
        "best-of-n": build("best-of-n", {"n": n}),
        "beam": build("beam", {"width": width, "expand": expand}),
        "mcts": build(
            "mcts", {"root_children": max(2, n // 2), "children": width, "widening": 1.0, "simulations": 16 * n}
        ),
        "weighted-majority": build("weighted-majority", {"n": n}),
        "dvts": build("dvts", {"trees": width, "expand": expand}),
        "particle": build("particle", {"particles": n}),
    }


FEW = ("airl f", "log-pi", "oracle")
"""Rewards that every search is measured with."""
STEERING = (
    "airl l",
    *FEW,
    "airl-own f",
    "correct-wrong + log-pi",
    "outcome-value + log-pi",
    "monte-carlo",
    "monte-carlo + log-pi",
)
"""Rewards that beam and MCTS are measured with."""


def search_part(cell: Cell) -> Row:
    """Measure every reward with best-of-n on the SFT policy, most with beam and MCTS, and AIRL's with every search."""
    rewards = all_rewards(cell)
    policy = Remembering(cell.sft())
    found = searches(cell.sizes.n)
    rows = [
        _row("greedy", None, cell.measure(policy, build("greedy"))),
        _row("majority", None, majority := cell.measure(policy, build("majority", {"n": cell.sizes.n}))),
    ]
    for name, search in found.items():
        for reward_name in {"best-of-n": tuple(rewards), "beam": STEERING, "mcts": STEERING}.get(name, FEW):
            rows.append(_row(name, reward_name, _at(cell, policy, search, rewards[reward_name], majority.tokens)))
    return {"rows": rows, "assess": _assess(cell, rewards), "seconds": dict(cell.seconds), "fits": cell.fits}


def policies_part(cell: Cell) -> Row:
    """Train RFT, GRPO, AIRL beside GRPO and AIRL alone from the SFT policy, and search with each."""
    rewards = {
        "airl f": f(cell),
        "log-pi": build("log-pi", policy=cell.policy),
        "oracle": build("oracle", task=cell.task),
    }
    found = {name: search for name, search in searches(cell.sizes.n).items() if name in ("best-of-n", "beam")}
    rows: list[Row] = []
    for name in ("sft", *RL):
        policy = Remembering(cell.sft() if name == "sft" else trained_by(cell, name))
        rows.append({"policy": name, **_passes(cell, policy)})
        majority = cell.measure(policy, build("majority", {"n": cell.sizes.n}))
        rows.append({"policy": name, **_row("majority", None, majority)})
        for search_name, search in found.items():
            for reward_name, reward in rewards.items():
                measured = _at(cell, policy, search, reward, majority.tokens)
                rows.append({"policy": name, **_row(search_name, reward_name, measured)})
    return {"rows": rows, "seconds": dict(cell.seconds)}


RL: dict[str, Mapping[str, Any]] = {
    "rft": {},
    "grpo": {},
    "airl-grpo": {"process_weight": 0.2, "process_form": "potential", "process_credit": "sum"},
    "airl-only": {"process_weight": 1.0, "outcome_weight": 0.0, "process_from": 0},
}
"""What each reinforcement learning differs in; all sample the same number of rollouts."""


def trained_by(cell: Cell, name: str) -> TrainablePolicy:
    """Return the policy trained from the SFT policy by one of `RL`."""
    s = cell.sizes
    if name == "rft":
        per_round = max(1, s.rl_steps * s.rl_problems // 2)
        config = {
            "rounds": 2,
            "problems_per_round": min(per_round, len(cell.task.problems("train"))),
            "samples_per_problem": s.group,
            "steps_per_round": max(1, s.sft_steps // 4),
            "max_tokens": cell.bench.max_tokens,
            "learning_rate": 1e-3,
            "include_traces": True,
        }
    else:
        size = {"problems_per_step": s.rl_problems, "group_size": s.group, "max_tokens": cell.bench.max_tokens}
        config = {"steps": s.rl_steps, "process_from": s.rl_steps // 5, **size, **RL[name]}
    use = "rft" if name == "rft" else "grpo"
    learns = {**OWN, "learning_rate": cell.bench.learning_rate} if "airl" in name else None

    def train(policy: TrainablePolicy) -> None:
        reward = None if learns is None else build("airl", learns, policy=policy)
        for _ in build(use, config).train(policy=policy, task=cell.task, reward=reward, seed=cell.seed):
            pass

    cell.sft()
    return cell.trained(name, train, start="sft", settings={"use": use, **config, "reward": learns})


def transfer_part(cell: Cell) -> Row:
    """Let the same reward, unchanged, steer a policy of another size, and one trained on other traces."""
    reward = f(cell)
    rows = []
    others = {
        "larger": (cell.make_policy({**SMALL, "n_layer": 3, "n_embd": 96, **NO_DROPOUT}), cell.task),
        "other traces": (cell.make_policy(SMALL), cell.task_with(style="canonical")),
    }
    for name, (policy, task) in others.items():
        sft = build("sft", {"steps": round(cell.sizes.sft_steps * cell.bench.sft)})
        for _ in sft.train(policy=policy, task=task, seed=cell.seed + 1):
            pass
        own = build("log-pi", policy=policy)
        remembering = Remembering(policy)
        rows.append({"policy": name, **_passes(cell, remembering)})
        majority = cell.measure(remembering, build("majority", {"n": cell.sizes.n}))
        rows.append({"policy": name, **_row("majority", None, majority)})
        for search_name in ("best-of-n", "beam"):
            for reward_name, one in (("airl f", reward), ("log-pi", own)):
                measured = _at(cell, remembering, searches(cell.sizes.n)[search_name], one, majority.tokens)
                rows.append({"policy": name, **_row(search_name, reward_name, measured)})
    return {"rows": rows}


def curve_part(cell: Cell) -> Row:
    """Measure searches at the tokens of N completions, N over a range."""
    rewards = {"airl f": f(cell), "oracle": build("oracle", task=cell.task)}
    policy = Remembering(cell.sft())
    few = cell.sizes.curve_problems
    rows = []
    for n in sorted(cell.sizes.curve, reverse=True):
        majority = cell.measure(policy, build("majority", {"n": n}), num_problems=few)
        rows.append({"n": n, **_row("majority", None, majority)})
        for name in ("best-of-n", "beam", "mcts"):
            for reward_name, reward in rewards.items():
                measured = _at(cell, policy, searches(n)[name], reward, majority.tokens, num_problems=few)
                rows.append({"n": n, **_row(name, reward_name, measured)})
    return {"rows": rows}


def refit_part(cell: Cell) -> Row:
    """Fit AIRL several times, with and without the average of the weights: how much of a result is the fit's luck."""
    policy = Remembering(cell.sft())
    search = searches(cell.sizes.n)["best-of-n"]
    rows = []
    for name, config in {"newest weights": {**GIVEN, "average": 0.0}, "average": GIVEN}.items():
        fits = [
            cell.measure(policy, search, airl_given(cell, f"refit-{name}-{k}", config, seed=100 + k, fits=1))
            for k in range(cell.sizes.fits)
        ]
        rows += [{"variant": name, "fit": k, **_row("best-of-n", "airl f", one)} for k, one in enumerate(fits)]
    return {"rows": rows}


def forms_part(cell: Cell) -> Row:
    """Measure AIRL's other forms and its stabilisers, each with best-of-n, raw and with log π."""
    variants: dict[str, Mapping[str, Any]] = {
        "own": OWN,
        "gail": {**OWN, "form": "gail"},
        "scalar-head": {**OWN, "form": "scalar-head"},
        "shaped": {**OWN, "form": "shaped"},
        "lm-density": {**OWN, "form": "lm-density"},
        "label smoothing 0.1": {**OWN, "label_smoothing": 0.1},
        "replay": {**OWN, "replay": 2048},
        "no average": {**OWN, "average": 0.0},
    }
    given: dict[str, Mapping[str, Any]] = {
        "given, no hard negatives": {**GIVEN, "hard_negatives": {}},
        "given, hard negatives": GIVEN,
    }
    policy = Remembering(cell.sft())
    search = searches(cell.sizes.n)["best-of-n"]
    rows = []
    for name, config in (variants | given).items():
        make = airl_given if name in given else airl_own
        for score in ("l", "f"):
            measured = cell.measure(policy, search, make(cell, f"form-{name}", config, score=score))
            rows.append({"variant": name, "score": score, **_row("best-of-n", "airl", measured)})
    return {"rows": rows}


def regimes_part(cell: Cell) -> Row:
    """Train with and without a process reward where success is sparse; outcomes alone also at AIRL's wall-clock.

    AIRL is fitted once, on the SFT policy's rollouts, and used as it is: its logit is a potential, for the logit of a
    prefix is log P(correct | prefix) up to a constant. The oracle's process reward is the ceiling.
    """
    cell.sft()
    fits: dict[str, Callable[[], RewardModel]] = {
        "airl own": lambda: airl_own(cell, "airl-own", OWN),
        "airl": lambda: airl_given(cell, "airl", GIVEN),
        "oracle": lambda: build("oracle", task=cell.task),
    }
    paid = {"process_weight": 0.5, "process_form": "potential", "process_credit": "sum", "process_from": 0}
    rows = [{"policy": "sft", **_passes(cell, cell.sft())}]
    trained_for(cell, "outcome", None, {}, steps=cell.sizes.rl_steps)
    each = cell.seconds["policies/outcome"] / cell.sizes.rl_steps
    for name, make in fits.items():
        reward = make()
        trained_for(cell, name, reward, {**paid, "reward_updates": False}, steps=cell.sizes.rl_steps)
    longest = max(
        cell.seconds["rollouts/sft"]
        + cell.seconds[f"policies/{name}"]
        + cell.seconds[f"rewards/{name.replace(' ', '-')}"]
        for name in fits
        if name != "oracle"
    )
    trained_for(cell, "outcome, AIRL's seconds", None, {}, steps=max(cell.sizes.rl_steps, round(longest / each)))
    for name in ("outcome", "outcome, AIRL's seconds", *fits):
        rows.append({"policy": name, "seconds": cell.seconds[f"policies/{name}"], **_passes(cell, cell.at(name))})
    return {"rows": rows, "seconds": dict(cell.seconds)}


def trained_for(cell: Cell, name: str, reward: RewardModel | None, config: Mapping[str, Any], *, steps: int) -> None:
    """Train the SFT policy by GRPO for a number of iterations and keep it under a name."""
    s = cell.sizes
    size = {"problems_per_step": s.rl_problems, "group_size": s.group, "max_tokens": cell.bench.max_tokens}
    config = {"steps": steps, **size, **config}

    def train(policy: TrainablePolicy) -> None:
        for _ in build("grpo", config).train(policy=policy, task=cell.task, reward=reward, seed=cell.seed):
            pass

    cell.trained(name, train, start="sft", settings=config)


PARTS: dict[str, Callable[[Cell], Row]] = {
    "search": search_part,
    "policies": policies_part,
    "refit": refit_part,
    "forms": forms_part,
    "transfer": transfer_part,
    "curve": curve_part,
    "regimes": regimes_part,
}


def _at(
    cell: Cell,
    policy: Any,
    search: SearchAlgorithm,
    reward: RewardModel,
    tokens: float,
    num_problems: int | None = None,
) -> Measured:
    """Measure a search at the tokens that n whole completions took; those that sample n completions need no limit."""
    sampling = type(search).__name__ in ("BestOfN", "WeightedMajority")
    limit = None if sampling else round(MORE_TOKENS * tokens)
    return cell.measure(policy, search, reward, tokens=limit, num_problems=num_problems)


def _row(search: str, reward: str | None, measured: Measured) -> Row:
    return {"search": search, "reward": reward, **measured.record()}


def _passes(cell: Cell, policy: Any) -> Row:
    """Return pass@1 and pass@n of a policy on the test problems, per problem as counts of correct samples."""
    problems = cell.task.problems(cell.split)[: cell.sizes.problems]
    n = cell.sizes.n
    rollouts = cell.sample(policy, problems, n=n, seed=cell.seed + 1)
    counts = [sum(r.outcome.correct for r in rollouts[i : i + n]) for i in range(0, len(rollouts), n)]
    passes = {f"pass@{k}": statistics.fmean(pass_at_k(n, c, k) for c in counts) for k in sorted({1, n})}
    return {"search": None, **passes, "counts": counts, "samples": n}


def _assess(cell: Cell, rewards: Mapping[str, RewardModel]) -> dict[str, Row]:
    """Return for each reward how well it tells right from wrong on rollouts of test problems."""
    problems = cell.task.problems(cell.split)[: cell.sizes.problems]
    rollouts = [r for r in cell.sample(cell.sft(), problems, n=8, seed=cell.seed + 2) if r.trajectory.steps]
    return {name: _assessed(cell, reward, rollouts) for name, reward in rewards.items()}


def _assessed(cell: Cell, reward: RewardModel, rollouts: Sequence[Rollout]) -> Row:
    scores = reward.score([rollout.trajectory for rollout in rollouts])
    last = [row[-1] for row in scores]
    found: Row = {"outcome_auc": within_problem_auc(rollouts, last)}
    try:
        labels = [cell.task.step_oracle(rollout.trajectory) for rollout in rollouts]
    except CapabilityError:
        pass
    else:
        steps = step_auc(rollouts, scores, labels)
        found |= {"step_auc": steps.pooled, "step_auc_within": steps.within_problem}
    ids = [rollout.trajectory.problem.id for rollout in rollouts]
    calibration = held_out_calibration(last, [rollout.outcome.correct for rollout in rollouts], ids)
    if calibration is not None and np.isfinite(calibration.ece):
        found |= {"ece": calibration.ece, "brier": calibration.brier}
    return found
