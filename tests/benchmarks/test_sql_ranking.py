"""The page about ranking is that of its committed measurements, which are those of the committed plans."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SQL = Path(__file__).parents[2] / "benchmarks" / "sql"


@pytest.fixture(scope="module")
def ranking():
    spec = importlib.util.spec_from_file_location("sql_ranking", SQL / "ranking.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture(scope="module")
def result(ranking):
    return json.loads(ranking.RESULT.read_text(encoding="utf-8"))


def test_the_page_is_written_from_the_results(ranking, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(SQL)
    monkeypatch.setattr(ranking, "REPORT", tmp_path / "RANKING.md")
    ranking.write_report()
    assert ranking.REPORT.read_text(encoding="utf-8") == (SQL / "RANKING.md").read_text(encoding="utf-8")


def test_what_needs_no_fit_is_that_of_the_committed_plans(ranking, result):
    data = ranking.load()
    for name in ranking.SETS:
        costs = [np.array([plan["cost"] for plan in query["plans"]]) for query in data[name]]
        gains = [ranking.gains_of(query) for query in data[name]]
        for method, scores in {"plan-cost": costs, "oracle": gains}.items():
            measured = ranking.summary({method: ranking.measures(scores, data[name])})[method]
            kept = result["sets"][name]["methods"][method]
            assert {k: pytest.approx(v) for k, v in measured.items()} == kept, (name, method)


def test_a_correlation_is_left_out_where_gains_are_alike_and_nothing_where_scores_are(ranking):
    up, alike = np.array([1.0, 2.0, 3.0]), np.ones(3)
    assert ranking.correlation(up, up**3) == pytest.approx(1)
    assert ranking.correlation(-up, up) == pytest.approx(-1)
    assert ranking.correlation(alike, up) == 0
    assert np.isnan(ranking.correlation(up, alike))


def test_without_any_fit_nothing_is_compared(tmp_path):
    before = (SQL / "RANKING.md").read_bytes()
    command = [sys.executable, SQL / "ranking.py", "--kept", "--fits", tmp_path]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert "make some with --fit SEED" in answer.stderr
    assert (SQL / "RANKING.md").read_bytes() == before
