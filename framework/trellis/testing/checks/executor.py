"""Checks of executors: every item once, seeds, failures, retries, time-outs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from trellis.contracts import Executor, ItemResult
from trellis.errors import CapabilityError
from trellis.testing.check import Check, CheckSkipped, Subject, expect

NUM_ITEMS = 6
SHORT_S = 0.5
LONG_S = 60.0


def square(item: int, seed: int) -> int:
    """Return the item's square."""
    return item * item


def seed_of(item: int, seed: int) -> int:
    """Return the seed it was given."""
    return seed


def refuse_odd(item: int, seed: int) -> int:
    """Fail for odd items."""
    if item % 2:
        raise ValueError(f"{item} is odd")
    return item


def fail_twice(item: str, seed: int) -> tuple[int, int]:
    """Fail the first two times; the attempts are counted in the directory that the item names."""
    attempt = len(list(Path(item).iterdir()))
    (Path(item) / str(attempt)).write_text(str(seed))
    if attempt < 2:
        raise ValueError(f"attempt {attempt}")
    return attempt, seed


def sleep_if_odd(item: int, seed: int) -> int:
    """Take very long for odd items."""
    time.sleep(LONG_S if item % 2 else 0)
    return item


def every_item_has_one_result(subject: Subject) -> None:
    """Results are matched to items by index; a lost or doubled one corrupts what is built from them.

    Yield one `ItemResult` per item, in any order, with the index it had in the input.
    """
    results = _map(subject, square, range(NUM_ITEMS))
    indices = sorted(result.index for result in results)
    expect(indices == list(range(NUM_ITEMS)), f"{NUM_ITEMS} items gave results for {indices}")
    for result in results:
        expect(result.value == result.index**2, f"item {result.index} gave {result.value!r}, error={result.error!r}")
        expect(result.attempts == 1, f"item {result.index} went well at once, with attempts={result.attempts}")
    expect(_map(subject, square, []) == [], "no items, but results")


def seeds_depend_on_seed_and_index(subject: Subject) -> None:
    """Work that moves to other processes or machines must give the same numbers.

    Derive an item's seed from `seed` and its index alone; never from a worker, the item, the order or the clock.
    """
    first = _values(_map(subject, seed_of, range(NUM_ITEMS), seed=3))
    expect(first == _values(_map(subject, seed_of, range(NUM_ITEMS), seed=3)), "the same call gives other seeds")
    expect(first == _values(_map(subject, seed_of, [7] * NUM_ITEMS, seed=3)), "other items, other seeds")
    expect(len(set(first)) == NUM_ITEMS, f"items share a seed: {first}")
    expect(first != _values(_map(subject, seed_of, range(NUM_ITEMS), seed=4)), "another seed gives the same seeds")


def one_failure_stops_nothing_else(subject: Subject) -> None:
    """One bad item among thousands must not cost the others.

    Catch the exception, put it into `ItemResult.error`, and go on.
    """
    for result in _map(subject, refuse_odd, range(NUM_ITEMS)):
        if result.index % 2:
            expect(isinstance(result.error, ValueError), f"item {result.index} failed, error={result.error!r}")
            expect(result.value is None, f"item {result.index} failed, its value is {result.value!r}")
        else:
            expect(result.value == result.index, f"item {result.index} gave {result.value!r}, error={result.error!r}")


def failed_items_are_tried_again(subject: Subject) -> None:
    """A database that restarts or a network that drops should cost an attempt, not an item.

    Try a failed item up to `retries` more times with the same seed; count all attempts.
    """
    for retries, enough in ((2, True), (1, False)):
        with TemporaryDirectory() as directory:
            (result,) = _map(subject, fail_twice, [directory], retries=retries)
            seeds = {path.read_text() for path in Path(directory).iterdir()}
        expect(result.attempts == retries + 1, f"retries={retries}, but attempts={result.attempts}")
        expect((result.error is None) == enough, f"retries={retries}, failing twice, error={result.error!r}")
        expect(len(seeds) == 1, f"the attempts at one item had the seeds {sorted(seeds)}")


def slow_items_are_stopped(subject: Subject) -> None:
    """One query that never ends must not hold up a night's work.

    Stop the attempt after `timeout_s`, give its item a `TimeoutError`, and go on with the others.
    """
    began = time.monotonic()
    results = _map(subject, sleep_if_odd, range(4), timeout_s=SHORT_S)
    expect(time.monotonic() - began < LONG_S, f"timeout_s={SHORT_S}, but it waited for the end")
    for result in results:
        if result.index % 2:
            expect(isinstance(result.error, TimeoutError), f"item {result.index} timed out, error={result.error!r}")
    indices = sorted(result.index for result in results)
    expect(indices == list(range(4)), f"4 items gave results for {indices}")


def a_timeout_is_kept_or_refused(subject: Subject) -> None:
    """A time-out that is taken and not kept is found out in the middle of the night.

    Without the capability "timeout", raise `CapabilityError` for a `timeout_s`.
    """
    if subject.offers("timeout"):
        raise CheckSkipped("it keeps time-outs")
    try:
        _map(subject, square, range(2), timeout_s=LONG_S)
    except CapabilityError:
        return
    expect(False, "it declares no 'timeout', and takes a timeout_s all the same")


def an_executor_may_be_closed_twice(subject: Subject) -> None:
    """Whoever owns an executor closes it, and so does the engine when a run ends.

    Make `close` do nothing the second time; it may come before any work.
    """
    executor: Executor = subject.make()
    executor.close()
    executor.close()
    with _open(subject) as worked:
        list(worked.map_unordered(square, [1]))
        worked.close()


@contextmanager
def _open(subject: Subject) -> Iterator[Executor]:
    executor: Executor = subject.make()
    try:
        yield executor
    finally:
        executor.close()


def _map(
    subject: Subject,
    function: Callable[[Any, int], Any],
    items: Sequence[Any],
    *,
    seed: int = 0,
    timeout_s: float | None = None,
    retries: int = 0,
) -> list[ItemResult[Any]]:
    executor: Executor = subject.make()
    try:
        return list(executor.map_unordered(function, items, seed=seed, timeout_s=timeout_s, retries=retries))
    finally:
        executor.close()


def _values(results: Sequence[ItemResult[Any]]) -> list[Any]:
    return [result.value for result in sorted(results, key=lambda result: result.index)]


CHECKS = (
    Check.of("executor", every_item_has_one_result),
    Check.of("executor", seeds_depend_on_seed_and_index),
    Check.of("executor", one_failure_stops_nothing_else),
    Check.of("executor", failed_items_are_tried_again),
    Check.of("executor", slow_items_are_stopped, {"timeout"}),
    Check.of("executor", a_timeout_is_kept_or_refused),
    Check.of("executor", an_executor_may_be_closed_twice),
)
