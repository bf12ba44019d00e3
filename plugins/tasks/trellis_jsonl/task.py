r"""Problems from a user's files.

GSM8K (Cobbe et al. 2021, arXiv 2110.14168) writes its answers after '####', MATH (Hendrycks et al. 2021, arXiv
2103.03874) in \boxed{…}; both are compared by math-verify (https://github.com/huggingface/Math-Verify).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec
from typing import cast

from trellis import Outcome, Problem, Step, Task, Trajectory
from trellis.errors import MissingExtraError
from trellis.sidecar import Sidecar, SidecarError
from trellis.types import Split
from trellis_jsonl.config import JsonlConfig
from trellis_jsonl.reader import DataError, Fault, Record, read

_MARKS = {"gsm8k": "#### ", "math": "\\boxed{"}

_judge = Sidecar("trellis_jsonl.judge:handle")


class Jsonl(Task):
    """Questions, answers and solutions from JSONL files.

    A solution that does not write its final answer in the configured style gets it appended as a last step; one that
    ends with another answer than the problem's is a fault of the file.

    Raises:
        DataError: The files cannot be used; everything wrong with them is told at once.
        MissingExtraError: The answer style compares mathematics, and math-verify is not installed.
    """

    Config = JsonlConfig

    def __init__(self, config: JsonlConfig) -> None:
        if config.answer_style != "text" and find_spec("math_verify") is None:
            raise MissingExtraError("jsonl/jsonl", extra="math", module="math_verify")
        self.config = config
        self.separator = config.separator
        records = read(config)
        self._problems: dict[Split, tuple[Problem, ...]] = {}
        self._traces: dict[Split, tuple[Trajectory, ...]] = {}
        faults: list[Fault] = []
        for split, rows in records.items():
            problems = [Problem(id=row.id, text=row.question, data={"answer": row.answer}) for row in rows]
            self._problems[split] = tuple(problems)
            self._traces[split] = tuple(
                trace
                for row, problem in zip(rows, problems, strict=True)
                for trace in self._checked(row, problem, faults)
            )
        if faults:
            raise DataError(faults)

    def problems(self, split: Split) -> Sequence[Problem]:
        """Return the problems of a split, in the order of its file."""
        return self._problems[split]

    def traces(self, split: Split) -> Sequence[Trajectory]:
        """Return the solutions of a split's problems; where the config names none, their answers."""
        return self._traces[split]

    def start(self, problem: Problem, prompt: str | None = None) -> Trajectory:
        """Return the empty trajectory of a problem; its prompt is that of the config unless another is given."""
        if prompt is None and self.config.prompt is not None:
            prompt = self.config.prompt.format(question=problem.text)
        return super().start(problem, prompt)

    def verify(self, trajectory: Trajectory) -> Outcome:
        """Judge the final answer against the problem's."""
        if not trajectory.finished:
            return Outcome(False, 0.0, "it is not finished")
        fault = self._fault(trajectory.text, cast("str", trajectory.problem.data["answer"]))
        return Outcome(False, 0.0, fault) if fault else Outcome(True, 1.0)

    def answer(self, trajectory: Trajectory) -> str | None:
        """Read the final answer in a normal form; 1,000 and 1000.0 are one as mathematics, not as texts."""
        c = self.config
        if c.answer_style == "text":
            return self._text_answer(trajectory.text)
        return _normal_form(c.answer_style, trajectory.text, c.seconds)

    def _fault(self, text: str, gold: str) -> str:
        """Return why a text does not end with the right answer; nothing if it does."""
        c = self.config
        if c.answer_style == "text":
            answer, right = self._text_answer(text), self._text_answer(gold) or _normal_text(gold)
            equal, written = answer == right, answer
        else:
            try:
                equal, written = _judge.call({"style": c.answer_style, "text": text, "gold": gold}, seconds=c.seconds)
            except SidecarError as error:
                return f"the answer cannot be compared: {error}"
        if written is None:
            mark = _MARKS.get(c.answer_style, c.answer_prefix or "")
            return f"there is no answer{f' after {mark.strip()!r}' if mark else ''}"
        return "" if equal else f"the answer is not {written[:60]!r}"

    def _text_answer(self, text: str) -> str | None:
        prefix = self.config.answer_prefix
        if prefix is not None:
            _, found, text = text.rpartition(prefix)
            if not found:
                return None
        return _normal_text(text) or None

    def _checked(self, row: Record, problem: Problem, faults: list[Fault]) -> Iterator[Trajectory]:
        """Yield a row's traces; add what is wrong with its answer and solutions to `faults`."""
        by_itself = self._trace(problem, row.answer)
        if fault := self._fault(by_itself.text, row.answer):
            style = f"answer_style '{self.config.answer_style}' cannot read '{self.config.answer}'"
            message = f"{style} ({fault}, it says of the answer itself); correct it, or choose another style"
            faults.append(Fault(row.file, row.line, message))
            return
        if self.config.solution is None:
            yield by_itself
        for place, solution in enumerate(dict.fromkeys(row.solutions)):
            trace = self._trace(problem, solution)
            if fault := self._fault(trace.text, row.answer):
                which = f"'{self.config.solution}'" + (f"[{place}]" if len(row.solutions) > 1 else "")
                message = f"{which} does not end with the answer of '{self.config.answer}': {fault}"
                faults.append(Fault(row.file, row.line, f"{message}; correct one of them, or leave the solution out"))
            else:
                yield trace

    def _trace(self, problem: Problem, solution: str) -> Trajectory:
        steps = tuple(map(Step, self.split_steps(self._complete(solution, cast("str", problem.data["answer"])))))
        trace = replace(self.start(problem), steps=steps, finished=True)
        return replace(trace, answer=self.answer(trace))

    def _complete(self, solution: str, answer: str) -> str:
        """Return a solution that ends with the final answer, marked as the style has it."""
        text, answer = solution.strip(), answer.strip()
        mark = _MARKS.get(self.config.answer_style, self.config.answer_prefix or "")
        if mark.strip() in text:
            return text
        if mark.strip() in answer:
            # The answer is a whole solution: only what it ends with.
            final = answer[answer.rindex(mark.strip()) :]
        else:
            final = mark + answer + ("}" if self.config.answer_style == "math" else "")
        return final if text == answer else text + self.separator + final


def _normal_text(text: str) -> str:
    """Return a text with one form for each character and one space for each run of white space."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


@lru_cache(maxsize=1 << 16)
def _normal_form(style: str, text: str, seconds: float) -> str | None:
    try:
        return cast("str | None", _judge.call({"style": style, "text": text}, seconds=seconds))
    except SidecarError:
        # It takes for ever: no two such answers need be called equal.
        return None
