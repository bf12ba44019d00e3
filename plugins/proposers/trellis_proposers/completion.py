"""Arms by matrix completion: what was measured on some queries under some arms says what others would gain.

W holds log2 speed-ups, a row for each query and a column for each of Bao's arms. It is completed to low rank by alternating least
squares, as LimeQO does (Yi et al. 2025, "Low Rank Learning for Offline Query Optimization", https://arxiv.org/abs/2504.06399):

    Q ← Ŵ H (HᵀH + λI)⁻¹,   H ← Ŵᵀ Q (QᵀQ + λI)⁻¹,   Ŵ ← W where measured, else Q Hᵀ

and a measurement that was stopped is censored: Ŵ there is Q Hᵀ as long as that is no faster than the query can have been, and
what it can have been at most otherwise.

Deliberate deviations: LimeQO completes latencies by factors that are not negative; log speed-ups have either sign, and one slow
query does not drown the others. A query without any measurement has no row: its gains are the means of the columns, shrunk to 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import log2

import numpy as np

from trellis import Proposal, Proposer, Situation, Tried
from trellis.sql.hints import PlanHints
from trellis.sql.query import Query
from trellis_proposers.arms import BAO, arm
from trellis_proposers.config import CompletionConfig
from trellis_proposers.picking import picked

ARMS: dict[PlanHints, int] = {arm(off): column for column, off in enumerate(BAO)}
"""The column of each arm; the default plan is column 0."""

SLOWEST = -6.0
"""The log2 speed-up of what failed or was slower than 64 times."""


class Completion(Proposer):
    """The arms that ought to gain most on this query, given what was learnt of all queries and tried on this one."""

    Config = CompletionConfig

    def __init__(self, config: CompletionConfig) -> None:
        self.config = config
        self._learnt: dict[str, Sequence[Tried]] = {}

    def propose(self, situation: Situation, n: int, *, seed: int = 0) -> list[Proposal]:
        """Return up to n arms by falling expected gain, their score; the seed fixes where the factors begin."""
        rows = {**self._learnt, situation.query.sql: situation.tried or self._learnt.get(situation.query.sql, ())}
        gains = self._completed(rows, seed=seed)[sorted(rows).index(situation.query.sql)]
        order = sorted(range(1, len(BAO)), key=lambda column: (-gains[column], column))
        arms = ((arm(BAO[column]), round(float(gains[column]), 9)) for column in order)
        return picked(
            (Proposal(hints, f"completion: {2**gain:.2g}x expected", gain) for hints, gain in arms), situation, n
        )

    def learn(
        self, tried: Mapping[str, Sequence[Tried]], queries: Mapping[str, Query], *, seed: int = 0
    ) -> Mapping[str, float]:
        """Keep what was measured under arms, and return the fraction of the matrix that it fills."""
        self._learnt = {queries[key].sql: tuple(measured) for key, measured in tried.items() if key in queries}
        known = sum(len(_measured(measured)) for measured in self._learnt.values())
        return {"filled": known / max(1, len(self._learnt) * len(BAO))}

    def _completed(self, rows: Mapping[str, Sequence[Tried]], *, seed: int) -> np.ndarray:
        """Return W completed; its rows are those given, sorted by key. Shape: queries, arms."""
        measured = [_measured(rows[sql]) for sql in sorted(rows)]
        known = np.zeros((len(rows), len(BAO)), dtype=bool)
        censored = np.zeros_like(known)
        W = np.zeros(known.shape)
        for row, gains in enumerate(measured):
            for column, (gain, stopped) in gains.items():
                W[row, column], known[row, column], censored[row, column] = gain, not stopped, stopped
        completed = complete(W, known, censored, rank=self.config.rank, ridge=self.config.ridge, seed=seed)
        alone = [row for row, gains in enumerate(measured) if len(gains) == 1]
        counts = known.sum(0)
        completed[alone] = W.sum(0, where=known) / (counts + self.config.ridge)
        return completed


def complete(
    W: np.ndarray, known: np.ndarray, censored: np.ndarray, *, rank: int, ridge: float, seed: int = 0, rounds: int = 50
) -> np.ndarray:
    """Return a matrix completed to low rank by alternating least squares.

    Args:
        W: The values, shape (queries, arms), as high as they can be where censored.
        known: Where they are exact.
        censored: Where the true value is at most W.
        rank: Of what fills the gaps.
        ridge: λ.
        seed: Fixes the first factors.
        rounds: How often both factors are solved for.
    """
    rng = np.random.default_rng(seed % 2**64)
    rank = min(rank, *W.shape)
    H = rng.normal(size=(W.shape[1], rank)) / np.sqrt(rank)
    filled = np.where(known, W, 0.0)
    eye = ridge * np.eye(rank)
    for _ in range(rounds):
        Q = filled @ H @ np.linalg.inv(H.T @ H + eye)
        H = filled.T @ Q @ np.linalg.inv(Q.T @ Q + eye)
        predicted = Q @ H.T
        filled = np.where(known, W, np.where(censored, np.minimum(predicted, W), predicted))
    return filled


def _measured(tried: Iterable[Tried]) -> dict[int, tuple[float, bool]]:
    """Return by column the log2 speed-up and whether it is only what it was at most; the default's is 0."""
    found = {0: (0.0, False)}
    for one in tried:
        if (column := ARMS.get(one.hints)) is not None:
            found[column] = (
                max(SLOWEST, log2(one.speedup)) if one.speedup > 0 else SLOWEST,
                one.judgement == "timed out",
            )
    return found
