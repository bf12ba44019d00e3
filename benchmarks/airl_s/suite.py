"""What the suite runs over: eight tasks with the words of their vocabularies, and how much of everything there is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class BenchTask:
    """A task at the difficulty it is measured at.

    Attributes:
        use: The component.
        words: Texts that are one token each.
        numbers: The numbers below this are one token each.
        max_tokens: At most so many tokens per completion.
        config: What differs from the component's defaults.
        sft: SFT steps, as a multiple of `Sizes.sft_steps`: so many that the policy knows the task's rules.
        learning_rate: Of every learned reward's fit.

    The last two, and the difficulty, were chosen on validation problems of seed 0.
    """

    use: str
    words: tuple[str, ...]
    numbers: int = 64
    max_tokens: int = 64
    config: Mapping[str, Any] = field(default_factory=dict)
    sft: float = 1.0
    learning_rate: float = 2e-3


_LETTERS = tuple(f"{letter}>" for letter in "abcdefghijkl")
_UNITS = "abcdefghijklm"
_UNIT_WORDS = (
    *(f" = {unit}{factor}" for unit in _UNITS for factor in (2, 3, 4)),
    *(f"{before}{unit}" for before in (", ", ": ") for unit in _UNITS[:6]),
    *(f" -> {unit}" for unit in _UNITS),
    "?",
)
_EQUATION_WORDS = (
    *("x + ", "x = ", " = ", "x: ", ": ", "-x: "),
    *(f"-{count}x: " for count in (2, 3, 4)),
    *(f"{sign}{count}: " for sign in "+-" for count in (1, 2, 3, 4)),
    *(f"/{count}: " for count in range(2, 10)),
    *(f" in {count}" for count in (2, 3, 4)),
)
_PROGRAM = (" | ", " -> ", "; ", " lines", "sort", "reverse", "drop first", "drop last", "double")

TASKS: dict[str, BenchTask] = {
    "countdown": BenchTask("countdown", (" + ", " - ", " = ", " | left: ", " -> "), max_tokens=48, sft=1.5),
    "arithmetic": BenchTask("arithmetic", (" + ", " - ", " = ", " ="), numbers=0, max_tokens=40),
    "path": BenchTask("path", (*_LETTERS, " | ", " -> ", " in "), numbers=0, max_tokens=24),
    "logic": BenchTask("logic", (*_LETTERS, " | ", " -> ", " in "), numbers=0, max_tokens=24, sft=2.0),
    "units": BenchTask("units", _UNIT_WORDS, numbers=100, max_tokens=24),
    "equation": BenchTask("equation", _EQUATION_WORDS, numbers=100, max_tokens=40),
    "list-program": BenchTask(
        "list-program", (*_PROGRAM, "unique", "keep even", "keep odd", "add 1"), numbers=32, max_tokens=16
    ),
    "string-program": BenchTask(
        "string-program", (*_PROGRAM, "rotate", "a to e", "next", "capital"), numbers=0, max_tokens=16
    ),
}


REGIMES: dict[str, BenchTask] = {
    f"{name}-hard": replace(TASKS[name], config={"difficulty": "hard"}, max_tokens=TASKS[name].max_tokens + more_tokens)
    for name, more_tokens in (
        ("countdown", 32),
        ("path", 16),
        ("logic", 16),
        ("list-program", 8),
        ("string-program", 8),
    )
}
"""Where success is sparse and solutions are longer: whether a process reward pays in RL is looked for here."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything; every reward is fitted on the same rollouts with the same number of updates.

    Attributes:
        sft_steps: Gradient steps on the task's traces.
        fit_problems: Training problems whose rollouts rewards are fitted on.
        group: Rollouts of each.
        fit_steps: Updates of each fit.
        fit_batch: Trajectories per update, experts and negatives together.
        fits: At most so many fits of each reward, of which the best on problems held out is kept; also the number of
            single fits that the part "refit" compares.
        held_out: Of `fit_problems`, so many are held out.
        enough: A held-out AUC at which no further fit is made.
        rl_steps: GRPO's iterations, of `rl_problems` x `group` rollouts.
        rl_problems: Problems per iteration.
        problems: Test problems.
        n: Completions of best-of-n; beam, MCTS and the others get the same number of tokens.
        curve: The numbers of completions of the part "curve".
        curve_problems: Its test problems.
    """

    sft_steps: int = 400
    fit_problems: int = 1920
    group: int = 8
    fit_steps: int = 400
    fit_batch: int = 256
    fits: int = 2
    held_out: int = 128
    enough: float = 0.9
    rl_steps: int = 100
    rl_problems: int = 32
    problems: int = 150
    n: int = 16
    curve: tuple[int, ...] = (1, 4, 16, 64, 256)
    curve_problems: int = 60


FULL = Sizes()
QUICK = Sizes(
    sft_steps=300,
    fit_problems=64,
    fit_steps=20,
    fit_batch=64,
    fits=2,
    held_out=16,
    rl_steps=4,
    rl_problems=16,
    problems=20,
    n=4,
    curve=(1, 4),
    curve_problems=10,
)
