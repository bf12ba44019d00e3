"""An executor on Ray actors: each is a worker process that is kept, and has one item at a time.

So a policy that an item's function builds once in its process is built once a worker. A worker that is killed, or lost with its
machine, costs its present item an attempt; the item is given to another worker.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any
from weakref import WeakSet

import ray
from ray import cloudpickle
from ray.exceptions import RayError

from trellis.contracts.executor import Executor, Item, ItemResult, Value, item_seed
from trellis.errors import CapabilityError
from trellis_ray.config import RayConfig
from trellis_ray.worker import Worker

_FAILED_STARTS = 3
"""So many workers in a row that do not come up, and the executor gives up."""


class RayExecutor(Executor):
    """Several items at a time on the workers of a cluster.

    Functions, items and values travel by cloudpickle; items are taken from their iterator when a worker is free. An attempt
    that takes too long has its worker killed. An exception keeps its type and carries the worker's traceback as a note. An
    item whose workers were lost more than `lost_workers` times failed with a `ChildProcessError`.
    """

    Config = RayConfig

    def __init__(self, config: RayConfig) -> None:
        self.config = config
        self._connected = False
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
            CapabilityError: The function cannot be sent, there is no such cluster, or it has no room for a worker.
        """
        try:
            function = cloudpickle.dumps(fn)
        except Exception as error:
            mend = f"{error}. Use a function that holds no open file, connection or the like."
            raise CapabilityError("ray", capability=f"way to send {fn!r} to another machine", mend=mend) from error
        limit = self._connect()
        running: Generator[ItemResult[Value], None, None] = self._run(
            function, items, limit, seed=seed, timeout_s=timeout_s, retries=retries
        )
        self._running.add(running)
        return running

    def _connect(self) -> int:
        """Join the cluster, or start one, and return how many workers may be at work at a time."""
        c = self.config
        if not ray.is_initialized():
            # What Ray would send home of the cluster's size and use.
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            local = None if c.address else max(1, round((c.workers or os.cpu_count() or 1) * max(c.cpus, 1)))
            try:
                ray.init(
                    address=c.address or "local",
                    num_cpus=local,
                    include_dashboard=None if c.address else False,
                    logging_level="error",
                    log_to_driver=False,
                )
            except ConnectionError as error:
                mend = f"{error} `ray start --head` begins one; `trellis` must be installed on each of its machines."
                raise CapabilityError("ray", capability=f"cluster at {c.address}", mend=mend) from error
            self._connected = True
        wanted = {"CPU": c.cpus, "GPU": c.gpus, **c.resources}
        there = ray.cluster_resources()
        for name, amount in wanted.items():
            if amount > there.get(name, 0):
                mend = (
                    f"a worker takes {amount:g} {name} and the cluster has {there.get(name, 0):g}. Ask for less of it."
                )
                raise CapabilityError("ray", capability=f"room for a worker with {amount:g} {name}", mend=mend)
        room = min((int(there[name] / amount) for name, amount in wanted.items() if amount > 0), default=1)
        return c.workers or room

    def _run(
        self,
        function: bytes,
        items: Iterable[Item],
        limit: int,
        *,
        seed: int,
        timeout_s: float | None,
        retries: int,
    ) -> Generator[ItemResult[Value], None, None]:
        sent = ray.put(function)
        fresh = (_Job(index, item) for index, item in enumerate(items))
        waiting: deque[_Job] = deque()
        pending: dict[ray.ObjectRef, _Worker] = {}
        failed_starts = 0
        try:
            while True:
                waiting.extend(islice(fresh, max(0, limit - len(waiting))))
                while waiting and self._idle:
                    worker, job = self._idle.pop(), waiting.popleft()
                    if (problem := worker.begin(job, sent)) is None:
                        pending[worker.reply] = worker
                    else:
                        self._idle.append(worker)
                        yield ItemResult(job.index, None, problem, job.attempts)
                starting = sum(worker.job is None for worker in pending.values())
                for _ in range(min(len(waiting) - starting, limit - len(pending))):
                    worker = _Worker(self.config)
                    pending[worker.reply] = worker
                if not waiting and not any(worker.job for worker in pending.values()):
                    return
                ready, _ = ray.wait(list(pending), timeout=_until_deadline(pending.values()))
                late = [ref for ref, worker in pending.items() if ref not in ready and worker.late()]
                for ref in (*ready, *late):
                    worker = pending.pop(ref)
                    ended = worker.take(late=ref in late, timeout_s=timeout_s, seed=seed)
                    if ended is None:
                        failed_starts = 0
                        if worker.job is None:
                            self._idle.append(worker)
                        else:
                            pending[worker.reply] = worker
                        continue
                    ended_job, worker.job = worker.job, None
                    if ended.lost:
                        worker.stop()
                    else:
                        self._idle.append(worker)
                    if ended_job is None:
                        failed_starts += 1
                        if failed_starts >= _FAILED_STARTS:
                            raise CapabilityError("ray", capability="worker that starts", mend=str(ended.error))
                    elif ended_job.fails(ended, retries=retries, lost_workers=self.config.lost_workers):
                        yield ItemResult(ended_job.index, ended.value, ended.error, ended_job.attempts)
                    else:
                        waiting.appendleft(ended_job)
        finally:
            for worker in pending.values():
                worker.stop()

    def close(self) -> None:
        """End every iterator under way and every worker, and leave the cluster."""
        for running in list(self._running):
            running.close()
        while self._idle:
            self._idle.pop().stop()
        if self._connected:
            self._connected = False
            ray.shutdown()


