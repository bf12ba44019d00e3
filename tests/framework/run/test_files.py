import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trellis.records import rollout_from_json, rollout_to_json
from trellis.run.difference import differences
from trellis.run.files import append_line, read_lines, write_atomic
from trellis.types import Outcome, Problem, Rollout, Step, Trajectory

texts = st.text(max_size=20)
log_probs = st.floats(max_value=0.0, allow_nan=False, allow_infinity=False)
steps = st.lists(st.tuples(st.integers(0, 99), log_probs), max_size=3).flatmap(
    lambda tokens: st.builds(
        lambda text: Step(text, tuple(token for token, _ in tokens), tuple(value for _, value in tokens)), texts
    )
)
rollouts = st.builds(
    Rollout,
    st.builds(
        Trajectory,
        st.builds(Problem, texts, texts, st.dictionaries(texts, st.none() | st.integers() | st.lists(texts))),
        texts,
        st.lists(steps, max_size=3).map(tuple),
        st.booleans(),
        st.booleans(),
        st.none() | texts,
    ),
    st.builds(Outcome, st.booleans(), st.floats(0, 1), texts),
    step=st.integers(0, 99),
)


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_atomic(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomic(path, "new \ud800")
    assert path.read_text() == "old"
    write_atomic(path, "new")
    assert [entry.name for entry in tmp_path.iterdir() if not entry.name.startswith(".")] == ["file"]
    assert path.read_text() == "new"


def test_a_file_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    path, states = tmp_path / "file", []
    original = os.fsync

    def fsync(descriptor):
        states.append(path.exists())
        original(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomic(path, "text")
    # The file, and then the directory that holds its name.
    assert states == [False, True]


@given(st.lists(st.dictionaries(texts, texts | st.integers() | st.none()), max_size=4), st.integers(0, 20))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_a_cut_last_line_is_left_out(tmp_path, records, cut):
    path = tmp_path / "lines.jsonl"
    path.unlink(missing_ok=True)
    for record in records:
        append_line(path, record)
    assert list(read_lines(path)) == records
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"a": "longer than the longest cut"})[:cut])
    assert list(read_lines(path)) == records


def test_no_file_has_no_lines(tmp_path):
    assert list(read_lines(tmp_path / "none.jsonl")) == []


@given(rollouts)
@settings(max_examples=50)
def test_a_rollout_comes_back_from_json_as_it_was(rollout):
    back = rollout_from_json(json.loads(json.dumps(rollout_to_json(rollout))))
    assert back == rollout
    assert back.trajectory.problem.data == rollout.trajectory.problem.data


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ("a: 1\nb: {c: x}\n", "a: 1\nb: {c: y}\n", ['b.c: "x" then, "y" now']),
        ("a: {b: 1}\n", "a: {}\n", ["a.b: 1 then, nothing now", "a: nothing then, {} now"]),
        ("s: [{name: one, n: 1}]\n", "s: [{name: one, n: 2}]\n", ["s.one.n: 1 then, 2 now"]),
        ("l: [1, 2]\n", "l: [1]\n", ["l.1: 2 then, nothing now"]),
        ("a: 1\nb: 1\n", "a: 1\nb: 1\n", []),
        ("{a: 1, b: 1, c: 1}", "{a: 2, b: 2, c: 2}", ["a: 1 then, 2 now", "b: 1 then, 2 now", "…"]),
    ],
)
def test_differences_are_told_by_path(old, new, lines):
    assert differences(old, new, most=2) == lines
