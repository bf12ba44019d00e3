"""Problems drawn and judged by reasoning-gym (Stojanovski et al. 2025, arXiv 2505.24760).

Deliberate deviations: an answer is correct if it is scored exactly 1.0, for the library's scorers give points for the
form of a wrong answer too; splits share no question, where the library knows no splits; answers that its scorers would
run as code are read as literals and arithmetic (`trellis_gym.arithmetic`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from trellis import Outcome, Problem, Step, Task, Trajectory
from trellis.errors import TaskError
from trellis.sidecar import Sidecar, SidecarError
from trellis.types import Split
from trellis_gym.answers import read_answer, write_answer
from trellis_gym.catalog import check
from trellis_gym.config import GymConfig

DEFAULT_SIZES: dict[Split, int] = {"train": 1000, "validation": 100, "test": 200}

_library = Sidecar("trellis_gym.worker:handle")


class Gym(Task):
    """A data set of reasoning-gym.

    The library gives final answers and no way to them: a trace is the answer alone, one step (as many as it has lines,
    for a board). Where it gives no answer either (`boxnet`, `rush_hour`), there is no trace.

    Raises:
        ValueError: reasoning-gym refuses the data set or its parameters.
    """

    Config = GymConfig

    def __init__(self, config: GymConfig) -> None:
        check(config.dataset, config.parameters)
        self.config = config
        self.separator = config.separator
        self._drawn: dict[Split, tuple[Problem, ...]] = {}
        self._references: dict[str, str | None] = {}

    def problems(self, split: Split) -> Sequence[Problem]:
        """Return the problems of a split.

        Raises:
            TaskError: There are not as many as the config asks for. Sizes left out take what there is.
        """
        if split not in self._drawn:
            self._drawn[split] = self._draw(split)
        return self._drawn[split]

    def traces(self, split: Split) -> Sequence[Trajectory]:
        """Return one trace for each problem whose answer the library gives: the final answer, and nothing before it."""
        references = [(problem, self._references[problem.id]) for problem in self.problems(split)]
        return tuple(self._trace(problem, answer) for problem, answer in references if answer is not None)

    def verify(self, trajectory: Trajectory) -> Outcome:
        """Judge the final answer by the data set's own scorer."""
        if not trajectory.finished:
            return Outcome(False, 0.0, "it is not finished")
        answer = read_answer(trajectory.text, self.config.answer_prefix)
        if answer is None:
            missing = f"{self.config.answer_prefix!r} and an answer" if self.config.answer_prefix else "an answer"
            return Outcome(False, 0.0, f"{missing} is missing")
        problem = trajectory.problem
        request = {"do": "score", "question": problem.text, "entry": problem.data["entry"], "answer": answer}
        try:
            score = _library.call({**request, **self._dataset()}, seconds=self.config.seconds)
        except SidecarError as error:
            return Outcome(False, 0.0, f"{answer[:60]!r} cannot be scored: {error}")
        if score == 1.0:
            return Outcome(True, 1.0)
        partial = min(max(score, 0.0), 0.99) if self.config.partial_score and score == score else 0.0
        return Outcome(False, partial, f"{answer[:60]!r} is scored {score:g}; it takes 1")

    def answer(self, trajectory: Trajectory) -> str | None:
        """Read the final answer, runs of spaces as one."""
        answer = read_answer(trajectory.text, self.config.answer_prefix)
        return None if answer is None else "\n".join(" ".join(line.split()) for line in answer.split("\n"))

    def _draw(self, split: Split) -> tuple[Problem, ...]:
        c = self.config
        asked = {"train": c.train_size, "validation": c.validation_size, "test": c.test_size}[split]
        size = DEFAULT_SIZES[split] if asked is None else asked
        request = {"do": "draw", "split": split, "size": size, "data_seed": c.data_seed}
        drawn = _library.call({**request, **self._dataset(), "answer_prefix": c.answer_prefix})
        if asked is not None and len(drawn) < asked:
            raise TaskError(split, asked=asked, found=len(drawn))
        problems = []
        for item in drawn:
            id_ = f"{c.dataset}-{hashlib.sha256(item['question'].encode()).hexdigest()[:16]}"
            problems.append(Problem(id=id_, text=item["question"], data={"entry": item["entry"]}))
            self._references[id_] = item["reference"]
        return tuple(problems)

    def _trace(self, problem: Problem, answer: str) -> Trajectory:
        steps = tuple(map(Step, self.split_steps(write_answer(answer, self.config.answer_prefix))))
        trace = replace(self.start(problem), steps=steps, finished=True)
        return replace(trace, answer=self.answer(trace))

    def _dataset(self) -> dict[str, Any]:
        return {"dataset": self.config.dataset, "parameters": cast("Any", self.config.parameters)}
