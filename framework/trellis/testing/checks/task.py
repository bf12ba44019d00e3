"""Checks of tasks: the problems, the verifier, the traces, and how text is read."""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import get_args

from trellis.contracts import Task
from trellis.errors import ProblemSyntaxError
from trellis.testing.check import Check, CheckSkipped, Subject, expect
from trellis.types import Completion, Outcome, Problem, Split, Step, Trajectory

SPLITS: tuple[Split, ...] = get_args(Split)
MANY = 50
"""How many problems or traces a check looks at, where it could look at thousands."""

ODD_TEXTS = (
    "",
    " ",
    "\n",
    "\n\n\n",
    "a",
    "a\n",
    "\na",
    "a\r\nb",
    "a\n\n b\t\n",
    "a\u2028b\x0bc\x0cd\x85e",
    "\x00\ufeff\U0001f600",
    "1/0 = ∞",
    "²³ ٣ = ½",
    "- + * / ( ) = | : ,",
    "1e999 - nan = inf",
    "9" * 5000,
    "(" * 5000,
    "-1 -1 -1",
)
"""What models write, sooner or later."""


def splits_are_disjoint(subject: Subject) -> None:
    """A problem that is trained on must not be tested on.

    Give each split a range of its own, by index or by seed, instead of drawing all three from one pool.
    """
    task: Task = subject.make()
    seen: dict[str, Split] = {}
    for split in SPLITS:
        texts = {problem.text for problem in task.problems(split)}
        both = sorted(texts & seen.keys())
        expect(not both, f"{both[:1]} is in split '{split}' and in split '{seen[both[0]] if both else ''}'")
        seen |= dict.fromkeys(texts, split)


def problem_ids_are_unique(subject: Subject) -> None:
    """Rollouts, results and stored records are matched to problems by id.

    Count, or derive the id from everything that makes the problem; prefix it with the split where needed.
    """
    task: Task = subject.make()
    ids = [problem.id for split in SPLITS for problem in task.problems(split)]
    twice = sorted({name for name in ids if ids.count(name) > 1}) if len(set(ids)) < len(ids) else []
    expect(not twice, f"used more than once: {twice[:3]}")
    expect(all(isinstance(name, str) and name for name in ids), "an id is empty or no string")


def problems_are_the_same_in_every_process(subject: Subject) -> None:
    """A run is resumed and evaluated in other processes than the one it began in.

    Seed `random.Random` with an int or a string from the config; never use `hash()`, the order of a set, or the clock.
    """
    if subject.component.record.needs:
        raise CheckSkipped("the kit cannot hand its collaborators to another process")
    config = subject.make_config()
    here = digest(subject.make())
    expect(digest(subject.make()) == here, "two tasks made here from one config hold different problems")
    program = (
        "import json, sys\n"
        "sys.path[:] = json.loads(sys.argv[1])\n"
        "from trellis.component import load\n"
        "from trellis.testing.checks.task import digest\n"
        "config = load(sys.argv[3]).model_validate_json(sys.argv[4])\n"
        "print(digest(load(sys.argv[2])(config)))"
    )
    arguments = [
        json.dumps(sys.path),
        subject.component.record.factory,
        f"{type(config).__module__}:{type(config).__qualname__}",
        config.model_dump_json(),
    ]
    hash_seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
    )
    expect(done.returncode == 0, f"it cannot be made in another process:\n{done.stderr.strip()}")
    expect(done.stdout.split()[-1] == here, "a task made in another process from the same config holds other problems")


def digest(task: Task) -> str:
    """Return a fingerprint of all problems, in order."""
    problems = [(split, p.id, p.text, p.data) for split in SPLITS for p in task.problems(split)]
    return hashlib.sha256(json.dumps(problems, sort_keys=True, default=repr).encode()).hexdigest()


def problem_data_is_json(subject: Subject) -> None:
    """Problems are written into run directories and sent to other processes as JSON.

    Keep strings, finite numbers, booleans, lists and string-keyed mappings in `Problem.data`.
    """
    for problem in _problems(subject.make()):
        try:
            again = json.loads(json.dumps(problem.data, allow_nan=False))
        except (TypeError, ValueError) as error:
            expect(False, f"the data of problem {problem.id!r} are no JSON: {error}")
        expect(again == _lists(problem.data), f"the data of problem {problem.id!r} come back from JSON as {again!r}")


