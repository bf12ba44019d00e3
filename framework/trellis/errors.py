"""Every error Trellis raises.

    TrellisError
    ├── PluginError
    │   ├── PluginLoadError         a plugin that is needed could not be loaded
    │   ├── UnknownComponentError   no component has that name
    │   ├── DuplicateComponentError two providers claim one name
    │   └── MissingExtraError       the component's optional dependency is not installed
    ├── SpecError                   a pipeline file has problems; holds all of them
    ├── TaskError                   a task cannot make what its config asks for
    ├── ProblemSyntaxError          a problem a person typed cannot be read
    ├── TokenizerError              text and vocabulary do not fit
    ├── GrammarError                a grammar cannot be read, or a completion does not match it
    ├── CapabilityError             a component was asked for something it does not offer
    ├── PromptTemplateError     a prompt's template cannot be used
    ├── PromptTooLongError      a prompt does not fit its budget
    ├── EndpointError           an inference server failed for good
    ├── NotFittedError              a learned reward was used before it had learned anything
    ├── ContractError               a plugin's answer breaks its contract
    ├── NothingSolvedError          no sampled solution is correct: there is nothing to learn from
    ├── NumericsError               a loss or gradient is not finite
    ├── MemoryExhaustedError        a device's memory does not hold a single trajectory
    ├── BudgetExhausted             thrown into a search when its budget is spent
    ├── SQLError
    │   ├── QuerySyntaxError        a query cannot be parsed
    │   ├── UnsafeQueryError        a query is not one SELECT that only reads
    │   ├── HintSyntaxError         a text is no plan hints
    │   ├── HintError               plan hints do not fit their query
    │   ├── MemoryFileError         a journal or store on disk cannot be used
    │   └── DatabaseError           the database refused or failed
    │       ├── ConnectionLostError     the server went away
    │       └── QueryTimeoutError       a statement ran longer than it may
    └── RunError
        ├── RunDirectoryError       a run directory cannot be used as asked
        ├── CheckpointError         a checkpoint is missing or does not fit
        ├── WeightSyncError         an inference engine does not have the weights it was given
        └── CollapseError           training went wrong, and its watch was to stop it

A message says what is wrong, where, which choices there are and how to mend it. The same facts stand in fields, so
that tools and tests need not read the text. An exception raised by a user's own code is never wrapped: it gets a note.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class TrellisError(Exception):
    """The root of every error raised by Trellis."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the fields, so that an error raised in another process arrives as it was."""
        return _unpickled, (type(self), self.args), self.__dict__


def _unpickled(cls: type[TrellisError], args: tuple[Any, ...]) -> TrellisError:
    # Not `cls(*args)`, as pickle would have it: the constructors below take facts and make the message themselves.
    return cls.__new__(cls, *args)


class PluginError(TrellisError):
    """Something is wrong with a plugin or with a name that should belong to one."""


class PluginLoadError(PluginError):
    """A plugin that is needed could not be loaded.

    Attributes:
        plugin: Its entry-point name.
    """

    def __init__(self, message: str, *, plugin: str) -> None:
        super().__init__(message)
        self.plugin = plugin


class UnknownComponentError(PluginError):
    """No component has this name.

    Attributes:
        component: The name as given.
        choices: The names that exist.
    """

    def __init__(self, component: str, *, kind: str | None, choices: Sequence[str], hint: str = "") -> None:
        self.component = component
        self.choices = tuple(choices)
        what = f"{kind} component" if kind else "component"
        super().__init__(f"no {what} is named '{component}'{did_you_mean(component, choices)}{hint}")


class DuplicateComponentError(PluginError):
    """Two providers claim one name.

    Attributes:
        component: The name.
        providers: Who claims it.
    """

    def __init__(
        self,
        component: str,
        *,
        providers: Sequence[str],
        mend: str = "Uninstall one of them or rename its entry point.",
    ) -> None:
        self.component = component
        self.providers = tuple(providers)
        super().__init__(f"'{component}' is provided more than once: {'; '.join(providers)}. {mend}")


