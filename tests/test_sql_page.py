"""The Python on the page about SQL runs as it stands there."""

import re
from pathlib import Path

PAGE = (Path(__file__).parents[1] / "docs" / "sql.md").read_text(encoding="utf-8")


def test_the_library_example_runs(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"<!-- sql: library -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/sql.md", "exec"), {})
    median_ms, judgement = capsys.readouterr().out.split()[:2]
    assert float(median_ms) > 0
    assert judgement in ("faster", "slower", "undecided", "same")
