"""Measuring a query's default plan against plans under hints, so that the numbers can be trusted.

The protocol: the default and every variant are run once to warm the caches; then come rounds, in each of which the default
and every variant that is still undecided run once, in an order drawn anew. A variant and the default of the same round are
a pair. Client time is the truth; a variant may take `factor` times the others' best median so far and is stopped after that. A
variant's rounds end when the interval of its speed-up decides. Every result is compared with the default's by digest.

Why pairs in one round: a machine's speed drifts, and two medians measured minutes apart differ without any reason in the
plans. Why so many: of 270 measurements of the default against itself one pair called 10.7% faster, three 0.7%, five 0.4%
(`python benchmarks/sql/null_test.py`, results/null_test.json).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from trellis.contracts import DatabaseBackend, Execution
from trellis.errors import ConnectionLostError, DatabaseError, QueryTimeoutError
from trellis.measuring.config import MeasureConfig
from trellis.sql.compare import Verdict, compare
from trellis.sql.hints import PlanHints
from trellis.sql.plan import Plan
from trellis.sql.query import Query

Judgement: TypeAlias = Literal[
    "faster", "slower", "undecided", "same plan", "timed out", "wrong result", "unverified", "failed"
]


class Interval(NamedTuple):
    """An estimate and the ends of its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class VariantResult:
    """How one plan went.

    Attributes:
        judgement: "faster" and "slower" than the default by a margin, or "undecided"; "same plan": it is the default's, so it
            was not run; "timed out": slower than `factor` times the others' best median; "wrong result": another digest than its,
            which is a fault in a backend; "unverified": the default timed out, so there is no result to compare with;
            "failed": the database refused it. The default's own is "undecided".
        latencies_ms: One per round, in order; of the time-out where it timed out.
        speedup: Default's time over the variant's, median over pairs; None without a pair.
        digest: Of its result.
        plan: As EXPLAIN shows it, measured if `analyze` was asked for.
        verdicts: What of each hint the plan follows.
        untouched: Hints that could not be asked for, and why.
        reason: What went wrong; empty otherwise.
        stopped_ms: After how long it was stopped, where it timed out.
    """

    judgement: Judgement
    latencies_ms: tuple[float, ...]
    speedup: Interval | None
    digest: str | None
    plan: Plan
    verdicts: tuple[Verdict, ...] = ()
    untouched: Mapping[str, str] | None = None
    reason: str = ""
    stopped_ms: float | None = None

    @property
    def median_ms(self) -> float | None:
        """The median of its latencies."""
        return float(np.median(self.latencies_ms)) if self.latencies_ms else None


@dataclass(frozen=True, slots=True)
class Measurement:
    """A query's default plan and its variants.

    Attributes:
        query: The query.
        default: How the database's own plan went.
        variants: By name, in the order given.
        rounds: Rounds that count.
        lost_rounds: Rounds thrown away because the server went away in them.
        executions: How often anything was executed, lost rounds and warm-ups included.
    """

    query: Query
    default: VariantResult
    variants: Mapping[str, VariantResult]
    rounds: int
    lost_rounds: int
    executions: int

    @property
    def best(self) -> str | None:
        """The name of the variant with the smallest median among those that are faster; None where none is."""
        faster = {name: one.median_ms for name, one in self.variants.items() if one.judgement == "faster"}
        return min(faster, key=lambda name: faster[name] or 0.0) if faster else None


def measure(
    backend: DatabaseBackend,
    query: Query,
    variants: Mapping[str, PlanHints],
    config: MeasureConfig | None = None,
    *,
    on_execution: Callable[[str, Execution], None] | None = None,
) -> Measurement:
    """Measure a query under its default plan and under each variant's hints.

    Args:
        backend: The database; nobody else is timed on it meanwhile (`DatabaseBackend.alone`).
        query: As the backend's `parse` returned it.
        variants: Hints by name; "default" is taken.
        config: The protocol.
        on_execution: Told of every execution, warm-ups included, as it ends: for a journal or a display.

    Raises:
        HintError: A variant's hints do not fit the query; nothing was executed.
        DatabaseError: The database refuses the query itself, or went away for longer than `patience_s`.
    """
    if "default" in variants:
        raise ValueError('"default" is the name of the plan without hints: give the variant another')
    with backend.alone():
        return _Measuring(backend, query, variants, config or MeasureConfig(), on_execution).run()