class MissingExtraError(PluginError):
    """A component's optional dependency is not installed.

    Attributes:
        component: The component's id.
        extra: The pip extra that brings the dependency; None where the plugin names none.
        install: The command that mends it.
    """

    def __init__(self, component: str, *, extra: str | None, module: str, distribution: str = "trellis") -> None:
        self.component = component
        self.extra = extra
        self.install = f"pip install '{distribution}[{extra}]'" if extra else f"pip install {module}"
        super().__init__(f"'{component}' needs the module '{module}': {self.install}")


@dataclass(frozen=True, slots=True)
class SpecProblem:
    """One thing wrong with a pipeline file.

    Attributes:
        message: What is wrong and how to mend it.
        path: Where in the document, e.g. `components.policy.with.init`.
        file: The file, or None for a spec built in Python.
        line: From 1, or None where there is no file.
        column: From 1, or None where there is no file.
        choices: The valid names, where the fault is a name.
    """

    message: str
    path: str = ""
    file: Path | None = None
    line: int | None = None
    column: int | None = None
    choices: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        return ": ".join(part for part in (where, self.path, self.message) if part)


class SpecError(TrellisError):
    """A pipeline cannot be built from its specification.

    Attributes:
        problems: Everything found wrong, in the order of the file.
    """

    def __init__(self, problems: Iterable[SpecProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class TaskError(TrellisError):
    """A task cannot make what its config asks for.

    Attributes:
        split: The split that cannot be filled.
        asked: The problems asked for.
        found: The problems found.
    """

    def __init__(self, split: str, *, asked: int, found: int) -> None:
        self.split = split
        self.asked = asked
        self.found = found
        super().__init__(
            f"the split '{split}' is to hold {asked} different problems, but only {found} were found. Lower "
            f"`{split}_size` to {found} or less, or allow larger problems."
        )


class ProblemSyntaxError(TrellisError):
    """A problem that a person typed cannot be read.

    Attributes:
        text: What was typed.
        expected: An example of what can be read.
    """

    def __init__(self, text: str, *, reason: str, expected: str) -> None:
        self.text = text
        self.expected = expected
        super().__init__(f"cannot read the problem {text!r}: {reason}. Expected something like {expected!r}.")


class TokenizerError(TrellisError):
    """Text and vocabulary do not fit."""


class GrammarError(TrellisError):
    """A grammar cannot be read, or a completion does not match it.

    Attributes:
        line: Where in the grammar, from 1; None where it is not about a line of it.
    """

    def __init__(self, message: str, *, line: int | None = None) -> None:
        self.line = line
        super().__init__(message)


class CapabilityError(TrellisError):
    """A component was asked for something it does not offer.

    Attributes:
        component: The component's name.
        capability: What it lacks.
    """

    def __init__(self, component: str, *, capability: str, mend: str) -> None:
        self.component = component
        self.capability = capability
        super().__init__(f"'{component}' has no {capability}: {mend}")


class PromptTemplateError(TrellisError):
    """A prompt's template cannot be used.

    Attributes:
        path: The template.
        line: Where, from 1; None where that is not known.
    """

    def __init__(self, path: Path, *, reason: str, line: int | None = None) -> None:
        self.path = path
        self.line = line
        super().__init__(f"the template {path}{'' if line is None else f', line {line}'}: {reason}")


class PromptTooLongError(TrellisError):
    """A prompt does not fit its budget, even without what may be left out of it.

    Attributes:
        problem: The problem's id.
        num_tokens: How long it is.
        max_tokens: How long it may be.
    """

    def __init__(self, problem: str, *, num_tokens: int, max_tokens: int) -> None:
        self.problem = problem
        self.num_tokens = num_tokens
        self.max_tokens = max_tokens
        super().__init__(
            f"the prompt of {problem} has {num_tokens} tokens, without references and history, and may have {max_tokens}: "
            "raise `max_tokens`, or take a shorter form of prompt"
        )


class EndpointError(TrellisError):
    """An inference server failed for good: it refused a request, or failed as often as it was asked again.

    Attributes:
        endpoint: Its address.
        status: The HTTP status of its last answer; None where there was none.
    """

    def __init__(self, endpoint: str, *, status: int | None, reason: str) -> None:
        self.endpoint = endpoint
        self.status = status
        super().__init__(f"{endpoint}{'' if status is None else f' (status {status})'}: {reason}")


class NotFittedError(TrellisError):
    """A learned reward was used before it had learned anything."""


class ContractError(TrellisError):
    """A plugin's answer breaks its contract; the message names the component and the rule."""


class NothingSolvedError(TrellisError):
    """No sampled solution is correct: there is nothing to learn from.

    Attributes:
        step: The training step, from 1.
        num_rollouts: How many were sampled.
        num_problems: Of how many problems.
        num_cut: How many of them a token limit cut short.
        reason: What the verifier most often said.
    """

    def __init__(
        self, optimizer: str, *, step: int, num_rollouts: int, num_problems: int, num_cut: int, reason: str
    ) -> None:
        self.step = step
        self.num_rollouts = num_rollouts
        self.num_problems = num_problems
        self.num_cut = num_cut
        self.reason = reason
        super().__init__(
            f"{optimizer} has nothing to learn from at step {step}: none of {num_rollouts} rollouts of {num_problems} "
            f"problems is correct. {num_cut} were cut short by `max_tokens`; most often the verifier said {reason!r}. "
            "Train on traces first, sample more of each problem, allow more tokens, or take easier problems."
        )


class NumericsError(TrellisError):
    """A loss, gradient or reward is not finite; nothing was updated with it.

    Attributes:
        step: The training step, from 1.
        problems: Ids of the problems in the batch.
    """

    def __init__(self, what: str, *, step: int, problems: Sequence[str]) -> None:
        self.step = step
        self.problems = tuple(problems)
        shown = ", ".join(self.problems[:8]) + (", …" if len(self.problems) > 8 else "")
        super().__init__(
            f"{what} is not finite at step {step}; the batch held the problems {shown}. The weights were not "
            "updated. Lower the learning rate, or look at these problems' rollouts in the run directory."
        )


class MemoryExhaustedError(TrellisError):
    """A device's memory ran out where no smaller batch can be tried.

    Args:
        why: What the device says.
        tokens: How many tokens went through at once, where fewer would do; None where it was a single trajectory.
    """

    def __init__(self, why: str, *, tokens: int | None = None) -> None:
        if tokens is None:
            mend = (
                "out of memory with one trajectory at a time. Of the policy's settings, `lora: {}` trains an adapter in place "
                "of the weights, `gradient_checkpointing: true` keeps less of each layer, and `dtype: bfloat16` halves the "
                "weights; or lower `max_tokens`, or take a smaller model."
            )
        else:
            mend = (
                f"out of memory with {tokens} tokens at once. On several processes that is not halved by itself: set "
                f"`batch_tokens: {max(1, tokens // 2)}` in the policy."
            )
        super().__init__(f"{mend} The device says: {why}")


class BudgetExhausted(TrellisError):  # noqa: N818 - it tells a search to conclude, nothing went wrong
    """Thrown into a search when its budget is spent: it must return the best it has.

    Attributes:
        resource: "tokens", "calls" or "seconds".
    """

    def __init__(self, resource: str) -> None:
        self.resource = resource
        super().__init__(f"the search's budget of {resource} is spent")


class SQLError(TrellisError):
    """Something is wrong with a query, its hints or its database."""


class QuerySyntaxError(SQLError):
    """A query cannot be parsed.

    Attributes:
        line: From 1; None where the parser does not say.
        column: From 1; None where the parser does not say.
    """

    def __init__(self, reason: str, *, line: int | None = None, column: int | None = None) -> None:
        self.line = line
        self.column = column
        where = "" if line is None else f" at line {line}, column {column}"
        super().__init__(f"cannot read the query{where}: {reason}")


class UnsafeQueryError(SQLError):
    """A query is not one SELECT that only reads.

    Attributes:
        found: What it holds that it may not, as it stands in the query, e.g. "pg_read_file" or "FOR UPDATE".
    """

    def __init__(self, found: str, *, reason: str, mend: str) -> None:
        self.found = found
        super().__init__(f"the query is refused because of {found}: {reason}. {mend}")


class HintSyntaxError(SQLError):
    """A text is no plan hints.

    Attributes:
        position: Where, in characters from 0.
        line: Where, from 1.
        column: Where, from 1.
        choices: What could stand there, where it is a matter of names.
    """

    def __init__(self, reason: str, *, text: str, position: int, choices: Sequence[str] = ()) -> None:
        self.position = position
        self.line = text.count("\n", 0, position) + 1
        self.column = position - (text.rfind("\n", 0, position) + 1) + 1
        self.choices = tuple(choices)
        super().__init__(f"line {self.line}, column {self.column}: {reason}")


class HintError(SQLError):
    """Plan hints do not fit their query.

    Attributes:
        hint: The hint, as text.
        choices: The names that would fit, where it is a matter of names.
    """

    def __init__(self, hint: str, *, reason: str, choices: Sequence[str] = ()) -> None:
        self.hint = hint
        self.choices = tuple(choices)
        super().__init__(f"{hint}: {reason}")


class MemoryFileError(SQLError):
    """A journal or store on disk cannot be used.

    Attributes:
        path: The file or folder.
    """

    def __init__(self, path: Path, *, reason: str) -> None:
        self.path = path
        super().__init__(f"{path} cannot be used as a memory: {reason}")


class DatabaseError(SQLError):
    """The database refused or failed.

    Attributes:
        sqlstate: The SQL standard's code of five characters; None where the database gave none.
    """

    def __init__(self, message: str, *, sqlstate: str | None = None) -> None:
        self.sqlstate = sqlstate
        super().__init__(message)


class ConnectionLostError(DatabaseError):
    """The server went away; the next call connects anew."""


class QueryTimeoutError(DatabaseError):
    """A statement ran longer than it may.

    Attributes:
        timeout_ms: How long it was allowed to run.
    """

    def __init__(self, timeout_ms: float) -> None:
        self.timeout_ms = timeout_ms
        super().__init__(f"the statement was stopped after {timeout_ms:.0f} ms", sqlstate="57014")


class RunError(TrellisError):
    """A run cannot go on."""


class RunDirectoryError(RunError):
    """A run directory cannot be used as asked.

    Attributes:
        path: The directory.
    """

    def __init__(self, message: str, *, path: Path) -> None:
        super().__init__(message)
        self.path = path


class CheckpointError(RunError):
    """A checkpoint is missing or does not fit the component it is loaded into.

    Attributes:
        path: The checkpoint.
    """

    def __init__(self, message: str, *, path: Path) -> None:
        super().__init__(message)
        self.path = path


class WeightSyncError(RunError):
    """After a sync, an inference engine gives other log-probabilities than the trainer whose weights it was given.

    Attributes:
        how: How the weights were handed over.
        difference: In nats, the mean over the probe's tokens.
        tolerance: How large it may be.
    """

    def __init__(self, how: str, *, difference: float, tolerance: float) -> None:
        self.how = how
        self.difference = difference
        self.tolerance = tolerance
        super().__init__(
            f"the engine does not have the trainer's weights: after a sync by '{how}', their log-probabilities of fixed prompts "
            f"differ by {difference:.3g} nats on average, and {tolerance:.3g} are allowed. Rollouts of it would be those of "
            "another policy. Set `sync: rebuild`; if the difference stays, the two compute otherwise: give them one `dtype`, or "
            "raise `probe_tolerance`."
        )


class CollapseError(RunError):
    """Training went wrong in a way that its watch knows, and the stage was to stop there.

    Attributes:
        stage_step: The step after which it was found, from 1; a checkpoint of it is there.
        detectors: What was found, e.g. "entropy-collapse".
    """

    def __init__(self, message: str, *, stage_step: int, detectors: Sequence[str]) -> None:
        super().__init__(message)
        self.stage_step = stage_step
        self.detectors = tuple(detectors)


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return `"; did you mean 'x'? Valid: a, b, x"` for a wrong name, or the list alone when nothing is close."""
    names = sorted(set(choices))
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    guess = f"; did you mean '{close[0]}'?" if close else "."
    return f"{guess} Valid: {', '.join(names)}" if names else ""
