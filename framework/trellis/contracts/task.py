"""Task: where problems come from and who says what is solved."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

from trellis.errors import CapabilityError, ContractError
from trellis.sql.hints import PlanHints
from trellis.types import Completion, Outcome, Problem, Rollout, Split, Step, Trajectory


class Task(ABC):
    """A family of problems with an exact verifier.

    Deterministic: two tasks with equal configs hold the same problems in the same order, in every process. No problem
    of one split is in another.

    Capabilities: "traces" (`traces` is not empty), "step-oracle" (`step_oracle` works), "legal-steps" (`legal_steps`
    works), "parse" (`parse` works), "plan-hints" (`hints` works: its solutions are plan hints).
    """

    separator: str = "\n"
    """Ends every step but the last; a policy sampling one step stops right after it."""

    traces_grow: bool = False
    """Whether traces come about while a pipeline runs, so that a task without any may have some later."""

    constrained: bool = False
    """Whether every step has to be one of `legal_steps`: a policy then samples among them alone (`trellis.sampling`)."""

    @abstractmethod
    def problems(self, split: Split) -> Sequence[Problem]:
        """Return the problems of a split."""

    @abstractmethod
    def verify(self, trajectory: Trajectory) -> Outcome:
        """Judge a trajectory. An unfinished one is not correct. Never raises, whatever a model wrote."""

    def traces(self, split: Split) -> Sequence[Trajectory]:
        """Return correct, finished trajectories for (some of) the split's problems; empty where there are none.

        Steps carry text only: a policy's `log_probs` adds its own tokens. More than one trace a problem is welcome.
        """
        return ()

    def experience(self, split: Split) -> Sequence[Rollout]:
        """Return what is remembered of earlier attempts at the split's problems, right and wrong ones, with their outcomes.

        Empty where the task remembers none. Steps carry text only, as those of traces do.
        """
        return ()

    def split_steps(self, text: str) -> list[str]:
        """Cut a completion's text into steps. Nothing is lost: the parts, joined, are `text`."""
        *whole, last = text.split(self.separator)
        return [part + self.separator for part in whole] + ([last] if last else [])

    def answer(self, trajectory: Trajectory) -> str | None:
        """Read the final answer of a finished trajectory in a normal form: equal answers are equal strings.

        Voting counts these strings. It looks at the text alone, not at whether the answer is right; None where there
        is no answer to read.
        """
        return trajectory.steps[-1].text.strip() if trajectory.steps else None

    def parse(self, text: str) -> Problem:
        """Read a problem that a person typed.

        Raises:
            ProblemSyntaxError: The text is no problem of this task.
        """
        raise CapabilityError(type(self).__name__, capability="parser", mend="it reads no problems typed by a person.")

    def step_oracle(self, trajectory: Trajectory) -> list[bool]:
        """Say for each step whether the problem can still be solved after it. For measuring rewards only."""
        raise CapabilityError(type(self).__name__, capability="step oracle", mend="use a task that has one.")

    def legal_steps(self, trajectory: Trajectory) -> list[str]:
        """Return steps that could be written next by somebody who knows the rules but not the solution.

        Right ones and wrong ones alike: a *hard negative* is a correct trace in which one step is replaced by another of
        these. They are in the form of the task's traces, each once, and every text but that of a last step ends with the
        separator, as `Step.text` does. Empty where the trajectory has ended, or breaks the rules so far.
        """
        raise CapabilityError(type(self).__name__, capability="legal steps", mend="use a task that knows its moves.")

    def hints(self, trajectory: Trajectory) -> PlanHints:
        """Read a solution as plan hints of the query that its problem is.

        Raises:
            HintSyntaxError: It is none.
            HintError: It does not fit the query.
        """
        raise CapabilityError(type(self).__name__, capability="plan hints", mend="use a task of queries.")

    def step_words(self, trajectory: Trajectory) -> list[list[str]]:
        """Say of each step what a linear reward is to know of it (`trellis.nn.StepWords`): its text as one word, by default.

        Words are any strings; the same word at different steps counts alike. Those of a step depend on the problem and the
        steps up to it, never on later ones.
        """
        return [[step.text.strip()] for step in trajectory.steps]

    def constrain(self, trajectory: Trajectory) -> Trajectory:
        """Return a trajectory whose steps note what they had to be one of; as it is where the task is not constrained.

        A trace needs that, so that its log π is under the same mask as a rollout's. Steps from the first illegal one on note
        nothing.
        """
        if not self.constrained:
            return trajectory
        steps: list[Step] = []
        for step in trajectory.steps:
            legal = self.legal_steps(replace(trajectory, steps=tuple(steps), finished=False, cut=False, answer=None))
            if step.text not in legal:
                break
            steps.append(replace(step, choices=tuple(legal)))
        return replace(trajectory, steps=(*steps, *trajectory.steps[len(steps) :]))

    def start(self, problem: Problem, prompt: str | None = None) -> Trajectory:
        """Return the empty trajectory of a problem; its prompt is the problem's text unless another is given."""
        return Trajectory(problem=problem, prompt=problem.text + self.separator if prompt is None else prompt)

    def extend(self, prefix: Trajectory, completion: Completion) -> Trajectory:
        """Append a completion to an open trajectory: cut into steps, each token in the step where its text begins.

        No step is without tokens: where one token holds the separator and all of the next step, the two are one step. Where
        it holds the separator and the beginning of the next step, that beginning goes with what is appended: step by step
        the same steps come about as in one go. Where the tokens are not known, the text alone is cut.

        Raises:
            ContractError: The prefix is finished or was cut short.
        """
        if not prefix.open:
            raise ContractError(f"problem {prefix.problem.id}: a trajectory that has ended cannot be extended")
        before, begun = self._begun(prefix.steps) if completion.text else (prefix.steps, "")
        texts = self.split_steps(begun + completion.text)
        pieces = (begun + completion.pieces[0], *completion.pieces[1:]) if completion.pieces else ()
        extended = replace(
            prefix,
            steps=before + _cut(texts, completion.token_ids, pieces, completion.log_probs),
            finished=completion.finish == "end",
            cut=completion.finish == "length",
        )
        return replace(extended, answer=self.answer(extended)) if extended.finished else extended

    def _begun(self, steps: tuple[Step, ...]) -> tuple[tuple[Step, ...], str]:
        """Return the steps without what the last one's tokens hold of the step after it, and that text."""
        parts = self.split_steps(steps[-1].text) if steps and steps[-1].token_ids else []
        if len(parts) < 2 or parts[-1].endswith(self.separator):
            return steps, ""
        last = replace(steps[-1], text="".join(parts[:-1]))
        return (*steps[:-1], last), parts[-1]


