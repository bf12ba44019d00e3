"""The README's snippets run, and its library lines do the same as its YAML."""

import contextlib
import io
import re
from pathlib import Path

import trellis
from trellis.plugins import discover
from trellis.testing import check_component

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def snippet(name):
    return re.search(rf"<!-- readme: {re.escape(name)} -->\n```\w+\n(.*?)```", README, re.DOTALL).group(1)


def smaller(text):
    """The same with fewer steps and problems, so that the test takes seconds."""
    fewer = {
        "300": "12",
        '"steps": 20': '"steps": 2, "process_from": 1',
        "steps: 20": "steps: 2, process_from: 1",
    }
    for long, short in fewer.items():
        text = text.replace(long, short)
    return text.replace('{"numbers": 3}', '{"numbers": 3, "test_size": 3}').replace(
        "{numbers: 3}", "{numbers: 3, test_size: 3}"
    )


def test_the_library_lines_do_the_same_as_the_yaml(tmp_path):
    file = tmp_path / "first.yaml"
    file.write_text(smaller(snippet("first.yaml")))
    run = trellis.run_pipeline(trellis.load_pipeline(file), out=tmp_path / "run")
    measured = [(row.search, row.accuracy, row.tokens_per_problem) for row in run.results.stages["test"].rows]

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(smaller(snippet("library")), "README.md", "exec"), {})
    lines = [line.split() for line in printed.getvalue().splitlines()]
    assert [(name, float(a), float(t)) for name, a, t in lines[-2:]] == measured
    losses = [value for _, value in lines[:12]]
    assert losses == [str(record["loss"]) for record in metrics(run.path, "warm-up")]


def metrics(path, stage):
    from trellis.run.files import read_lines

    return [record for record in read_lines(path / "metrics.jsonl") if record["stage"] == stage]


def test_the_plugin_is_found_and_passes_the_kit(tmp_path):
    file = tmp_path / "brevity.py"
    file.write_text(snippet("plugin"))
    registered = discover(local_plugins=[file]).find("brevity/brevity")
    failed = {result.id: result.message for result in check_component(registered) if result.passed is False}
    assert failed == {}


def test_the_snippets_are_as_short_as_promised():
    lines = {
        name: sum(bool(line.strip()) for line in snippet(name).splitlines())
        for name in ("first.yaml", "library", "plugin")
    }
    assert lines["first.yaml"] <= 20
    assert lines["library"] <= 12
    assert lines["plugin"] <= 15
