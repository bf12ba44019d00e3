"""How the command line ends when something is wrong."""

from __future__ import annotations

import subprocess
import sys

FAILING = """
from trellis.cli import app, main
from trellis.errors import RunError, SpecError, SpecProblem

@app.command()
def spec():
    raise SpecError([SpecProblem("no such field", path="components.reward"), SpecProblem("a cycle", path="stages")])

@app.command()
def run():
    error = RunError("the disk is full")
    error.add_note("while writing a checkpoint")
    raise error

@app.command()
def bug():
    raise KeyError("a bug")

main()
"""


def fail(command: str) -> str:
    finished = subprocess.run([sys.executable, "-c", FAILING, command], capture_output=True, text=True, timeout=60)
    assert (finished.returncode, finished.stdout) == (1, "")
    return finished.stderr


def test_each_problem_of_a_specification_is_a_line_and_they_are_counted():
    assert fail("spec") == "components.reward: no such field\nstages: a cycle\nerror: 2 problems found\n"


def test_an_error_is_a_line_with_its_notes():
    assert fail("run") == "error: the disk is full\nwhile writing a checkpoint\n"


def test_a_bug_keeps_its_traceback():
    assert fail("bug").startswith("Traceback")
