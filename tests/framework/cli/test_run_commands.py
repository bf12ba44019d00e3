"""`trellis run` and `trellis solve` as a person sees them."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trellis.cli import main
from trellis.run.directory import RunDirectory


@pytest.fixture
def trellis(monkeypatch, capsys, tmp_path):
    """Run a command in this process; return its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["trellis", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, *capsys.readouterr()

    return call


@pytest.fixture
def copy(undisturbed, tmp_path):
    return shutil.copytree(undisturbed.path, tmp_path / "copy")


@pytest.fixture
def ctrl_c(monkeypatch):
    """Press Ctrl-C during a step: the so manieth of the run."""

    def during(step, times=1):
        original, calls = RunDirectory.metrics, []

        def metrics(self, *args):
            original(self, *args)
            calls.append(args)
            for _ in range(times if len(calls) == step else 0):
                os.kill(os.getpid(), signal.SIGINT)

        monkeypatch.setattr(RunDirectory, "metrics", metrics)

    return during


TABLE = """
 policy@warm-up  greedy     -       -
 policy@warm-up  best-of-n  reward  last
 policy@joint    greedy     -       -
 policy@joint    best-of-n  reward  last
"""


def test_run_shows_plain_lines_the_table_and_where_the_run_lies(trellis, small, tmp_path):
    code, out, err = trellis("run", small, "--out", tmp_path / "run")
    assert (code, err) == (0, "")
    assert "\x1b" not in out
    lines = [line.rstrip() for line in out.splitlines()]
    assert lines[0].startswith("warm-up 1/60 loss ")
    progress = [" ".join(line.split(" ")[:2]) for line in lines[: lines.index("small: test")]]
    expected = [
        f"{stage} {step}/{steps}"
        for stage, steps in (("warm-up", 60), ("joint", 6), ("fit", 6), ("test", 4))
        for step in (1, steps)
    ]
    assert [line for line in progress if line in expected] == expected
    assert "small: test" in lines
    for row in TABLE.strip("\n").splitlines():
        assert any(line.startswith(row) for line in lines)
    assert all(len(line) < 80 for line in lines[len(progress) : -1])
    assert lines[-1] == f"the run lies in {tmp_path / 'run'}"


def test_quiet_shows_the_table_alone(trellis, small, tmp_path, undisturbed, numbers):
    code, out, err = trellis("run", small, "--out", tmp_path / "run", "--quiet")
    assert (code, err) == (0, "")
    assert out.startswith("small: test")
    assert numbers(tmp_path / "run") == numbers(undisturbed.path)


def test_without_out_the_run_lies_under_runs(trellis, small):
    code, out, _ = trellis("run", small, "--quiet", "--set", "components.sft.with.steps=1")
    assert code == 0
    assert re.search(r"the run lies in runs/small-\d{8}-\d{6}\n$", out)
    code, out, _ = trellis("run", small, "--quiet", "--set", "components.sft.with.steps=1", "--resume")
    assert code == 0
    assert "policy@joint" in out


@pytest.mark.parametrize("options", [[], ["--set", "components.task.with.operations=+-", "--seed", "3"]])
def test_ctrl_c_prints_the_command_that_goes_on(
    options, trellis, ctrl_c, monkeypatch, small, tmp_path, undisturbed, numbers
):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "a run; it's mine"
    ctrl_c(63)
    code, shown, _ = trellis("run", small, "--out", out, *options)
    assert code == 130
    assert "stopping after this step" in shown
    said, command = shown.splitlines()[-1].split(": ", 1)
    assert said == "stopped and saved; go on with"
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    name, *words = shlex.split(command)
    assert name == "trellis"
    code, shown, _ = trellis(*words)
    assert code == 0
    assert "joint 6/6" in shown
    assert numbers(out) == numbers(undisturbed.path)


def test_ctrl_c_twice_stops_at_once_and_says_how_to_go_on(trellis, ctrl_c, small, tmp_path):
    ctrl_c(63, times=2)
    code, _, err = trellis("run", small, "--out", tmp_path / "run", "--quiet")
    assert code == 130
    assert err == (
        "stopped at once\n"
        f"at step 3 of stage 'joint'; --out {tmp_path / 'run'} --resume goes on from the run's last checkpoint\n"
    )


def test_a_finished_run_resumed_prints_its_table_again(trellis, small, copy):
    code, out, _ = trellis("run", small, "--out", copy, "--resume")
    assert code == 0
    assert out.startswith("small: test")
    assert out.endswith(f"the run lies in {copy}\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "none.yaml"), "none.yaml: "),
        (("run", "SMALL", "--set", "components.sft.steps=1"), "--set components.sft.steps: unknown"),
        (("run", "SMALL", "--set", "nonsense"), "--set nonsense: "),
        (("run", "SMALL", "--out", "COPY"), "error: COPY holds a run: go on with it by --resume, or choose another"),
        (("run", "SMALL", "--out", "none", "--resume"), "error: none holds no run to resume: start one without"),
        (("run", "SMALL", "--resume"), "error: there is no run of 'small' under runs/ to resume: name its directory"),
        (("run", "SMALL", "--out", "COPY", "--resume", "--seed", "4"), "error: the pipeline differs from COPY/res"),
        (("solve", "none", "1 + 2 ="), "error: none holds no run: give the directory that `trellis run` printed"),
        (("solve", "COPY", "one and two"), "error: cannot read the problem 'one and two': "),
        (
            ("solve", "COPY", "1 + 2 =", "--search", "greeedy"),
            "error: no search component is named 'greeedy'; did you ",
        ),
        (("solve", "COPY", "1 + 2 =", "--search", "policy"), "error: no search component is named 'policy'"),
        (
            ("solve", "COPY", "1 + 2 =", "--reward", "rewards"),
            "error: no reward component is named 'rewards'; did you ",
        ),
        (
            ("solve", "COPY", "1 + 2 =", "--weights", "jiont"),
            "error: no stage that has ended is named 'jiont'; did you ",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_wrong_is_said_in_a_line(words, message, trellis, small, copy):
    places = {"SMALL": str(small), "COPY": str(copy)}
    code, out, err = trellis(*[places.get(word, word) for word in words])
    assert (code, out) == (1, "")
    assert err.replace(str(copy), "COPY").startswith(message)
    assert "Traceback" not in err


def test_an_error_in_a_run_says_where_it_happened_and_how_to_go_on(trellis, small, tmp_path):
    code, _, err = trellis(
        "run", small, "--out", tmp_path / "run", "--quiet", "--set", "stages.test.with.split=validation"
    )
    assert code == 1
    assert err.splitlines() == [
        "error: there is nothing to evaluate on: the task's split 'validation' holds no problems",
        f"at step 1 of stage 'test'; --out {tmp_path / 'run'} --resume goes on from the run's last checkpoint",
    ]


def solve(trellis, run, *options):
    code, out, err = trellis("solve", run, "1 + 2 mod 3 =", "--json", *options)
    assert err == ""
    return code, json.loads(out)


def test_solve_uses_what_measured_best(trellis, copy):
    results = json.loads((copy / "results.json").read_text())
    rows = results["stages"]["test"]["rows"]
    for row in rows:
        row["accuracy"] = 0.25
    rows[1]["accuracy"] = 0.75
    (copy / "results.json").write_text(json.dumps(results))
    _, found = solve(trellis, copy)
    assert [found[key] for key in ("policy", "search", "reward")] == ["policy@warm-up", "best-of-n", "reward"]
    _, found = solve(trellis, copy, "--search", "greedy", "--weights", "joint")
    assert [found[key] for key in ("policy", "search")] == ["policy@joint", "greedy"]
    _, found = solve(trellis, copy, "--search", "majority")
    assert [found[key] for key in ("policy", "search", "reward")] == ["policy", "majority", "reward"]


def test_solve_tells_the_same_to_people_and_programs_and_exits_with_0_or_2(trellis, undisturbed):
    codes = set()
    for text in [problem.text for problem in undisturbed.components["task"].problems("train")]:
        words = ("solve", undisturbed.path, text, "--search", "best-of-n")
        code, out, err = trellis(*words)
        lines = out.splitlines()
        assert err == ""
        assert lines[:2] == [text, "policy policy, search best-of-n, reward reward"]
        json_code, out, _ = trellis(*words, "--json")
        found = json.loads(out)
        assert code == json_code == (0 if found["correct"] else 2)
        verdict = "correct" if found["correct"] else f"not correct: {found['reason']}"
        assert lines[-1].startswith(f"answer: {found['answer']} ({verdict}; {found['tokens']} tokens, ")
        assert len(lines) == 3 + len(found["steps"])
        for line, step in zip(lines[2:-1], found["steps"], strict=True):
            assert line == f"  {step['reward']:+8.3f}  {step['text']}".rstrip()
            assert step["log_prob"] < 0
        codes.add(code)
        if codes == {0, 2}:
            break
    assert codes == {0, 2}


@pytest.mark.parametrize(("step", "rewarded"), [(30, False), (63, True)])
def test_a_run_that_was_interrupted_before_it_was_measured_can_solve(step, rewarded, trellis, ctrl_c, small, tmp_path):
    ctrl_c(step)
    assert trellis("run", small, "--out", tmp_path / "run")[0] == 130
    _, found = solve(trellis, tmp_path / "run")
    assert [found[key] for key in ("policy", "search")] == ["policy", "greedy"]
    assert all((s["reward"] is not None) == rewarded for s in found["steps"])


def test_a_reward_that_has_not_learned_anything_steers_no_search(trellis, ctrl_c, small, tmp_path):
    ctrl_c(30)
    trellis("run", small, "--out", tmp_path / "run")
    for options in (("--search", "best-of-n"), ("--reward", "reward")):
        code, out, err = trellis("solve", tmp_path / "run", "1 + 2 mod 3 =", *options)
        assert (code, out) == (1, "")
        assert err.startswith("error: the reward AIRL has not learned anything yet: run a `train` stage")


@pytest.mark.slow
def test_airl_s_killed_in_the_middle_of_joint_ends_as_if_it_never_was(tmp_path, numbers, read_lines):
    root = Path(__file__).parents[3]
    smaller = [
        "components.task.with={train_size: 200, validation_size: 10, test_size: 10, numbers: 3}",
        "components.sft.with.steps=300",
        "components.sft.with.batch_size=32",
        "components.grpo.with.steps=12",
        "components.grpo.with.process_from=2",
        "components.grpo.with.problems_per_step=8",
        "stages.joint.with.checkpoint_every=3",
        "stages.fit.with.steps=10",
        "stages.fit.with.batch_size=32",
        "stages.test.with.problems=5",
    ]
    script = Path(sys.executable).with_name("trellis")
    command = [str(script), "run", str(root / "pipelines" / "airl_s.yaml"), "--device", "cpu", "--quiet"]
    command += [word for item in smaller for word in ("--set", item)]

    def call(*words):
        subprocess.run([*command, *words], check=True, capture_output=True, timeout=200)

    call("--out", str(tmp_path / "undisturbed"))
    with subprocess.Popen([*command, "--out", str(tmp_path / "killed")]) as process:
        metrics = tmp_path / "killed" / "metrics.jsonl"
        while not metrics.exists() or '"stage": "joint", "step": 5' not in metrics.read_text(encoding="utf-8"):
            assert process.poll() is None
        process.kill()
    assert not (tmp_path / "killed" / "checkpoints" / "joint").exists()
    call("--out", str(tmp_path / "killed"), "--resume")
    assert numbers(tmp_path / "killed") == numbers(tmp_path / "undisturbed")
    events = [line["event"] for line in read_lines(tmp_path / "killed" / "events.jsonl")]
    assert events.count("resumed") == 1