def by_problem(traces: Sequence[Trajectory]) -> dict[str, list[Trajectory]]:
    """Return trajectories by the id of their problem, in order: how traces are matched with rollouts."""
    grouped: dict[str, list[Trajectory]] = {}
    for trace in traces:
        grouped.setdefault(trace.problem.id, []).append(trace)
    return grouped


def _cut(
    texts: Sequence[str], ids: tuple[int, ...], pieces: tuple[str, ...], log_probs: tuple[float, ...]
) -> tuple[Step, ...]:
    """Give each token to the step in which its text begins; tokens without text go with the step before them.

    Every step has tokens: a text in which none begins belongs to the step before it.
    """
    if not texts:
        return (Step("", ids, log_probs),) if pieces else ()
    if not ids and not log_probs:
        return tuple(map(Step, texts))
    steps: list[Step] = []
    first = text_end = token_begin = 0
    for text in texts:
        text_end += len(text)
        last = first
        while last < len(pieces) and (token_begin < text_end or not pieces[last]):
            token_begin += len(pieces[last])
            last += 1
        if first == last and steps:
            # A token that runs over the separator: encoding what it left of a step would repeat that token.
            steps[-1] = replace(steps[-1], text=steps[-1].text + text)
        else:
            steps.append(Step(text, ids[first:last], log_probs[first:last]))
        first = last
    return tuple(steps)
