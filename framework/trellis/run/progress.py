"""How a run shows itself: one live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

SHOWN = ("accuracy", "loss", "reward/loss", "tokens", "held_out_auc", "entropy")
"""The metrics worth a place on the line, most telling first."""


class ProgressLine:
    """Shows steps as they are done. Quiet when `console` is None."""

    def __init__(self, console: Console | None, *, every_s: float = 5.0) -> None:
        self._console = console
        self._every_s = every_s
        self._last = 0.0
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        if console is not None and console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                # What is left of the line: here it is cut where it is too long.
                TextColumn("{task.fields[metrics]}", table_column=Column(ratio=1, no_wrap=True)),
            )
            self._bar = Progress(*columns, console=console, transient=True, expand=True)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def stage(self, name: str, number: int, count: int) -> None:
        """A stage begins."""
        self._last = 0.0
        if self._bar is not None:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(f"[{number}/{count}] {name}", total=None, metrics="")

    def step(self, stage: str, step: int, num_steps: int, metrics: Mapping[str, float]) -> None:
        """A step is done."""
        shown = " ".join(f"{key} {metrics[key]:.3g}" for key in SHOWN if key in metrics)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=step, total=num_steps, metrics=shown)
        elif self._console is not None and (
            step == num_steps or self._last == 0.0 or time.monotonic() - self._last >= self._every_s
        ):
            self._last = time.monotonic()
            self.say(f"{stage} {step}/{num_steps} {shown}".rstrip())

    def within(self, stage: str, done: int, total: int) -> None:
        """The present step is so far."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, metrics=f"{done}/{total}")
        elif self._console is not None and done < total and time.monotonic() - self._last >= 3 * self._every_s:
            self._last = time.monotonic()
            self.say(f"{stage} … {done}/{total}")

    def say(self, text: str) -> None:
        """Print a line of its own."""
        if self._console is not None:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)