@dataclass(slots=True)
class _Runner:
    """A plan that is being measured."""

    name: str
    hints: PlanHints
    plan: Plan
    latencies_ms: list[float]
    pairs: list[tuple[float, float]]
    """Default's and own latency of each round."""
    digest: str | None = None
    judgement: Judgement | None = None
    reason: str = ""
    stopped_ms: float | None = None


class _LostRound(Exception):  # noqa: N818 - it tells the loop to begin a round anew, nothing went wrong
    pass


class _Measuring:
    def __init__(
        self,
        backend: DatabaseBackend,
        query: Query,
        variants: Mapping[str, PlanHints],
        config: MeasureConfig,
        on_execution: Callable[[str, Execution], None] | None,
    ) -> None:
        self.backend, self.query, self.config = backend, query, config
        self.on_execution = on_execution
        self.rng = np.random.default_rng(config.seed or 0)
        self.executions = self.lost_rounds = 0
        self.bound_ms = config.timeout_ms
        self.default_times_out = False
        self.statements = {name: backend.hinted(query, hints) for name, hints in variants.items()}
        plan = self._patiently(lambda: backend.explain(query))
        self.default = _Runner("default", PlanHints(), plan, [], [])
        self.variants = [
            _Runner(name, hints, self._patiently(lambda h=hints: backend.explain(query, h)), [], [])  # type: ignore[misc]
            for name, hints in variants.items()
        ]

    def run(self) -> Measurement:
        """Warm up, run rounds until all is decided, and conclude."""
        c = self.config
        if c.skip_same_plan:
            for variant in self.variants:
                if variant.plan.shape() == self.default.plan.shape():
                    variant.judgement = "same plan"
        rounds, warm = 0, False
        while rounds < c.pairs and (self._undecided or rounds < c.min_pairs):
            try:
                if not warm:
                    self._warm_up()
                    warm = True
                    continue
                self._round(number=rounds + 1)
                rounds += 1
            except _LostRound:
                self.lost_rounds += 1
                warm = False
        for variant in self._undecided:
            variant.judgement = _judge(self._speedup(variant), self.default.digest, c.margin) or "undecided"
        if c.analyze:
            for runner in (self.default, *self.variants):
                self._analyze(runner)
        results = {variant.name: self._result(variant) for variant in self.variants}
        default = self._result(self.default)
        return Measurement(self.query, default, results, rounds, self.lost_rounds, self.executions)

    @property
    def _undecided(self) -> list[_Runner]:
        return [variant for variant in self.variants if variant.judgement is None]

    def _warm_up(self) -> None:
        """Run everything that is undecided once, untimed, the default first: its result is what others must have."""
        warm = self._execute(self.default)
        if warm is not None:
            self.bound_ms, self.default_times_out = warm.latency_ms, warm.timed_out
        for variant in self._undecided:
            self._execute(variant)

    def _round(self, *, number: int) -> None:
        """Run the default and everything undecided once; what a lost connection leaves of a round is forgotten."""
        runners = [self.default, *self._undecided]
        latencies = {}
        if self.default_times_out:
            # To learn that again would cost the whole time-out: what is measured is a bound.
            latencies["default"] = self.bound_ms
            runners = runners[1:]
        for i in self.rng.permutation(len(runners)):
            execution = self._execute(runners[i])
            if execution is not None:
                latencies[runners[i].name] = execution.latency_ms
        default_ms = latencies["default"]
        self.default.latencies_ms.append(default_ms)
        for variant in runners:
            if variant is not self.default and variant.name in latencies:
                variant.latencies_ms.append(latencies[variant.name])
                variant.pairs.append((default_ms, latencies[variant.name]))
        if number >= self.config.min_pairs:
            for variant in self._undecided:
                speedup = self._speedup(variant)
                if speedup is not None and (speedup.low > 1 + self.config.margin or speedup.high < 1):
                    variant.judgement = _judge(speedup, self.default.digest, self.config.margin) or "undecided"

    def _execute(self, runner: _Runner) -> Execution | None:
        """Run a plan once; what it shows of the plan's fate is noted. None where it has no latency that counts."""
        default = runner is self.default
        timeout_ms = self.config.timeout_ms if default else self._timeout_ms(runner)
        self.executions += 1
        try:
            execution = self.backend.execute(self.query, runner.hints, timeout_ms=timeout_ms)
        except ConnectionLostError as error:
            self._wait_for_server(error)
            raise _LostRound from error
        except DatabaseError as error:
            if default:
                raise
            runner.judgement, runner.reason = "failed", str(error)
            return None
        if self.on_execution is not None:
            self.on_execution(runner.name, execution)
        if execution.timed_out:
            if not default:
                runner.judgement, runner.reason = "timed out", f"stopped after {timeout_ms:.0f} ms"
                runner.stopped_ms = timeout_ms
                return None
            return execution
        if runner.digest is None:
            runner.digest = execution.digest
        expected = runner.digest if default else (self.default.digest or runner.digest)
        if execution.digest != expected:
            reason = (
                "two executions of the default gave different results: the query has no one result (LIMIT without ORDER "
                "BY, random(), floating-point sums in parallel), or its data changes"
                if default
                else "its result is not the default's"
            )
            if default:
                raise DatabaseError(f"the query cannot be measured: {reason}")
            runner.judgement, runner.reason = "wrong result", reason
            return None
        return execution

    def _timeout_ms(self, runner: _Runner) -> float:
        """Return what a variant may take now."""
        # Its own median is left out: the best variant's next execution may meet a busy machine.
        others = [r for r in (self.default, *self.variants) if r.latencies_ms and r is not runner]
        medians = [float(np.median(r.latencies_ms)) for r in others]
        return max(self.config.floor_ms, self.config.factor * min(medians, default=self.bound_ms))

    def _speedup(self, variant: _Runner) -> Interval | None:
        """Return default's over own latency, median over pairs, with the percentile interval of resampled pairs."""
        if not variant.pairs:
            return None
        ratios = np.array([default / own for default, own in variant.pairs])
        drawn = np.random.default_rng(self.config.seed or 0).integers(len(ratios), size=(2000, len(ratios)))
        low, high = np.quantile(np.median(ratios[drawn], axis=1), [0.025, 0.975])
        return Interval(float(np.median(ratios)), float(low), float(high))

    def _analyze(self, runner: _Runner) -> None:
        if runner.judgement in ("timed out", "wrong result", "failed"):
            return
        try:
            runner.plan = self._patiently(
                lambda: self.backend.explain(self.query, runner.hints, timeout_ms=self.config.timeout_ms)
            )
        except QueryTimeoutError as error:
            runner.reason = runner.reason or f"not analyzed: {error}"

    def _patiently(self, ask: Callable[[], Plan]) -> Plan:
        """Ask for a plan, again after a server that went away is back."""
        while True:
            try:
                return ask()
            except ConnectionLostError as error:
                self._wait_for_server(error)

    def _wait_for_server(self, error: ConnectionLostError) -> None:
        """Return as soon as the server answers again.

        Raises:
            ConnectionLostError: It did not within `patience_s`.
        """
        deadline, pause_s = time.monotonic() + self.config.patience_s, 0.05
        while True:
            try:
                self.backend.explain(self.query)
            except ConnectionLostError:
                if time.monotonic() + pause_s > deadline:
                    error.add_note(f"waited {self.config.patience_s:g} s for the server (`patience_s`)")
                    raise error from None
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, 2.0)
            else:
                return

    def _result(self, runner: _Runner) -> VariantResult:
        statement = self.statements.get(runner.name)
        return VariantResult(
            judgement=runner.judgement or "undecided",
            latencies_ms=tuple(runner.latencies_ms),
            speedup=self._speedup(runner),
            digest=runner.digest,
            plan=runner.plan,
            verdicts=tuple(compare(runner.hints, runner.plan, self.query)),
            untouched=None if statement is None else statement.untouched,
            reason=runner.reason,
            stopped_ms=runner.stopped_ms,
        )


def _judge(speedup: Interval | None, default_digest: str | None, margin: float) -> Judgement | None:
    if speedup is None:
        return None
    if default_digest is None:
        return "unverified"
    if speedup.low > 1 and speedup.value >= 1 + margin:
        return "faster"
    # With few pairs all of them lie below 1 by chance often enough: it is slower by the same margin, or not told apart.
    return "slower" if speedup.high < 1 and speedup.value <= 1 / (1 + margin) else None