def _lists(value: object) -> object:
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    return [_lists(item) for item in value] if isinstance(value, list | tuple) else value


def traces_are_declared(subject: Subject) -> None:
    """Algorithms that learn from traces are offered a task by its capability "traces".

    Declare "traces" exactly if `traces("train")` is not empty.
    """
    has, says = bool(subject.make().traces("train")), subject.offers("traces")
    expect(has == says, f"traces('train') is {'not ' if has else ''}empty, and the record declares {says=}")


def traces_are_correct(subject: Subject) -> None:
    """Whatever learns from traces takes them for the truth.

    A trace is `finished`, not `cut`, holds steps as `split_steps` would cut them, and `verify` calls it correct.
    """
    task: Task = subject.make()
    for trace in _traces(task):
        what = f"the trace of problem {trace.problem.id!r}"
        expect(trace.finished and not trace.cut, f"{what} is not finished")
        outcome = task.verify(trace)
        expect(outcome.correct, f"{what} is not correct: {outcome.reason}; its text is {trace.text!r}")


def traces_have_the_steps_of_their_text(subject: Subject) -> None:
    """A reward that tells traces from rollouts would learn to tell how they are cut.

    Build the steps of a trace with `split_steps`.
    """
    task: Task = subject.make()
    for trace in _traces(task):
        given, cut = [step.text for step in trace.steps], task.split_steps(trace.text)
        expect(given == cut, f"a trace of problem {trace.problem.id!r} has the steps {given}, its text has {cut}")


def traces_belong_to_their_split(subject: Subject) -> None:
    """A trace of a test problem in the train split gives the answer away.

    Make traces from `self.problems(split)`.
    """
    task: Task = subject.make()
    for split in SPLITS:
        known = {problem.id for problem in task.problems(split)}
        foreign = [trace.problem.id for trace in task.traces(split) if trace.problem.id not in known]
        expect(not foreign, f"traces('{split}') holds traces of problems outside the split: {foreign[:3]}")


def split_steps_loses_nothing(subject: Subject) -> None:
    """Tokens are given to steps by the length of their texts: a lost character shifts every later one.

    The parts, joined, are the text, and none is empty. `str.splitlines` cuts at characters you may not expect.
    """
    task: Task = subject.make()
    for text in (*ODD_TEXTS, *(trace.text for trace in _traces(task))):
        parts = task.split_steps(text)
        expect("".join(parts) == text, f"{text[:60]!r} is cut into {parts[:9]!r}")
        expect(all(parts), f"{text[:60]!r} is cut into {parts[:9]!r}: one is empty")


def verify_takes_any_text(subject: Subject) -> None:
    """One odd sample must not stop a training run.

    Parse with a regular expression that either matches or not; `int()` refuses 5000 digits, `eval` recurses.
    """
    task: Task = subject.make()
    for trajectory in _odd(task):
        try:
            task.verify(trajectory)
        except Exception as error:
            expect(False, f"verify of the text {trajectory.text[:60]!r} raised {type(error).__name__}: {error}")


def verify_scores_one_exactly_if_correct(subject: Subject) -> None:
    """Optimizers learn from the score and tables count the correct: both must tell the same story.

    The score is in [0, 1], and 1.0 exactly if `correct`; `reason` is empty exactly if `correct`.
    """
    task: Task = subject.make()
    for trajectory in (*_traces(task), *_odd(task)):
        outcome = _outcome(task, trajectory)
        if outcome is None:
            continue
        what = f"the outcome of {trajectory.text[:60]!r} is {outcome!r}"
        expect(math.isfinite(outcome.score) and 0 <= outcome.score <= 1, f"{what}: the score is not in [0, 1]")
        expect((outcome.score == 1) == outcome.correct, f"{what}: the score is 1 exactly if it is correct")
        expect(bool(outcome.reason) != outcome.correct, f"{what}: the reason is empty exactly if it is correct")


