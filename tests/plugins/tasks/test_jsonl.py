"""Tasks made of JSONL files: answers in three styles, solutions as traces, and everything wrong with a file."""

import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from trellis import Step
from trellis.errors import MissingExtraError
from trellis.testing.checks.task import ODD_TEXTS
from trellis_jsonl.config import JsonlConfig
from trellis_jsonl.reader import DataError
from trellis_jsonl.task import Jsonl

DATA = Path(__file__).parent / "data"
GSM8K = {"train": str(DATA / "gsm8k-train.jsonl"), "test": str(DATA / "gsm8k-test.jsonl")}
MATH = {"train": str(DATA / "math.jsonl"), "question": "problem", "answer": "solution", "answer_style": "math"}
SOLUTIONS = {"train": str(DATA / "solutions.jsonl"), "id": "name", "question": "q", "answer": "a", "solution": "proofs"}
TEXT = {"train": str(DATA / "text.jsonl"), "answer_style": "text"}


def jsonl(**config):
    return Jsonl(JsonlConfig(**config))


def written(tmp_path, *rows, name="data.jsonl"):
    file = tmp_path / name
    file.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8"
    )
    return str(file)


def finished(task, problem, text):
    trajectory = replace(task.start(problem), steps=tuple(map(Step, task.split_steps(text))), finished=True)
    return replace(trajectory, answer=task.answer(trajectory))


def judged(task, text, place=0):
    return task.verify(finished(task, task.problems("train")[place], text))


def faults(**config):
    with pytest.raises(DataError) as error:
        jsonl(**config)
    return [str(fault) for fault in error.value.faults]


def test_gsm8k_answers_are_their_own_traces():
    task = jsonl(**GSM8K)
    assert [len(task.problems(split)) for split in ("train", "validation", "test")] == [3, 0, 1]
    assert [problem.id for problem in task.problems("train")] == ["train-1", "train-2", "train-3"]
    traces = task.traces("train")
    assert [len(trace.steps) for trace in traces] == [3, 3, 1]
    assert [trace.answer for trace in traces] == ["72", "6250", "6"]
    assert [task.verify(trace).correct for trace in traces] == [True] * 3


@pytest.mark.parametrize(
    "answer", ["6250", "6,250", "$6,250", "6250.00", "12500/2", "6250 dollars", r"$\frac{12500}{2}$"]
)
def test_a_gsm8k_answer_is_compared_as_mathematics(answer):
    assert judged(jsonl(**GSM8K), f"So.\n#### {answer}", place=1).correct


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("#### 6251", "the answer is not '6251'"),
        ("6250", "there is no answer after '####'"),
        ("####", "there is no answer after '####'"),
        ("#### 6250\n#### 1", "the answer is not '1'"),
        ("#### dollars", "the answer is not 'dollars'"),
    ],
)
def test_a_wrong_gsm8k_answer_is_told_why(text, reason):
    outcome = judged(jsonl(**GSM8K), text, place=1)
    assert (outcome.correct, outcome.score, outcome.reason) == (False, 0.0, reason)


@pytest.mark.parametrize(
    ("place", "answer", "correct"),
    [
        (0, r"\boxed{\frac12}", True),
        (0, r"\boxed{0.5}", True),
        (0, r"\boxed{2}, I mean, after one more careful look at each of the two terms above, \boxed{1/2}", True),
        (0, r"\boxed{\frac13}", False),
        (0, "1/2", False),
        (1, r"\boxed{-2 \le x \le 2}", False),
        (1, r"$\boxed{[-2, 2]}$", True),
        (1, r"\boxed{(-2, 2)}", False),
        (2, r"\boxed{(x+1)^2}", True),
        (2, r"\boxed{(x-1)^2}", False),
    ],
)
def test_a_boxed_answer_is_compared_as_mathematics(place, answer, correct):
    assert judged(jsonl(**MATH), f"So {answer}.", place=place).correct is correct


def test_solutions_are_traces_and_get_the_answer_that_they_lack():
    task = jsonl(**SOLUTIONS)
    assert [(trace.problem.id, trace.text) for trace in task.traces("train")] == [
        ("sum", "2 + 3 = 5\n5 + 4 = 9\n#### 9"),
        ("sum", "3 + 4 = 7\n2 + 7 = 9\n#### 9"),
        ("product", "2 * 3 = 6\n6 * 4 = 24\n#### 24.0"),
    ]
    assert all(task.verify(trace).correct for trace in task.traces("train"))


