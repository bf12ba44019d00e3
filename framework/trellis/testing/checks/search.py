"""Checks of searches, answered by a loop of twenty lines instead of the driver."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from trellis.contracts import Extend, Score, SearchAlgorithm
from trellis.errors import BudgetExhausted
from trellis.testing.check import Check, CheckFailed, CheckSkipped, Subject, expect
from trellis.testing.material import Successor, SuccessorConfig, Table, TableConfig
from trellis.types import Completion, SampleRequest, SearchResult, Trajectory

TASK = Successor(SuccessorConfig())
POLICY = Table(TableConfig())
MAX_TOKENS = 12
"""A trajectory is cut when it has so many tokens, so every search comes to an end."""
MAX_REQUESTS = 500


@dataclass
class Transcript:
    """What a search asked, what it was told, and how it ended."""

    requests: list[Extend | Score] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)
    result: SearchResult | None = None


def converse(search: SearchAlgorithm, root: Trajectory, *, only_cut: bool = False) -> Transcript:
    """Run a search to its end on the kit's policy; with `only_cut` no trajectory is ever finished."""
    transcript = Transcript()
    process = search.search(root)
    answer: Any = None
    while len(transcript.requests) < MAX_REQUESTS:
        try:
            request = process.send(answer)
        except StopIteration as stop:
            transcript.result = stop.value
            return transcript
        if isinstance(request, Extend):
            answer = _extend(request, seed=len(transcript.requests), only_cut=only_cut)
        else:
            answer = [[float(good) for good in TASK.step_oracle(t)] for t in request.trajectories]
        transcript.requests.append(request)
        transcript.answers.append(answer)
    process.close()
    raise CheckFailed(f"it is not at its end after {MAX_REQUESTS} requests, though every trajectory ends")


def _extend(request: Extend, *, seed: int, only_cut: bool) -> list[list[Trajectory]]:
    stop = TASK.separator if request.until == "step" else None
    found = []
    for index, prefix in enumerate(request.prefixes):
        left = 1 if only_cut else MAX_TOKENS - prefix.num_tokens
        asked = SampleRequest(prefix, request.n, left, stop, request.temperature, seed=1000 * seed + index)
        # One that has ended is the finding of another check: it is answered as if it were open.
        opened = replace(prefix, finished=False, cut=False, answer=None)
        found.append([_continue(opened, completion, only_cut) for completion in POLICY.sample([asked])[0]])
    return found


def _continue(prefix: Trajectory, completion: Completion, only_cut: bool) -> Trajectory:
    longer = TASK.extend(prefix, completion)
    if only_cut or (longer.open and longer.num_tokens >= MAX_TOKENS):
        return replace(longer, finished=False, cut=True, answer=None)
    return longer


def search_returns_a_result(subject: Subject) -> None:
    """The driver reads the answer from what the generator returns.

    End the generator with `return SearchResult(best, candidates)`.
    """
    for transcript in _transcripts(subject):
        result = transcript.result
        expect(isinstance(result, SearchResult), f"it returned {result!r}")


def search_asks_what_can_be_answered(subject: Subject) -> None:
    """A driver can answer `Extend` and `Score`, for at least one trajectory, and nothing else.

    Yield no empty request: when nothing is left to extend or score, the search is at its end.
    """
    for transcript in _transcripts(subject):
        for request in transcript.requests:
            expect(isinstance(request, Extend | Score), f"it yielded {request!r}")
            asked = request.prefixes if isinstance(request, Extend) else request.trajectories
            expect(asked, f"it yielded an empty {type(request).__name__}")
            expect(not isinstance(request, Extend) or request.n >= 1, f"it asked for n={getattr(request, 'n', 0)}")


def only_open_trajectories_are_extended(subject: Subject) -> None:
    """A trajectory that was ended or cut cannot go on; the driver would have to refuse.

    Keep what is `open` in the beam, and collect the rest as candidates.
    """
    for transcript in _transcripts(subject):
        prefixes = [p for request in transcript.requests if isinstance(request, Extend) for p in request.prefixes]
        ended = [prefix.text for prefix in prefixes if not prefix.open]
        expect(not ended, f"it extends {ended[:1]}, which has ended")


def best_is_a_candidate(subject: Subject) -> None:
    """The tree that a report draws must contain the answer.

    Put every finished trajectory considered into `candidates`, the best one included.
    """
    for result in _results(subject):
        expect(
            result.best is None or result.best in [candidate.trajectory for candidate in result.candidates],
            f"the best, {_text(result.best)!r}, is not among its {len(result.candidates)} candidates",
        )


def best_has_the_highest_score(subject: Subject) -> None:
    """A report sorts candidates by score, and the first must be the answer.

    A candidate's score is the number it was chosen by: votes for a majority, the aggregate reward for a beam.
    """
    for result in _results(subject):
        scores = [candidate.score for candidate in result.candidates]
        expect(all(math.isfinite(score) for score in scores), f"the scores are {scores}")
        best = [candidate.score for candidate in result.candidates if candidate.trajectory == result.best]
        expect(
            not best or max(best) == max(scores),
            f"the best scores {best}, another {max(scores or [0])}",
        )


