"""Bao: which of the arms is fastest here, learnt from plans that were measured, explored by Thompson sampling.

Marcus et al. 2021, "Bao: Making Learned Query Optimization Practical", https://arxiv.org/abs/2004.03814: a model predicts from an
arm's plan how long it takes; its parameters are drawn from their posterior, and the arm that is best under them runs.

    y = w·x + ε,  x = φ(plan of the arm) - φ(default plan),  y = log2 of the speed-up over the default
    p(w | X, y) = N(A⁻¹Xᵀy, σ²A⁻¹),  A = XᵀX + λI

φ counts a plan's nodes by kind, and sums log2 of their rows by kind; log2 of the cost stands beside them. The columns of X are
divided by their root mean square.

Deliberate deviations: a Bayesian linear regression takes the place of a tree convolution trained on a bootstrap sample, since a
few hundred measurements are all there is; gains over the default are predicted instead of latencies, so that the default's own
is 0 without learning, and one slow query does not drown the others. Of what was stopped a gain is known that it does not
reach: its y is what is to be expected below that, E[y | y < bound] = μ - σ φ(z)/Φ(z) with z = (bound - μ)/σ, in turn with the fit
(Aitkin 1981, "A note on the regression analysis of censored data").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import erf, log2

import numpy as np

from trellis import DatabaseBackend, Proposal, Proposer, Situation, Tried
from trellis.errors import ConnectionLostError, DatabaseError, HintError
from trellis.sql.plan import Plan
from trellis.sql.query import Query
from trellis_proposers.arms import BAO, arm
from trellis_proposers.completion import ARMS, SLOWEST
from trellis_proposers.config import BaoConfig
from trellis_proposers.picking import picked

COST = "cost"
ROUNDS = 20
"""How often the fit and what is expected of stopped executions take turns."""


class Bao(Proposer):
    """The arms by falling gain, as weights drawn from the posterior have it, or its mean.

    Without a database the plans of queries measured before cannot be asked for: what is learnt is a gain for each arm.
    """

    Config = BaoConfig

    def __init__(self, config: BaoConfig, *, database: DatabaseBackend | None = None) -> None:
        self.config = config
        self.database = database
        self._model = _Model(np.zeros(0), np.zeros((0, 0)), np.zeros(0), ())

    def propose(self, situation: Situation, n: int, *, seed: int = 0) -> list[Proposal]:
        """Return up to n arms, their score the log2 gain; the seed draws the weights.

        Arms under which the planner takes the default plan are left out.
        """
        plans = {number: situation.plan_of(arm(off)) for number, off in enumerate(BAO) if number}
        changed = {
            number: _features(number, plan if self.database is not None else None, situation.plan)
            for number, plan in plans.items()
            if plan is None or plan.shape() != situation.plan.shape()
        }
        names = sorted({name for row in changed.values() for name in row} | set(self._model.names))
        weights = self._model.weights(names, np.random.default_rng(seed % 2**64) if self.config.thompson else None)
        gains = {
            number: round(float(sum(row.get(name, 0.0) * w for name, w in zip(names, weights, strict=True))), 9)
            for number, row in changed.items()
        }
        ranked = sorted(gains, key=lambda number: (-gains[number], number))
        return picked(
            (Proposal(arm(BAO[i]), f"bao: {2 ** min(gains[i], 30):.2g}x expected", gains[i]) for i in ranked),
            situation,
            n,
        )

    def learn(
        self, tried: Mapping[str, Sequence[Tried]], queries: Mapping[str, Query], *, seed: int = 0
    ) -> Mapping[str, float]:
        """Fit the regression to the arms that were measured, and return how many and the residual's σ."""
        rows: list[dict[str, float]] = []
        gains: list[float] = []
        stopped: list[bool] = []
        for key in sorted(tried.keys() & queries.keys()):
            default = self._plan(queries[key], 0)
            for one in tried[key]:
                number = ARMS.get(one.hints, 0)
                if number:
                    rows.append(_features(number, self._plan(queries[key], number), default))
                    gains.append(max(SLOWEST, log2(one.speedup)) if one.speedup > 0 else SLOWEST)
                    stopped.append(one.judgement == "timed out")
        self._model = _fitted(rows, gains, stopped, ridge=self.config.ridge)
        return {"measured": float(len(rows)), "residual": float(self._model.sigma)}

    def _plan(self, query: Query, number: int) -> Plan | None:
        """Return the plan under an arm; None without a database, or where it refuses."""
        if self.database is None:
            return None
        try:
            return self.database.explain(query, arm(BAO[number]))
        except ConnectionLostError:
            raise
        except (HintError, DatabaseError):
            return None