def test_the_separator_cuts_the_steps():
    task = jsonl(**MATH, separator="\n\n")
    assert [step.text for step in task.traces("train")[1].steps] == [
        "Both $-2$ and $2$ are roots.\n\n",
        r"So $x \in \boxed{[-2,2]}$.",
    ]


def test_texts_are_equal_but_for_white_space():
    task = jsonl(**TEXT)
    assert judged(task, " the\nVolga ", place=1).correct
    assert not judged(task, "the volga", place=1).correct
    assert not judged(task, "It is the Volga", place=1).correct
    marked = jsonl(**TEXT, answer_prefix="answer: ")
    assert judged(marked, "It is in Russia.\nanswer: the Volga", place=1).correct
    assert judged(marked, "the Volga", place=1).reason == "there is no answer after 'answer:'"
    assert [trace.text for trace in marked.traces("train")] == ["answer: Paris", "answer: the  Volga"]


@pytest.mark.parametrize(
    ("config", "same", "other"),
    [
        (GSM8K, ("#### 1,000", "x\n#### $1000.0", "#### 2000/2"), "#### 1001"),
        (MATH, (r"\boxed{\frac12}", r"\boxed{0.5}", r"\boxed{\frac{2}{4}}"), r"\boxed{2}"),
        (TEXT, ("a  b", "a\nb "), "ab"),
    ],
)
def test_equal_answers_are_equal_strings(config, same, other):
    task = jsonl(**config)
    answers = [finished(task, task.problems("train")[0], text).answer for text in (*same, other)]
    assert len(set(answers[:-1])) == 1
    assert answers[-1] not in answers[:-1]
    assert None not in answers


HOSTILE = (
    *ODD_TEXTS,
    "9^{9^{9^{9^9}}}",
    "10^{10^{10}}",
    "9**9**9**9",
    r"\frac{1}{0}",
    r"\int_0^\infty e^{-x^2} \, dx",
    r"\sum_{n=1}^{\infty} \frac{1}{n^{99}}",
    "{" * 500,
    "\\" * 99,
    "\x00",
    "\ud800",
)


@pytest.mark.parametrize("config", [GSM8K, MATH, TEXT], ids=["gsm8k", "math", "text"])
def test_whatever_a_model_writes_is_judged_and_not_correct(config):
    task = jsonl(**config, seconds=2.0)
    begin = time.monotonic()
    for text in HOSTILE:
        for form in (text, f"#### {text}", rf"\boxed{{{text}}}"):
            outcome = judged(task, form)
            assert (outcome.correct, outcome.score) == (False, 0.0)
            assert outcome.reason
    assert time.monotonic() - begin < 120


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40), st.sampled_from(["{}", "#### {}", "\\boxed{{{}}}"]))
def test_no_text_makes_it_raise(text, form):
    task = jsonl(**GSM8K)
    correct = judged(task, form.format(text), place=1).correct
    assert not correct or (form == "#### {}" and "6250" in text)


def test_it_judges_on_any_thread():
    task = jsonl(**GSM8K)
    verdicts = []

    def judge(number):
        verdicts.append((number, judged(task, f"#### {number}", place=0).correct))

    threads = [threading.Thread(target=judge, args=(number,)) for number in (71, 72, 73)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(verdicts) == [(71, False), (72, True), (73, False)]


def test_the_prompt_is_the_template_with_the_question():
    task = jsonl(**SOLUTIONS, prompt="{{think}} Q: {question}\nA: ")
    problem = task.problems("train")[0]
    assert task.start(problem).prompt == "{think} Q: 2 + 3 + 4 = ?\nA: "
    assert task.traces("train")[0].prompt == task.start(problem).prompt
    assert task.start(problem, "other").prompt == "other"
    assert jsonl(**SOLUTIONS).start(problem).prompt == "2 + 3 + 4 = ?\n"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"prompt": "{q}"}, r"unknown placeholder \{q\}: the only placeholder is \{question\}; write \{\{ and \}\}"),
        ({"prompt": "{}"}, r"unknown placeholder \{\}"),
        ({"prompt": "{question!r}"}, r"unknown placeholder \{question!r\}"),
        ({"prompt": "{question.__class__}"}, r"unknown placeholder \{question.__class__\}"),
        ({"prompt": "{question"}, r"the only placeholder is"),
        ({"prompt": "Solve it."}, r"\{question\} is missing"),
        ({"train": "a.jsonl", "test": "a.jsonl"}, "a file is given for two splits"),
        ({"answer_prefix": "answer: "}, "belongs to answer_style 'text'"),
        ({"answer": "question"}, "are the same field"),
    ],
)
def test_a_config_that_cannot_work_is_refused(config, message):
    with pytest.raises(ValidationError, match=message):
        JsonlConfig(**config)