def unfinished_is_not_correct(subject: Subject) -> None:
    """A policy must be paid for ending where the solution ends, not for passing through it.

    Begin `verify` with `if not trajectory.finished`.
    """
    task: Task = subject.make()
    for trace in _traces(task):
        for cut in (False, True):
            outcome = task.verify(replace(trace, finished=False, cut=cut, answer=None))
            expect(not outcome.correct, f"the trace {trace.text!r} is called correct with finished=False, {cut=}")


def answer_takes_any_text(subject: Subject) -> None:
    """The answer of whatever a model wrote is read before anything is verified.

    Return None where there is no answer to read.
    """
    task: Task = subject.make()
    for trajectory in _odd(task):
        try:
            answer = task.answer(trajectory)
        except Exception as error:
            expect(False, f"answer of the text {trajectory.text[:60]!r} raised {type(error).__name__}: {error}")
        expect(answer is None or isinstance(answer, str), f"the answer of {trajectory.text[:60]!r} is {answer!r}")


def answer_depends_on_the_text_alone(subject: Subject) -> None:
    """Voting counts equal strings: a trace and a sample of the same text must vote for the same.

    Read `trajectory.text`, not the tokens, their number, or the correct answer in `problem.data`.
    """
    task: Task = subject.make()
    for trace in _traces(task):
        sampled = task.extend(
            replace(trace, steps=(), finished=False, answer=None),
            Completion((1,) * len(trace.text), tuple(trace.text), (-1.0,) * len(trace.text), "end"),
        )
        expect(
            sampled.answer == task.answer(trace) == trace.answer,
            f"the answer to {trace.text!r} is {trace.answer!r} in the trace, {task.answer(trace)!r} when read again, "
            f"{sampled.answer!r} as a sample",
        )


def oracle_approves_traces(subject: Subject) -> None:
    """The oracle measures process rewards: it must know a good step when it sees one.

    Return one bool per step; after every step of a correct trace the problem can still be solved.
    """
    task: Task = subject.make()
    for trace in _traces(task):
        verdicts = task.step_oracle(trace)
        expect(verdicts == [True] * len(trace.steps), f"the oracle says {verdicts} of the trace {trace.text!r}")


def oracle_judges_every_step(subject: Subject) -> None:
    """Rewards are measured on what a policy wrote, and that is not always legal.

    Return one bool per step, False from the first step that cannot be read.
    """
    task: Task = subject.make()
    for trajectory in _odd(task):
        verdicts = task.step_oracle(trajectory)
        expect(
            len(verdicts) == len(trajectory.steps) and all(isinstance(verdict, bool) for verdict in verdicts),
            f"{len(trajectory.steps)} steps, {verdicts[:9]!r}, in {trajectory.text[:60]!r}",
        )


def parse_reads_its_own_problems(subject: Subject) -> None:
    """A person types a problem as they saw one printed.

    `parse(problem.text)` gives the same text, and data with which the verifier can judge.
    """
    task: Task = subject.make()
    for problem in _problems(task):
        text = task.parse(problem.text).text
        expect(text == problem.text, f"{problem.text!r} is read as {text!r}")
    for trace in _traces(task):
        if not task.verify(trace).correct:
            continue
        outcome = task.verify(replace(trace, problem=task.parse(trace.problem.text)))
        expect(outcome.correct, f"typed in, {trace.problem.text!r} is no longer solved by its trace: {outcome.reason}")


def parse_says_what_it_cannot_read(subject: Subject) -> None:
    """A person who mistypes gets a message, not a traceback.

    Raise `ProblemSyntaxError` for an empty text and for everything else that is no problem of the task.
    """
    task: Task = subject.make()
    for text in ODD_TEXTS:
        try:
            task.parse(text)
        except ProblemSyntaxError:
            continue
        except Exception as error:
            expect(False, f"parse({text[:60]!r}) raised {type(error).__name__}: {error}")
        expect(text.strip(), f"parse({text!r}) reads a problem where there is none")


