"""When a plan is served, for how long it may try, and when it is withdrawn: pure decisions over what the journal holds.

A plan is served when its newest measurement found it faster than the default, by a margin, over repeated pairs with an equal
digest, on the schema and server that are there now, and nothing newer has withdrawn it. It is withdrawn when it stops paying,
when it had to fall back once, when what it was measured on has changed, or when a newer measurement says so. Everything else
gets the untouched query.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TypeAlias

from pydantic import Field

from trellis.component import Config
from trellis.memory.journal import DecisionEntry, MeasurementEntry, newest

Drift: TypeAlias = Callable[[MeasurementEntry], str]
"""Says what has changed since a measurement; empty where nothing has that matters to it."""


class ServingConfig(Config):
    """When plans are served, how they are guarded, and how they are watched."""

    margin: float = Field(default=0.1, ge=0)
    """The default must have taken at least 1 + margin times as long in the measurement."""
    min_gain_ms: float = Field(default=1.0, ge=0)
    """It must have taken so much longer, too: serving a plan takes two round trips to the server and a few settings."""
    min_pairs: int = Field(default=3, ge=1)
    """Pairs that a measurement must rest on."""
    factor: float = Field(default=2.0, gt=0)
    """A served plan may take this many times the default's measured median; then the untouched query is run."""
    floor_ms: float = Field(default=50.0, gt=0)
    """No served plan is stopped earlier: a server does not keep shorter time-outs exactly."""
    window: int = Field(default=9, ge=3)
    """Served executions whose median decides whether a plan still pays."""
    loss_margin: float = Field(default=0.05, ge=0)
    """A plan is withdrawn when that median is above 1 + loss_margin times the default's."""
    default_share: float = Field(default=0.02, ge=0, le=0.5)
    """Share of executions of a served query that run untouched, so that the gain stays known; 0 for none."""
    min_default_samples: int = Field(default=5, ge=1)
    """So many of those take the measured default's place."""
    poll_s: float = Field(default=1.0, gt=0)
    """How often the journal is written and other processes' decisions are read."""
    drift_s: float = Field(default=30.0, gt=0)
    """How often the schema is read."""
    max_text_chars: int = Field(default=100_000, gt=0)
    """Longer queries are never looked up."""
    dialect: str = "auto"
    """How hints are given, in the database's own words."""


@dataclass(frozen=True, slots=True)
class ServedPlan:
    """A decision to serve, with what its guard needs.

    Attributes:
        decision: The decision.
        measurement: What it rests on.
        default_ms: The default's median there.
        timeout_ms: What the plan may take.
    """

    decision: DecisionEntry
    measurement: MeasurementEntry
    default_ms: float
    timeout_ms: float


def worth(m: MeasurementEntry, config: ServingConfig) -> str:
    """Return why a measurement does not justify serving its hints; empty where it does."""
    if not m.hints:
        return "it is the default itself"
    if m.judgement != "faster":
        return f"it was found {m.judgement}"
    if m.digest is None or m.default_ms is None or m.median_ms is None or m.low is None:
        return "its result was not compared with the default's"
    if m.pairs < config.min_pairs:
        return f"it rests on {m.pairs} pairs, fewer than {config.min_pairs}"
    if m.low <= 1 or m.speedup < 1 + config.margin:
        return f"{speedup_text(m)} does not reach {1 + config.margin:g}x"
    if m.default_ms - m.median_ms < config.min_gain_ms:
        return f"it saves {m.default_ms - m.median_ms:.2f} ms, less than {config.min_gain_ms:g} (`min_gain_ms`)"
    return ""


def speedup_text(m: MeasurementEntry) -> str:
    """Return a measurement's speed-up in words, e.g. "2.31x (2.10 to 2.44 over 5 pairs)"."""
    if m.pairs == 0:
        return f"at most {m.speedup:.2f}x"
    if m.low is None or m.high is None:
        return f"{m.speedup:.2f}x (once)"
    return f"{m.speedup:.2f}x ({m.low:.2f} to {m.high:.2f} over {m.pairs} pairs)"


def best_to_serve(
    measurements: Sequence[MeasurementEntry],
    decisions: Sequence[DecisionEntry],
    *,
    drift: Drift,
    config: ServingConfig,
) -> MeasurementEntry | None:
    """Return the measurement whose hints are worth most among those that may be served now.

    Of hints measured several times the newest measurement counts, and only if it is newer than their last withdrawal.

    Args:
        measurements: Of one query on one database, in order.
        decisions: Likewise.
        drift: What has changed since a measurement.
        config: The rules.
    """
    withdrawn = {d.hints: d.at for d in decisions if d.action == "withdraw"}
    good = [
        m
        for m in newest(measurements)
        if not worth(m, config) and m.at > withdrawn.get(m.hints, -math.inf) and not drift(m)
    ]
    return max(good, key=lambda m: m.speedup, default=None)


def sifted(
    measurements: Sequence[MeasurementEntry],
    decisions: Sequence[DecisionEntry],
    *,
    drift: Drift,
    served_drift: Drift,
    config: ServingConfig,
) -> tuple[list[MeasurementEntry], list[MeasurementEntry]]:
    """Return the measurements that still say something, in order, and those to be made again before they do, the best first.

    To be made again is what was worth serving, and has drifted or was withdrawn since. What was not worth it and has drifted is
    in neither: it may be proposed as if it were new.

    Args:
        measurements: Of one query on one database, in order.
        decisions: Likewise.
        drift: What has changed since a measurement.
        served_drift: The same for what is worth serving, where a closer look is worth its price.
        config: The rules.
    """
    withdrawn = {d.hints: d.at for d in decisions if d.action == "withdraw"}
    holding, again = [], []
    for m in newest(measurements):
        if worth(m, config):
            holding += [] if drift(m) else [m]
        elif m.at <= withdrawn.get(m.hints, -math.inf) or served_drift(m):
            again.append(m)
        else:
            holding.append(m)
    return holding, sorted(again, key=lambda m: -m.speedup)