@dataclass(slots=True)
class _Job:
    index: int
    item: Any
    attempts: int = 0
    failures: int = 0
    losses: int = 0

    def fails(self, ended: _Ended, *, retries: int, lost_workers: int) -> bool:
        """Count how an attempt ended, and say whether the job has ended with it."""
        if ended.error is None:
            return True
        if ended.lost and not isinstance(ended.error, TimeoutError):
            self.losses += 1
            return self.losses > lost_workers
        self.failures += 1
        return self.failures > retries


@dataclass(frozen=True, slots=True)
class _Ended:
    value: Any
    error: BaseException | None
    lost: bool = False
    """Whether its worker is gone."""


class _Worker:
    """An actor and the job it has, seen from here. `reply` is what it was asked last.

    Without a job it is starting up; with one it reads it first, and then runs it, which is when the clock starts.
    """

    def __init__(self, config: RayConfig) -> None:
        options = {"num_cpus": config.cpus, "num_gpus": config.gpus, "resources": config.resources}
        self._actor = ray.remote(Worker).options(**options).remote(os.getcwd(), sys.path)
        self.job: _Job | None = None
        self.deadline: float | None = None
        """When its job will have run for too long."""
        self.reply = self._actor.ready.remote()

    def begin(self, job: _Job, function: ray.ObjectRef) -> Exception | None:
        """Hand it a job; return why it cannot be sent."""
        job.attempts += 1
        try:
            item = cloudpickle.dumps(job.item)
        except Exception as error:
            error.add_note(f"item {job.index} cannot be sent to another machine")
            return error
        self.job = job
        self.reply = self._actor.read.remote(function, item)
        return None

    def late(self) -> bool:
        """Say whether its job has run for too long."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    def take(self, *, late: bool, timeout_s: float | None, seed: int) -> _Ended | None:
        """Take what it replied; None where it now is ready for a job, or runs the one that it has read."""
        self.deadline = None
        if late:
            return _Ended(None, TimeoutError(f"the attempt took longer than {timeout_s} s"), lost=True)
        try:
            message = ray.get(self.reply)
        except RayError as error:
            return _Ended(None, ChildProcessError(f"the worker was lost: {error}"), lost=True)
        if message is not None:
            return _Ended(*cloudpickle.loads(message))
        if self.job is not None:
            self.deadline = None if timeout_s is None else time.monotonic() + timeout_s
            self.reply = self._actor.run.remote(item_seed(seed, self.job.index))
        return None

    def stop(self) -> None:
        """Kill it."""
        ray.kill(self._actor)


def _until_deadline(workers: Iterable[_Worker]) -> float | None:
    deadlines = [worker.deadline for worker in workers if worker.deadline is not None]
    return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
