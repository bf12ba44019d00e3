"""What a run shows: one live line on a terminal, plain lines elsewhere, nothing when quiet."""

import io
import re
import time

import pytest
from rich.console import Console

from trellis.run.progress import ProgressLine

METRICS = {"accuracy": 0.12345, "loss": -0.000123, "reward/loss": 1.3862943, "tokens": 123.4, "entropy": 1.234}


def show(console, every_s=5.0, pause_s=0.0):
    with ProgressLine(console, every_s=every_s) as line:
        line.stage("joint", 2, 4)
        for step in range(1, 61):
            line.step("joint", step, 60, {**METRICS, "hidden": 1.0})
        time.sleep(pause_s)
        line.stage("fit", 3, 4)
        line.step("fit", 1, 600, {"held_out_auc": 0.5})
        time.sleep(pause_s)


def test_elsewhere_the_first_and_last_step_are_plain_lines():
    file = io.StringIO()
    show(Console(file=file))
    assert file.getvalue().splitlines() == [
        "joint 1/60 accuracy 0.123 loss -0.000123 reward/loss 1.39 tokens 123 entropy 1.23",
        "joint 60/60 accuracy 0.123 loss -0.000123 reward/loss 1.39 tokens 123 entropy 1.23",
        "fit 1/600 held_out_auc 0.5",
    ]


def test_elsewhere_a_step_is_shown_every_few_seconds():
    file = io.StringIO()
    show(Console(file=file), every_s=0.0)
    assert len(file.getvalue().splitlines()) == 61


@pytest.mark.parametrize("width", [60, 80, 200])
def test_on_a_terminal_there_is_one_live_line_that_is_gone_at_the_end(width):
    file = io.StringIO()
    show(Console(file=file, force_terminal=True, width=width, color_system=None), pause_s=0.3)
    text = file.getvalue()
    frames = [re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", frame) for frame in re.split(r"\r\x1b\[2K", text)]
    assert any("[2/4] joint" in frame and "60/60" in frame for frame in frames)
    assert any("[3/4] fit" in frame for frame in frames)
    for frame in frames:
        assert len(frame.strip("\r\n")) <= width
        assert "\n" not in frame.strip("\r\n")
    assert text.endswith("\n\x1b[?25h\r\x1b[1A\x1b[2K")


def test_a_line_of_its_own_goes_above_the_live_line():
    file = io.StringIO()
    with ProgressLine(Console(file=file, force_terminal=True, width=80, color_system=None)) as line:
        line.stage("joint", 1, 1)
        line.say("stopping")
    assert "stopping\n" in file.getvalue()


def test_without_a_console_nothing_is_shown(capsys):
    show(None)
    assert capsys.readouterr() == ("", "")


def test_a_long_step_shows_how_far_it_is():
    out = io.StringIO()
    line = ProgressLine(Console(file=out, width=80), every_s=0.0)
    line.within("test", 120, 300)
    assert out.getvalue() == "test … 120/300\n"


def test_a_long_step_does_not_flood_a_log():
    out = io.StringIO()
    line = ProgressLine(Console(file=out, width=80), every_s=3600.0)
    line.step("test", 1, 2, {})
    for done in range(100):
        line.within("test", done, 100)
    assert out.getvalue() == "test 1/2\n"
