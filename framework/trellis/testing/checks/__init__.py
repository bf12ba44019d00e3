"""The checks, one file per kind; `ALL` is the list every front end reads.

The first line of a check's docstring is its reason, the rest is shown where it fails.
"""

from trellis.testing.check import Check
from trellis.testing.checks import (
    database,
    embedder,
    executor,
    optimizer,
    policy,
    prompt,
    proposer,
    reward,
    search,
    store,
    task,
    universal,
)

ALL: tuple[Check, ...] = (
    *universal.CHECKS,
    *task.CHECKS,
    *policy.CHECKS,
    *reward.CHECKS,
    *optimizer.CHECKS,
    *search.CHECKS,
    *embedder.CHECKS,
    *prompt.CHECKS,
    *database.CHECKS,
    *executor.CHECKS,
    *store.CHECKS,
    *proposer.CHECKS,
)

__all__ = ["ALL"]
