"""Executors with one fault each."""

import random
import threading
from dataclasses import replace

from faults import breaks

from trellis import Config, Executor, ItemResult
from trellis.errors import CapabilityError

TIMEOUT = frozenset({"timeout"})


class InlineConfig(Config):
    """Nothing to set."""


class Inline(Executor):
    """One item after the other, right here. Nothing is wrong with this one."""

    Config = InlineConfig

    def __init__(self, config):
        self.config = config

    def map_unordered(self, fn, items, *, seed=0, timeout_s=None, retries=0):
        if timeout_s is not None:
            raise CapabilityError("inline", capability="timeout", mend="leave out timeout_s.")
        for index, item in enumerate(items):
            yield self.run(fn, item, index, self.seed_of(seed, index, item), retries)

    def seed_of(self, seed, index, item):
        return random.Random(f"{seed}/{index}").getrandbits(32)

    def run(self, fn, item, index, seed, retries):
        for attempt in range(1, retries + 2):
            try:
                return ItemResult(index, fn(item, seed), None, attempt)
            except Exception as raised:
                error = raised
        return ItemResult(index, None, error, attempt)

    def close(self):
        pass


class Threads(Inline):
    """Gives up waiting after `timeout_s`. Nothing is wrong with this one either."""

    def map_unordered(self, fn, items, *, seed=0, timeout_s=None, retries=0):
        for index, item in enumerate(items):
            found = []
            arguments = (found, fn, item, index, self.seed_of(seed, index, item), retries)
            thread = threading.Thread(target=self.collect, args=arguments, daemon=True)
            thread.start()
            thread.join(timeout_s)
            yield found[0] if found else ItemResult(index, None, self.late(), 1)

    def collect(self, found, *arguments):
        found.append(self.run(*arguments))

    def late(self):
        return TimeoutError("too late")


@breaks("every-item-has-one-result", "executor")
class DropsTheLast(Inline):
    def map_unordered(self, fn, items, **settings):
        items = list(items)
        return super().map_unordered(
            fn, items[:5] if len(items) == 6 and fn.__name__ == "square" else items, **settings
        )


@breaks("seeds-depend-on-seed-and-index", "executor")
class SeedsFromItems(Inline):
    def seed_of(self, seed, index, item):
        return super().seed_of(seed, index, item) + hash(item) % 100


@breaks("one-failure-stops-nothing-else", "executor")
class ValuesForFailures(Inline):
    def run(self, *arguments):
        result = super().run(*arguments)
        return replace(result, value=-1) if result.error else result


@breaks("failed-items-are-tried-again", "executor")
class NeverTriesAgain(Inline):
    def run(self, fn, item, index, seed, retries):
        return super().run(fn, item, index, seed, 0)


@breaks("slow-items-are-stopped", "executor", capabilities=TIMEOUT)
class NoTimeoutError(Threads):
    def late(self):
        return RuntimeError("too late")


@breaks("a-timeout-is-kept-or-refused", "executor")
class TakesAnyTimeout(Inline):
    def map_unordered(self, fn, items, *, timeout_s=None, **settings):
        return super().map_unordered(fn, items, **settings)


@breaks("an-executor-may-be-closed-twice", "executor")
class ClosesOnce(Inline):
    closed = False

    def close(self):
        if self.closed:
            raise RuntimeError("closed")
        self.closed = True