def test_every_fault_of_a_file_is_told_with_its_line():
    file = DATA / "faulty.jsonl"
    told = (DATA / "faulty.txt").read_text(encoding="utf-8").splitlines()
    assert faults(train=str(file)) == [f"{file}:{line}" for line in told]


def test_the_first_twenty_faults_are_shown_and_the_others_counted(tmp_path):
    with pytest.raises(DataError) as error:
        jsonl(train=written(tmp_path, *["oops"] * 25))
    assert len(error.value.faults) == 25
    assert str(error.value).splitlines()[-1] == "… and 5 more"
    assert len(str(error.value).splitlines()) == 21


@pytest.mark.parametrize(
    ("rows", "config", "fault"),
    [
        (["[", "]"], {}, r"1: the file is one JSON array; write one JSON object per line"),
        (["", " "], {}, r"data.jsonl: it holds no problems"),
        ([{"question": "a", "answer": "#### so"}], {}, r"1: answer_style 'gsm8k' cannot read 'answer'"),
        (
            [{"question": "a", "answer": "1", "s": "#### 2"}],
            {"solution": "s"},
            r"1: 's' does not end with the answer of",
        ),
        ([{"question": "a", "answer": "1", "s": ["x", ""]}], {"solution": "s"}, r"1: 's\[1\]' is empty"),
        (
            [{"question": "a", "answer": "1", "s": 1}],
            {"solution": "s"},
            r"1: 's' is a number; it takes a text, a list of",
        ),
        ([{"question": "a", "answer": "1"}], {"solution": "s"}, r"1: the field 's' is missing"),
        (
            [{"question": "a", "answer": "1", "n": 7}, {"question": "b", "answer": "1", "n": "7"}],
            {"id": "n"},
            r"2: the id '7' is also that of .*:1; give each",
        ),
    ],
)
def test_a_fault_says_what_where_and_how_to_mend_it(rows, config, fault, tmp_path):
    (told,) = faults(train=written(tmp_path, *rows), **config)
    assert __import__("re").search(fault, told), told


def test_a_question_of_two_splits_is_a_fault(tmp_path):
    train = written(tmp_path, {"question": "a b", "answer": "1"}, {"question": "c", "answer": "1"})
    test = written(tmp_path, {"question": "d", "answer": "1"}, {"question": "a  b", "answer": "2"}, name="test.jsonl")
    (told,) = faults(train=train, test=test)
    assert told.startswith(f"{test}:2: the question is also in the split 'train' ({train}:1)")


def test_files_that_cannot_be_read_are_all_named(tmp_path):
    told = faults(train=str(tmp_path / "no.jsonl"), test=str(tmp_path))
    assert ["no such file" in told[0], "is a directory" in told[1]] == [True, True]


def test_other_encodings_are_a_fault_and_a_byte_order_mark_is_none(tmp_path):
    line = json.dumps({"question": "Größe?", "answer": "1"}, ensure_ascii=False)
    (tmp_path / "latin").write_bytes(line.encode("latin-1"))
    (told,) = faults(train=str(tmp_path / "latin"))
    assert ":1: it is not UTF-8 (byte 17)" in told
    (tmp_path / "marked").write_bytes(b"\xef\xbb\xbf" + line.encode() + b"\r\n")
    assert jsonl(train=str(tmp_path / "marked")).problems("train")[0].text == "Größe?"


def test_without_math_verify_the_extra_is_named_and_texts_still_work(monkeypatch):
    monkeypatch.setattr("trellis_jsonl.task.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'trellis\[math\]'"):
        jsonl(**GSM8K)
    assert len(jsonl(**TEXT).problems("train")) == 2