def candidates_are_finished(subject: Subject) -> None:
    """What was cut is no answer: it can be neither continued nor correct.

    Collect a trajectory as candidate only if it is `finished`.
    """
    for result in _results(subject):
        unfinished = [c.trajectory.text for c in result.candidates if not c.trajectory.finished]
        expect(not unfinished, f"the candidate {unfinished[:1]} is not finished")


def nothing_finished_is_no_answer(subject: Subject) -> None:
    """A policy that rambles to its limit must cost an answer, not the run.

    Return `SearchResult(None)` where no trajectory was finished.
    """
    transcript = converse(subject.make(), _roots()[0], only_cut=True)
    best = transcript.result.best if isinstance(transcript.result, SearchResult) else None
    expect(best is None, f"every trajectory was cut, and it answers with {_text(best)!r}")


def search_concludes_when_the_budget_is_spent(subject: Subject) -> None:
    """A search that asks for more after its budget is spent would run for ever.

    Wrap the yields in `try: … except BudgetExhausted:` and return the best so far.
    """
    search: SearchAlgorithm = subject.make()
    root = _roots()[0]
    transcript = converse(search, root)
    for count in range(len(transcript.requests)):
        process = search.search(root)
        try:
            for answer in [None, *transcript.answers[:count]]:
                process.send(answer)
        except StopIteration:
            continue
        where = f"BudgetExhausted thrown at request {count + 1}"
        try:
            request = process.throw(BudgetExhausted("calls"))
        except StopIteration as stop:
            expect(isinstance(stop.value, SearchResult), f"{where}: it returned {stop.value!r}")
        except BudgetExhausted:
            expect(False, f"{where} came out of the search again")
        else:
            expect(False, f"{where}: it asked for {type(request).__name__} instead of returning")


def search_follows_its_answers(subject: Subject) -> None:
    """Results are compared between runs: whatever is random comes from the policy, by its seed.

    Break ties by order; draw no random numbers, and keep nothing between two searches.
    """
    search: SearchAlgorithm = subject.make()
    for root in _roots():
        first = converse(search, root)
        for other in (search, subject.make()):
            again = converse(other, root)
            expect(again.requests == first.requests, "given the same answers it asks for something else")
            expect(again.result == first.result, "given the same answers it finds another result")


def searches_can_be_interleaved(subject: Subject) -> None:
    """The driver runs hundreds of searches of one object side by side.

    Keep a search's state in local variables of the generator, never on `self`.
    """
    search: SearchAlgorithm = subject.make()
    alone = [converse(search, root) for root in _roots()]
    if alone != [converse(search, root) for root in _roots()]:
        raise CheckSkipped("no two searches are the same: see search-follows-its-answers")
    processes = [search.search(root) for root in _roots()]
    for turn in range(max(len(transcript.requests) for transcript in alone) + 1):
        for process, expected in zip(processes, alone, strict=True):
            if turn > len(expected.requests):
                continue
            try:
                request = process.send(None if turn == 0 else expected.answers[turn - 1])
            except StopIteration as stop:
                expect(stop.value == expected.result, "interleaved with others it finds another result than alone")
            else:
                same = turn < len(expected.requests) and request == expected.requests[turn]
                expect(same, "interleaved with others it asks for something else than alone")


def score_is_asked_for_as_declared(subject: Subject) -> None:
    """Without `needs_reward` a pipeline gives the search no reward, and nobody could answer.

    Set `needs_reward = True` on the class, and the capability "reward" in its record, exactly if the search yields `Score`.
    """
    asked = any(isinstance(request, Score) for t in _transcripts(subject) for request in t.requests)
    declared = cast(SearchAlgorithm, subject.make()).needs_reward
    expect(asked == declared, f"it {'asks' if asked else 'never asks'} for scores, needs_reward is {declared}")
    said = subject.offers("reward")
    expect(
        declared == said,
        f"needs_reward is {declared}, and its record {'has' if said else 'lacks'} the capability 'reward'",
    )


def _roots() -> list[Trajectory]:
    return [TASK.start(TASK.parse(digits)) for digits in ("47", "901", "58")]


def _transcripts(subject: Subject) -> list[Transcript]:
    return [converse(subject.make(), root) for root in _roots()]


def _results(subject: Subject) -> Sequence[SearchResult]:
    """Return the results; one of another type is the finding of another check."""
    return [t.result for t in _transcripts(subject) if isinstance(t.result, SearchResult)]


def _text(trajectory: Trajectory | None) -> str | None:
    return trajectory.text if trajectory else None


CHECKS = tuple(
    Check.of("search", function)
    for function in (
        search_returns_a_result,
        search_asks_what_can_be_answered,
        only_open_trajectories_are_extended,
        best_is_a_candidate,
        best_has_the_highest_score,
        candidates_are_finished,
        nothing_finished_is_no_answer,
        search_concludes_when_the_budget_is_spent,
        search_follows_its_answers,
        searches_can_be_interleaved,
        score_is_asked_for_as_declared,
    )
)