class _Model:
    """The posterior of the weights, of the columns that were measured."""

    def __init__(
        self, mean: np.ndarray, covariance: np.ndarray, scale: np.ndarray, names: Sequence[str], sigma: float = 1.0
    ) -> None:
        self.mean, self.covariance, self.scale, self.names, self.sigma = mean, covariance, scale, names, sigma

    def weights(self, names: Sequence[str], rng: np.random.Generator | None) -> np.ndarray:
        """Return the weights of these columns: drawn, or without a generator their mean; unknown ones have mean 0."""
        drawn = dict(zip(self.names, self.mean, strict=True))
        if rng is not None:
            if len(self.names):
                noise = np.linalg.cholesky(self.covariance) @ rng.normal(size=len(self.names))
                drawn = {name: drawn[name] + e for name, e in zip(self.names, noise, strict=True)}
            unknown = [name for name in names if name not in drawn]
            drawn |= dict(zip(unknown, 0.1 * rng.normal(size=len(unknown)), strict=True))
        scale = dict(zip(self.names, self.scale, strict=True))
        return np.array([drawn.get(name, 0.0) / scale.get(name, 1.0) for name in names])


def _fitted(
    rows: Sequence[Mapping[str, float]], gains: Sequence[float], stopped: Sequence[bool], *, ridge: float
) -> _Model:
    if not rows:
        return _Model(np.zeros(0), np.zeros((0, 0)), np.zeros(0), ())
    names = sorted({name for row in rows for name in row})
    X = np.array([[row.get(name, 0.0) for name in names] for row in rows])
    scale = np.sqrt((X**2).mean(0))
    scale[scale == 0] = 1.0
    X = X / scale
    bounds, censored = np.asarray(gains), np.asarray(stopped)
    y = bounds.copy()
    A = X.T @ X + ridge * np.eye(len(names))
    for _ in range(ROUNDS):
        mean = np.linalg.solve(A, X.T @ y)
        sigma = max(0.1, float(np.sqrt(((y - X @ mean) ** 2).mean())))
        y = np.where(censored, _below(X @ mean, sigma, bounds), bounds)
    covariance = sigma**2 * np.linalg.inv(A)
    return _Model(mean, (covariance + covariance.T) / 2, scale, names, sigma)


def _below(mean: np.ndarray, sigma: float, bounds: np.ndarray) -> np.ndarray:
    """Return the expectation of N(mean, sigma²) below bounds."""
    # Further down the ratio is -z to four digits, and both of its parts are 0.
    z = np.maximum((bounds - mean) / sigma, -6.0)
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    mass = np.array([(1 + erf(each / 2**0.5)) / 2 for each in z])
    expected: np.ndarray = np.clip(mean - sigma * density / mass, SLOWEST, bounds)
    return expected


def _features(number: int, plan: Plan | None, default: Plan | None) -> dict[str, float]:
    """Return x of an arm: its own column, and how its plan differs from the default's where both are known."""
    found = {f"arm {number}": 1.0}
    if plan is not None and default is not None:
        own, other = _summed(plan), _summed(default)
        found |= {name: own[name] - other[name] for name in own.keys() | other.keys()}
    return found


def _summed(plan: Plan) -> Counter[str]:
    """Return φ of a plan."""
    found: Counter[str] = Counter()
    found[COST] = log2(1 + max(plan.cost, 0.0))  # type: ignore[assignment]
    for node in plan.walk():
        found[f"number of {node.node}"] += 1
        found[f"rows of {node.node}"] += log2(1 + max(node.est_rows, 0.0))  # type: ignore[assignment]
    return found
