"""What all proposers have in common: of what they could say, the first n that fit and are new."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from trellis import Proposal, Situation, Tried
from trellis.sql.fit import misfits
from trellis.sql.hints import Hint, PlanHints


def picked(proposals: Iterable[Proposal], situation: Situation, n: int) -> list[Proposal]:
    """Return the first n that fit the query, ask for something, were not tried, and are not there before."""
    seen = {PlanHints(), *(tried.hints for tried in situation.tried)}
    found: list[Proposal] = []
    # Asked for none, nothing may be drawn from an iterator either.
    for proposal in proposals if n > 0 else ():
        if proposal.hints in seen or misfits(proposal.hints, situation.query, situation.catalog):
            continue
        seen.add(proposal.hints)
        found.append(proposal)
        if len(found) == n:
            break
    return found


def reached(tried: Tried) -> float:
    """Return the speed-up that hints reached; 0 of those that were stopped, whose `speedup` only bounds it."""
    return 0.0 if tried.judgement == "timed out" else tried.speedup


def fitting(hints: PlanHints, situation: Situation) -> PlanHints:
    """Return hints without those that do not fit the query."""
    while wrong := {hint for hint, _ in misfits(hints, situation.query, situation.catalog)}:
        hints = without(hints, wrong)
    return hints


def without(hints: PlanHints, removed: Iterable[Hint]) -> PlanHints:
    """Return hints without some of them."""
    gone = set(removed)
    return replace(
        hints,
        scans=tuple(hint for hint in hints.scans if hint not in gone),
        joins=tuple(hint for hint in hints.joins if hint not in gone),
        leading=tuple(hint for hint in hints.leading if hint not in gone),
        switches=tuple(hint for hint in hints.switches if hint not in gone),
    )