def legal_steps_are_steps(subject: Subject) -> None:
    """Hard negatives are made of legal steps: what no trace could look like is told apart by its form.

    Each once, none empty, and appended to the prefix each adds exactly one step to what `split_steps` cuts. The next
    step of a trace is among them; once a trajectory has ended there are none.
    """
    task: Task = subject.make()
    for trace in _traces(task):
        for place, step in enumerate(trace.steps):
            prefix = replace(trace, steps=trace.steps[:place], finished=False, answer=None)
            texts = task.legal_steps(prefix)
            what = f"the legal steps after {prefix.text!r} of problem {trace.problem.id!r}"
            twice = sorted({text for text in texts if texts.count(text) > 1})
            expect(not twice, f"{what} hold {twice[:1]} more than once")
            expect(step.text in texts, f"{what} are {texts[:9]!r}: the trace's next step, {step.text!r}, is missing")
            before = [given.text for given in prefix.steps]
            for text in texts:
                cut = task.split_steps(prefix.text + text)
                expect(text and cut == [*before, text], f"{what} hold {text!r}: with it the text has the steps {cut!r}")
        for ended in (trace, replace(trace, finished=False, cut=True, answer=None)):
            texts = task.legal_steps(ended)
            expect(
                not texts,
                f"a trajectory has ended (finished={ended.finished}, cut={ended.cut}), and {texts[:3]!r} are legal",
            )
    for trajectory in _odd(task):
        texts = task.legal_steps(trajectory)
        expect(
            not texts, f"after {trajectory.text[:60]!r} nothing can follow, it is finished, and {texts[:3]!r} are legal"
        )


def _problems(task: Task) -> list[Problem]:
    return [problem for split in SPLITS for problem in list(task.problems(split))[:MANY]]


def _traces(task: Task) -> list[Trajectory]:
    return [trace for split in SPLITS for trace in list(task.traces(split))[:MANY]]


def _odd(task: Task) -> Iterator[Trajectory]:
    """Yield finished trajectories that a careless policy could have written."""
    problem = task.problems("train")[0]
    texts = list(ODD_TEXTS)
    for trace in _traces(task)[:2]:
        texts += [trace.text * 2, trace.text[::-1], trace.text[:-1], trace.text + task.separator]
    for text in texts:
        yield _finished(task, problem, [Step(part) for part in task.split_steps(text)])
    yield _finished(task, problem, [Step("", (0,), (-1.0,))])


def _finished(task: Task, problem: Problem, steps: Sequence[Step]) -> Trajectory:
    """Return a finished trajectory; where `answer` raises, another check says so."""
    trajectory = replace(task.start(problem), steps=tuple(steps), finished=True)
    try:
        return replace(trajectory, answer=task.answer(trajectory))
    except Exception:
        return trajectory


def _outcome(task: Task, trajectory: Trajectory) -> Outcome | None:
    """Return what `verify` says; where it raises, another check says so."""
    try:
        return task.verify(trajectory)
    except Exception:
        return None


CHECKS = (
    Check.of("task", splits_are_disjoint),
    Check.of("task", problem_ids_are_unique),
    Check.of("task", problems_are_the_same_in_every_process),
    Check.of("task", problem_data_is_json),
    Check.of("task", traces_are_declared),
    Check.of("task", traces_are_correct, {"traces"}),
    Check.of("task", traces_have_the_steps_of_their_text, {"traces"}),
    Check.of("task", traces_belong_to_their_split, {"traces"}),
    Check.of("task", split_steps_loses_nothing),
    Check.of("task", verify_takes_any_text),
    Check.of("task", verify_scores_one_exactly_if_correct),
    Check.of("task", unfinished_is_not_correct, {"traces"}),
    Check.of("task", answer_takes_any_text),
    Check.of("task", answer_depends_on_the_text_alone, {"traces"}),
    Check.of("task", oracle_approves_traces, {"step-oracle"}),
    Check.of("task", oracle_judges_every_step, {"step-oracle"}),
    Check.of("task", legal_steps_are_steps, {"traces", "legal-steps"}),
    Check.of("task", parse_reads_its_own_problems, {"parse"}),
    Check.of("task", parse_says_what_it_cannot_read, {"parse"}),
)
