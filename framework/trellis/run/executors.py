"""The executors that come with Trellis: `local` in this process, `processes` in spawned workers.

Workers are spawned, never forked: a fork would copy locks and threads (torch's, a database driver's) in whatever state
they are. Each worker has one item at a time, so killing it, or losing it, costs that item alone.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any
from weakref import WeakSet

from trellis.contracts.executor import Executor, Item, ItemResult, Value, item_seed
from trellis.errors import CapabilityError
from trellis.run.executor_config import LocalConfig, ProcessesConfig

_SPAWN = multiprocessing.get_context("spawn")
_STARTED = b"started"


class Local(Executor):
    """One item after another, in this process. Each is computed when its result is asked for."""

    Config = LocalConfig

    def __init__(self, config: LocalConfig) -> None:
        self.config = config

    def map_unordered(
        self,
        fn: Callable[[Item, int], Value],
        items: Iterable[Item],
        *,
        seed: int = 0,
        timeout_s: float | None = None,
        retries: int = 0,
    ) -> Iterator[ItemResult[Value]]:
        """Yield a result per item, in the order of the items.

        Raises:
            CapabilityError: A time-out is asked for.
        """
        if timeout_s is not None:
            mend = "nothing can stop a function in its own process. Use the executor 'processes', or no `timeout_s`."
            raise CapabilityError("local", capability="time-out", mend=mend)
        return (_call(fn, item, index, seed=seed, retries=retries) for index, item in enumerate(items))

    def close(self) -> None:
        """Do nothing: nothing is held."""


def _call(fn: Callable[[Item, int], Value], item: Item, index: int, *, seed: int, retries: int) -> ItemResult[Value]:
    attempts = 0
    while True:
        attempts += 1
        try:
            return ItemResult(index, fn(item, item_seed(seed, index)), None, attempts)
        except Exception as error:
            if attempts > retries:
                return ItemResult(index, None, error, attempts)


class Processes(Executor):
    """Several items at a time, each in a spawned worker process that is kept for later items and later calls.

    Functions, items and values travel by pickle; items are taken from their iterator when a worker is free. An attempt
    that takes too long has its worker killed. An exception keeps its type and carries the worker's traceback as a
    note; an item whose worker died failed with a `ChildProcessError`.
    """

    Config = ProcessesConfig

    def __init__(self, config: ProcessesConfig) -> None:
        self.config = config
        self._workers = config.workers or os.cpu_count() or 1
        self._idle: list[_Worker] = []
        self._running: WeakSet[Generator[Any, None, None]] = WeakSet()

    def map_unordered(
        self,
        fn: Callable[[Item, int], Value],
        items: Iterable[Item],
        *,
        seed: int = 0,
        timeout_s: float | None = None,
        retries: int = 0,
    ) -> Iterator[ItemResult[Value]]:
        """Yield a result per item as each ends. Leaving the iterator early kills the work under way.

        Raises:
            CapabilityError: The function cannot be pickled.
        """
        try:
            pickle.dumps(fn)
        except Exception as error:
            mend = f"{error}. Use a function defined at the top of a module, or the executor 'local'."
            raise CapabilityError(
                "processes", capability=f"way to send {fn!r} to another process", mend=mend
            ) from error
        running = self._run(fn, items, seed=seed, timeout_s=timeout_s, retries=retries)
        self._running.add(running)
        return running

    def _run(
        self,
        fn: Callable[[Item, int], Value],
        items: Iterable[Item],
        *,
        seed: int,
        timeout_s: float | None,
        retries: int,
    ) -> Generator[ItemResult[Value], None, None]:
        fresh = (_Job(index, item) for index, item in enumerate(items))
        again: deque[_Job] = deque()
        busy: list[_Worker] = []
        ended: list[ItemResult[Value]] = []
        try:
            while True:
                while len(busy) < self._workers and (job := again.popleft() if again else next(fresh, None)):
                    job.attempts += 1
                    try:
                        message = pickle.dumps((fn, job.item, item_seed(seed, job.index)))
                    except Exception as error:
                        error.add_note(f"item {job.index} cannot be sent to another process")
                        ended.append(ItemResult(job.index, None, error, job.attempts))
                    else:
                        busy.append(self._take())
                        busy[-1].begin(job, message, timeout_s=timeout_s)
                yield from ended
                ended.clear()
                if not busy:
                    return
                _wait(busy)
                for worker in busy[:]:
                    if (reply := worker.reply()) is None:
                        continue
                    busy.remove(worker)
                    self._release(worker)
                    if reply.error is not None and worker.job.attempts <= retries:
                        again.append(worker.job)
                    else:
                        ended.append(ItemResult(worker.job.index, reply.value, reply.error, worker.job.attempts))
        finally:
            for worker in busy:
                worker.stop()

    def _take(self) -> _Worker:
        while self._idle:
            worker = self._idle.pop()
            if worker.process.is_alive():
                return worker
            worker.stop()
        return _Worker()

    def _release(self, worker: _Worker) -> None:
        if worker.process.is_alive() and len(self._idle) < self._workers:
            self._idle.append(worker)
        else:
            worker.stop()

    def close(self) -> None:
        """End every iterator under way and every worker."""
        for running in list(self._running):
            running.close()
        while self._idle:
            self._idle.pop().stop()


@dataclass(slots=True)
class _Job:
    index: int
    item: Any
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class _Reply:
    value: Any
    error: BaseException | None


class _Worker:
    """A spawned process and the job it has, seen from the parent."""

    job: _Job

    def __init__(self) -> None:
        self.connection, theirs = _SPAWN.Pipe()
        # A daemon: it never outlives its parent, nor keeps it from ending.
        self.process = _SPAWN.Process(target=_work, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()

    def begin(self, job: _Job, message: bytes, *, timeout_s: float | None) -> None:
        """Hand it a job. The clock starts once the worker has read it: starting up and importing do not count."""
        self.job = job
        self._timeout_s = timeout_s
        self._started = False
        self.deadline: float | None = None
        # If it died meanwhile, `reply` says so.
        with contextlib.suppress(OSError):
            self.connection.send_bytes(message)

    def reply(self) -> _Reply | None:
        """Return how the job ended, None while it goes on."""
        # In this order: what a worker wrote before it died counts.
        alive = self.process.is_alive()
        if self.connection.poll():
            try:
                message = self.connection.recv_bytes()
            except (EOFError, OSError):
                return self._death()
            if message != _STARTED:
                return _unpacked(message)
            self._started = True
            if self._timeout_s is not None:
                self.deadline = time.monotonic() + self._timeout_s
            return None
        if not alive:
            return self._death()
        if self.deadline is not None and time.monotonic() >= self.deadline:
            self.process.kill()
            self.process.join()
            return _Reply(None, TimeoutError(f"the attempt took longer than {self._timeout_s} s"))
        return None

    def _death(self) -> _Reply:
        self.process.join()
        code = self.process.exitcode or 0
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        error = ChildProcessError(f"the worker process died ({how})")
        if not self._started:
            error.add_note(
                "It died before it could read the item. A script that uses 'processes' must do so under "
                "`if __name__ == '__main__':`, for workers import it."
            )
        return _Reply(None, error)

    def stop(self) -> None:
        """Kill it, wait for its end and free what it held here."""
        self.process.kill()
        self.process.join()
        self.process.close()
        self.connection.close()


def _wait(workers: list[_Worker]) -> None:
    """Sleep until a worker has written or died, or the first deadline."""
    deadline = min((worker.deadline for worker in workers if worker.deadline is not None), default=None)
    timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
    wait([handle for worker in workers for handle in (worker.connection, worker.process.sentinel)], timeout)


def _unpacked(message: bytes) -> _Reply:
    try:
        value, error = pickle.loads(message)
    except Exception as unreadable:
        return _Reply(None, unreadable)
    return _Reply(value, error)


def _work(connection: Connection) -> None:
    """Do jobs until the parent closes the connection: what a worker process runs."""
    # Ctrl-C goes to all processes of a terminal; it is the parent that ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(EOFError, OSError):
        while True:
            connection.send_bytes(_answer(connection.recv_bytes(), connection))


def _answer(message: bytes, connection: Connection) -> bytes:
    try:
        fn, item, seed = pickle.loads(message)
        connection.send_bytes(_STARTED)
        return pickle.dumps((fn(item, seed), None))
    except Exception as error:
        return _packed(error)


def _packed(error: Exception) -> bytes:
    """Pickle an exception with its traceback as a note; one that does not survive pickling as a `RuntimeError`."""
    note = "".join(["In the worker process:\n", *traceback.format_exception(error)]).rstrip()
    error.add_note(note)
    try:
        message = pickle.dumps((None, error))
        pickle.loads(message)
    except Exception:
        substitute = RuntimeError(traceback.format_exception_only(error)[0].strip())
        substitute.add_note(note)
        return pickle.dumps((None, substitute))
    return message
