"""Checks of proposers, on situations made by hand: no database runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from trellis.contracts.proposer import Proposal, Proposer, Situation, Tried
from trellis.errors import HintError
from trellis.sql.fit import check_hints
from trellis.testing.check import Check, CheckFailed, Subject, expect
from trellis.testing.material.scenes import scenes

MANY = 12
"""Proposals asked for where it matters that there are several."""
SEEDS = (0, 1)


def proposals_fit(subject: Subject) -> None:
    """Hints that do not fit the query cannot be measured, and a budget goes by on them.

    Build hints of the query's own aliases and the catalog's indexes, or drop what `trellis.sql.check_hints` refuses.
    """
    for situation, proposal in _proposed(subject):
        expect(proposal.hints, "it proposes hints that say nothing: they are the default plan")
        try:
            check_hints(proposal.hints, situation.query, situation.catalog)
        except HintError as error:
            raise CheckFailed(f"{proposal.hints} does not fit {situation.query.sql!r}: {error}") from None


def proposals_differ(subject: Subject) -> None:
    """The same hints twice cost two measurements and tell one thing.

    Keep what was said in a set; equal hints are equal objects.
    """
    for found in _answers(subject):
        hints = [proposal.hints for proposal in found]
        twice = [str(one) for one in dict.fromkeys(hints) if hints.count(one) > 1]
        expect(not twice, f"it proposes {twice} more than once")


def what_was_tried_is_not_proposed(subject: Subject) -> None:
    """What was measured is known, and to measure it again finds nothing.

    Leave out the hints in `situation.tried`, those that were slow or failed as well.
    """
    for situation in scenes():
        first = _make(subject).propose(situation, MANY)
        tried = [*situation.tried, *(Tried(one.hints, 0.5, "slower", source=one.source) for one in first)]
        again = _make(subject).propose(_with(situation, tried), MANY)
        known = {one.hints for one in tried}
        repeated = [str(proposal.hints) for proposal in again if proposal.hints in known]
        expect(not repeated, f"it proposes what was tried: {repeated}")


def at_most_n_are_proposed(subject: Subject) -> None:
    """Whoever asks for n has a budget for n.

    Return no more than n, the most promising; none for n = 0.
    """
    proposer = _make(subject)
    for situation in scenes():
        for n in (0, 1, 3):
            count = len(proposer.propose(situation, n))
            expect(count <= n, f"asked for {n}, it proposes {count}")


def proposals_follow_situation_and_seed(subject: Subject) -> None:
    """A run that is resumed must go on as it would have, whatever was asked before.

    Draw from `Random(seed)` alone, keep nothing from call to call, and go through sets in sorted order.
    """
    used = _make(subject)
    for seed in SEEDS:
        for index in range(len(scenes())):
            found = used.propose(scenes()[index], MANY, seed=seed)
            for proposer in (used, _make(subject)):
                again = proposer.propose(scenes()[index], MANY, seed=seed)
                expect(again == found, f"the same situation and seed {seed} give {_texts(found)} and {_texts(again)}")


def the_best_comes_first(subject: Subject) -> None:
    """What is measured first should be what is best: often nothing else is.

    Sort by falling score before cutting to n; scores are finite.
    """
    for found in _answers(subject):
        scores = [proposal.score for proposal in found if proposal.score is not None]
        expect(all(math.isfinite(score) for score in scores), f"scores are not finite: {scores}")
        expect(scores == sorted(scores, reverse=True), f"scores do not fall: {scores}")


def proposals_name_their_source(subject: Subject) -> None:
    """A proposal is credited to its source, and a person asks where it came from.

    Begin `source` with the proposer's name: "neighbours: 2.3x on shop-17".
    """
    for _, proposal in _proposed(subject):
        expect(proposal.source.partition(":")[0].strip(), f"the source of {proposal.hints} is {proposal.source!r}")


def learning_depends_on_what_was_measured(subject: Subject) -> None:
    """After a restart only the journal is left: what was learnt must come from it alone.

    Learn anew in each call of `learn`, from its arguments and seed; return finite metrics.
    """
    known = scenes()[1]
    tried = {"known": list(known.tried), "other": [Tried(one.hints, 0.7, "slower") for one in known.tried]}
    queries = {"known": known.query, "other": scenes()[2].query}
    fresh, used = _make(subject), _make(subject)
    metrics = fresh.learn(tried, queries)
    expect(all(math.isfinite(value) for value in metrics.values()), f"metrics are not finite: {dict(metrics)}")
    used.learn({"other": tried["other"]}, queries)
    used.propose(known, MANY)
    expect(used.learn(tried, queries) == metrics, "a second time, learning the same gives other metrics")
    for situation in scenes():
        one, other = fresh.propose(situation, MANY), used.propose(situation, MANY)
        expect(
            one == other, f"it learnt the same after something else, and proposes {_texts(other)}, not {_texts(one)}"
        )


def _make(subject: Subject) -> Proposer:
    proposer: Proposer = subject.make()
    return proposer


def _answers(subject: Subject) -> Iterator[list[Proposal]]:
    proposer = _make(subject)
    for seed in SEEDS:
        for situation in scenes():
            yield proposer.propose(situation, MANY, seed=seed)


def _proposed(subject: Subject) -> Iterator[tuple[Situation, Proposal]]:
    proposer = _make(subject)
    for seed in SEEDS:
        for situation in scenes():
            for proposal in proposer.propose(situation, MANY, seed=seed):
                yield situation, proposal


def _with(situation: Situation, tried: Sequence[Tried]) -> Situation:
    return replace(situation, tried=tried)


def _texts(found: Sequence[Proposal]) -> list[str]:
    return [str(proposal.hints) for proposal in found]


CHECKS = (
    *(
        Check.of("proposer", function)
        for function in (
            proposals_fit,
            proposals_differ,
            what_was_tried_is_not_proposed,
            at_most_n_are_proposed,
            proposals_follow_situation_and_seed,
            the_best_comes_first,
            proposals_name_their_source,
        )
    ),
    Check.of("proposer", learning_depends_on_what_was_measured, {"learns"}),
)