def decide(
    key: str,
    database: str,
    measurements: Sequence[MeasurementEntry],
    decisions: Sequence[DecisionEntry],
    *,
    drift: Drift,
    config: ServingConfig,
) -> DecisionEntry | None:
    """Return the decision that a query's record calls for; None where the one that holds is right.

    A plan that is served gives way to another one only where that is better by the margin.

    Args:
        key: The query's.
        database: Which database.
        measurements: Of this query on this database, in order.
        decisions: Likewise.
        drift: What has changed since a measurement.
        config: The rules.
    """
    current = decisions[-1] if decisions else None
    best = best_to_serve(measurements, decisions, drift=drift, config=config)
    held = None
    if current is not None and current.action == "serve":
        held = next((m for m in reversed(measurements) if m.hints == current.hints), None)
        reason = "its measurement is gone" if held is None else worth(held, config) or drift(held)
        if reason:
            if best is None:
                number = None if held is None else held.id
                return DecisionEntry(key, database, "withdraw", current.hints, reason, number)
            held = None
    if best is None:
        if current is None and measurements:
            return DecisionEntry(key, database, "keep default", "", _nothing_worth(measurements, config))
        return None
    if held is not None and (held.hints == best.hints or best.speedup < held.speedup * (1 + config.margin)):
        return None
    reason = (
        f"measured faster: {speedup_text(best)}, {_ms(best.default_ms)} by default and {_ms(best.median_ms)} under hints, "
        "with an equal result"
    )
    return DecisionEntry(key, database, "serve", best.hints, reason, best.id)


def plan_of(
    decision: DecisionEntry, measurements: Sequence[MeasurementEntry], config: ServingConfig
) -> ServedPlan | None:
    """Return a decision to serve with its measurement and time-out; None where no measurement stands behind it."""
    found = [m for m in measurements if m.hints == decision.hints and not worth(m, config)]
    chosen = next((m for m in found if m.id == decision.measurement), found[-1] if found else None)
    if decision.action != "serve" or chosen is None or chosen.default_ms is None:
        return None
    timeout_ms = max(config.floor_ms, config.factor * chosen.default_ms)
    return ServedPlan(decision, chosen, chosen.default_ms, timeout_ms)


@dataclass(slots=True)
class Ledger:
    """What one process has seen of a served plan.

    Attributes:
        plan: The plan.
        config: The rules.
        num_served: Executions under the hints that gave their result.
        num_default: Executions that ran untouched to keep the comparison fresh.
        num_fallbacks: Executions whose hinted try did not end, or ended in an error.
        gain_ms: The default's time less the plan's own, summed over what was served.
    """

    plan: ServedPlan
    config: ServingConfig
    num_served: int = 0
    num_default: int = 0
    num_fallbacks: int = 0
    gain_ms: float = 0.0
    _served_ms: deque[float] = field(init=False)
    _default_ms: deque[float] = field(init=False)
    _num_asked: int = 0

    def __post_init__(self) -> None:
        self._served_ms = deque(maxlen=self.config.window)
        self._default_ms = deque(maxlen=self.config.window)

    @property
    def default_ms(self) -> float:
        """The default's median: of the newest untouched executions where there are enough, else as it was measured."""
        if len(self._default_ms) < min(self.config.min_default_samples, self.config.window):
            return self.plan.default_ms
        return median(self._default_ms)

    def next_is_default(self) -> bool:
        """Whether the next execution is to run untouched."""
        self._num_asked += 1
        share = self.config.default_share
        return share > 0 and self._num_asked % round(1 / share) == 0

    def served(self, latency_ms: float) -> str:
        """Note an execution under the hints, and return why the plan is to be withdrawn; empty where it pays."""
        self.num_served += 1
        self.gain_ms += self.default_ms - latency_ms
        self._served_ms.append(latency_ms)
        return self._verdict()

    def untouched(self, latency_ms: float) -> str:
        """Note an execution without hints; the answer is as `served` gives it."""
        self.num_default += 1
        self._default_ms.append(latency_ms)
        return self._verdict()

    def fell_back(self, latency_ms: float, error: str) -> str:
        """Note a try that failed, and return why the plan is to be withdrawn.

        Args:
            latency_ms: Of the try alone.
            error: What the database said; empty where the time-out ended it.
        """
        self.num_fallbacks += 1
        self.gain_ms -= latency_ms
        if error:
            return f"fell back to the untouched query after an error: {error}"
        return (
            f"fell back to the untouched query: stopped after {_ms(latency_ms)}, the default was measured at "
            f"{_ms(self.plan.default_ms)}"
        )

    def _verdict(self) -> str:
        if len(self._served_ms) < self.config.window:
            return ""
        own, bound = median(self._served_ms), self.default_ms * (1 + self.config.loss_margin)
        if own <= bound:
            return ""
        return (
            f"stopped paying: median {_ms(own)} over the last {self.config.window} served, the default's is "
            f"{_ms(self.default_ms)} ({own / self.default_ms:.2f}x)"
        )


def _nothing_worth(measurements: Sequence[MeasurementEntry], config: ServingConfig) -> str:
    # What never ended has a bound in a speed-up's place.
    best = max(measurements, key=lambda m: (m.pairs > 0, m.speedup))
    return f"none of {len(measurements)} measurements is worth serving; the best, {speedup_text(best)}: {worth(best, config)}"


def _ms(value: float | None) -> str:
    return "an unknown time" if value is None else f"{value:.1f} ms" if value < 1000 else f"{value / 1000:.2f} s"
