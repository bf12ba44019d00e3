"""Finds out from a training run's metrics that it is going wrong, and says what to change.

Means over the last `window` steps are compared with the run's own beginning (the median of its first `window` steps) or
with its own best. What each detector reads it reads only where the optimizer reports it: `entropy`, `tokens`, `steps`,
`accuracy`, `finished` or `max_tokens_share`, and the discriminator's `reward/expert_accuracy` and `reward/policy_accuracy`.

A detector reports once, and again only after it has recovered: its value must first come back by a quarter over its
threshold, so that one which wavers there does not report at every turn.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from trellis.contracts import Finding
from trellis.run.stages.config import WatchConfig
from trellis.types import JSON

METRICS = (
    "entropy",
    "tokens",
    "steps",
    "accuracy",
    "max_tokens_share",
    "reward/expert_accuracy",
    "reward/policy_accuracy",
)
RECOVERED = 0.8
"""A detector has recovered when its excess is under this; above 1 it reports."""
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Sight:
    """What a detector sees now.

    Attributes:
        excess: How far beyond its threshold: 1 is on it, more is beyond.
        said: What is seen, with the numbers.
    """

    excess: float
    said: str


@dataclass(frozen=True, slots=True)
class Detector:
    """One way to go wrong.

    Attributes:
        name: What it is called in events.
        see: Looks; None where its metrics are not there, or not for long enough.
        cause: Why that usually is.
        changes: What to do: of which part ("optimizer" or "reward") which field, and how it is to change.
        threshold: The field of `WatchConfig` that says when it reports.
    """

    name: str
    see: Callable[[Watch], Sight | None]
    cause: str
    changes: tuple[tuple[str, str, str], ...]
    threshold: str


class Watch:
    """Sees one step after the other and keeps what it needs to compare them.

    Args:
        config: The thresholds.
        parts: The name in the pipeline and the config of the optimizer and of the reward, by "optimizer" and "reward", so
            that fields to change can be named with what they are now.
    """

    def __init__(self, config: WatchConfig, *, parts: Mapping[str, tuple[str, object]]) -> None:
        self.config = config
        self._parts = parts
        self._first: dict[str, list[float]] = {}
        self._last: dict[str, list[float]] = {}
        self._best = 0.0
        self._reported: list[str] = []

    def see(self, metrics: Mapping[str, float]) -> list[Finding]:
        """Take the metrics of the next step, and return what is wrong now and was not before."""
        metrics = dict(metrics)
        if "finished" in metrics:
            metrics.setdefault("max_tokens_share", 1.0 - metrics["finished"])
        for name in METRICS:
            if name in metrics:
                first = self._first.setdefault(name, [])
                if len(first) < self.config.window:
                    first.append(metrics[name])
                self._last[name] = [*self._last.get(name, ()), metrics[name]][-self.config.window :]
        self._best = max(self._best, self.now("accuracy") or 0.0)
        findings = []
        for detector in DETECTORS:
            sight = detector.see(self)
            if sight is None:
                continue
            if sight.excess > 1 and detector.name not in self._reported:
                self._reported.append(detector.name)
                findings.append(Finding(detector.name, self._message(detector, sight)))
            elif sight.excess < RECOVERED and detector.name in self._reported:
                self._reported.remove(detector.name)
        return findings

    def now(self, metric: str) -> float | None:
        """Return the mean over the last window; None until there is a whole one."""
        last = self._last.get(metric, ())
        return statistics.fmean(last) if len(last) == self.config.window else None

    def then(self, metric: str) -> float:
        """Return the median of the first window."""
        return statistics.median(self._first[metric])

    @property
    def best(self) -> float:
        """The best accuracy of any window so far."""
        return self._best

    def state(self) -> JSON:
        """Return all that has been kept, as JSON."""
        return {"first": self._first, "last": self._last, "best": self._best, "reported": list(self._reported)}

    def restore(self, state: JSON) -> None:
        """Take what `state` returned."""
        kept = cast("Mapping[str, JSON]", state)
        first, last = (cast("Mapping[str, Sequence[float]]", kept[key]) for key in ("first", "last"))
        self._first = {name: list(values) for name, values in first.items()}
        self._last = {name: list(values) for name, values in last.items()}
        self._best = float(cast(float, kept["best"]))
        self._reported = list(cast("Sequence[str]", kept["reported"]))

    def _message(self, detector: Detector, sight: Sight) -> str:
        return (
            f"{sight.said} over the last {self.config.window} steps. {detector.cause}. To mend it, {self._mend(detector)}. "
            f"`thresholds.{detector.threshold}` ({getattr(self.config, detector.threshold)}) sets when this is said"
        )

    def _mend(self, detector: Detector) -> str:
        """Name the fields to change; those that the parts at hand have, with their values."""
        found = []
        for part, field, how in detector.changes:
            name, config = self._parts.get(part, ("", None))
            if hasattr(config, field):
                found.append(f"{how} `components.{name}.with.{field}` (now {getattr(config, field)})")
        general = [f"{how} the {part}'s {field.replace('_', ' ')}" for part, field, how in detector.changes]
        return ", or ".join(found or general)


def _against_first(metric: str, unit: str, *, above: str = "", below: str = "") -> Callable[[Watch], Sight | None]:
    """Compare a metric with what it was at first; `above` and `below` are the fields that say how far it may go."""

    def see(watch: Watch) -> Sight | None:
        now = watch.now(metric)
        if now is None:
            return None
        then = max(watch.then(metric), _TINY)
        ratios = [now / (then * getattr(watch.config, above))] if above else []
        if below:
            limit = getattr(watch.config, below)
            # A drift is given as how many times, a fall as the share that is left.
            ratios.append(then * (limit if limit < 1 else 1 / limit) / max(now, _TINY))
        return Sight(max(ratios), f"{metric} is {now:.3g} {unit}, and was {then:.3g} at first,")

    return see


def _saturated(watch: Watch) -> Sight | None:
    expert, policy = watch.now("reward/expert_accuracy"), watch.now("reward/policy_accuracy")
    if expert is None or policy is None:
        return None
    missed = max(1 - min(expert, policy), _TINY)
    said = f"the discriminator tells {expert:.1%} of the experts' steps and {policy:.1%} of the policy's"
    return Sight((1 - watch.config.saturation) / missed, said)


def _success(watch: Watch) -> Sight | None:
    now = watch.now("accuracy")
    if now is None or watch.best < watch.config.least_success:
        return None
    said = f"accuracy is {now:.3g}, and was {watch.best:.3g} at best,"
    return Sight(watch.best * watch.config.success_fall / max(now, _TINY), said)


def _cut(watch: Watch) -> Sight | None:
    now = watch.now("max_tokens_share")
    return None if now is None else Sight(now / watch.config.cut_share, f"{now:.0%} of the rollouts ran out of tokens")


DETECTORS = (
    Detector(
        "entropy-collapse",
        _against_first("entropy", "nats per token", below="entropy_fall"),
        "The policy writes nearly the same every time, and equal rollouts teach nothing",
        (
            ("optimizer", "kl_weight", "raise"),
            ("optimizer", "learning_rate", "lower"),
            ("optimizer", "temperature", "raise"),
        ),
        "entropy_fall",
    ),
    Detector(
        "entropy-blow-up",
        _against_first("entropy", "nats per token", above="entropy_rise"),
        "The policy is losing what it had learned: its steps are too large, or what it is paid is noise",
        (
            ("optimizer", "learning_rate", "lower"),
            ("optimizer", "kl_weight", "raise"),
            ("optimizer", "process_weight", "lower"),
        ),
        "entropy_rise",
    ),
    Detector(
        "discriminator-saturation",
        _saturated,
        "It knows experts by their style, e.g. format, length or how they end, so what it pays says nothing of right and "
        "wrong",
        (
            ("reward", "experts", "choose `rollouts` for"),
            ("reward", "learning_rate", "lower"),
            ("reward", "updates_per_round", "lower"),
            ("reward", "label_smoothing", "raise"),
        ),
        "saturation",
    ),
    Detector(
        "length-drift",
        _against_first("tokens", "per rollout", above="length_drift", below="length_drift"),
        "Either the task wants it, or the policy is paid for length instead of for being right",
        (
            ("optimizer", "process_weight", "lower"),
            ("optimizer", "process_credit", "choose `mean` for"),
            ("optimizer", "kl_weight", "raise"),
        ),
        "length_drift",
    ),
    Detector(
        "steps-drift",
        _against_first("steps", "per rollout", above="steps_drift", below="steps_drift"),
        "Either the task wants it, or the policy collects step rewards by writing more or fewer steps",
        (
            ("optimizer", "process_weight", "lower"),
            ("optimizer", "process_credit", "choose `mean` for"),
            ("optimizer", "kl_weight", "raise"),
        ),
        "steps_drift",
    ),
    Detector(
        "success-collapse",
        _success,
        "The policy is unlearning: its steps are too large, or the process reward is hacked",
        (
            ("optimizer", "learning_rate", "lower"),
            ("optimizer", "process_weight", "lower"),
            ("optimizer", "outcome_weight", "raise"),
        ),
        "success_fall",
    ),
    Detector(
        "out-of-tokens",
        _cut,
        "They are judged as wrong however well they began",
        (("optimizer", "max_tokens", "raise"), ("optimizer", "kl_weight", "raise")),
        "cut_share",
    ),
)
