"""`trellis check`, `fill`, `schema` and `init` as a user sees them."""

import json
import subprocess
import sys

import jsonschema
import pytest
import typer
from typer.testing import CliRunner

from trellis.cli import spec

app = typer.Typer()
for command in (spec.check, spec.fill, spec.schema, spec.init):
    app.command()(command)


@pytest.fixture
def trellis(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, words)


@pytest.fixture
def pipeline(trellis):
    assert trellis("init", "mine").exit_code == 0
    return "mine.yaml"


def test_check_prints_the_plan(trellis, pipeline):
    done = trellis("check", pipeline)
    lines = done.stdout.splitlines()
    assert done.exit_code == 0
    assert lines[0] == "ok: mine, 6 components, 2 stages"
    assert lines[1].split()[:4] == ["task", "task", "reasoning/countdown", "trellis"]
    assert [line.split()[2] for line in lines[-2:]] == ["core/train", "core/evaluate"]


def test_check_prints_the_plan_as_json(trellis, pipeline):
    done = json.loads(trellis("check", pipeline, "--json", "--set", "name=other").stdout)
    assert done["ok"]
    assert done["name"] == "other"
    assert [part["use"] for part in done["stages"]] == ["core/train", "core/evaluate"]


def test_check_prints_every_problem_on_a_line_of_its_own_and_exits_with_1(trellis, pipeline):
    done = trellis("check", pipeline, "--set", "sed=1", "--set", "components.task.with.numbers=9")
    assert done.exit_code == 1
    assert [line.partition(": ")[0] for line in done.stdout.splitlines()] == [
        "--set sed",
        "--set components.task.with.numbers",
    ]
    assert "sed: unknown field 'sed'; did you mean 'seed'? Valid: components, device," in done.stdout


def test_check_prints_problems_as_json(trellis, tmp_path):
    (tmp_path / "bad.yaml").write_text("version: 1\nname: bad\nsed: 1\nstages: []\n", encoding="utf-8")
    done = trellis("check", "bad.yaml", "--json")
    report = json.loads(done.stdout)
    assert done.exit_code == 1
    assert not report["ok"]
    first = report["problems"][0]
    assert (first["file"], first["line"], first["column"], first["path"]) == ("bad.yaml", 3, 1, "sed")
    assert "seed" in first["choices"]


def test_check_can_refuse_local_plugins(trellis, tmp_path):
    (tmp_path / "mine.py").write_text("raise SystemExit('was run')", encoding="utf-8")
    (tmp_path / "a.yaml").write_text("version: 1\nname: a\nplugins: [mine.py]\nstages: []\n", encoding="utf-8")
    done = trellis("check", "a.yaml", "--no-local-plugins")
    assert "a.yaml:3:11: plugins[0]: local plugins are turned off" in done.stdout
    assert "was run" in trellis("check", "a.yaml").stdout


def test_fill_writes_every_default_and_what_it_writes_is_the_same_pipeline(trellis, pipeline, tmp_path):
    filled = trellis("fill", pipeline, "--set", "components.task.with.numbers=5")
    assert filled.exit_code == 0
    assert "numbers: 5" in filled.stdout
    (tmp_path / "filled.yaml").write_text(filled.stdout, encoding="utf-8")
    assert trellis("fill", "filled.yaml").stdout == filled.stdout


def test_schema_is_a_json_schema(trellis):
    jsonschema.Draft202012Validator.check_schema(json.loads(trellis("schema").stdout))


def test_init_says_what_to_do_next_and_takes_the_file_name_too(trellis, tmp_path):
    done = trellis("init", "mine.yaml")
    assert done.stdout == "wrote mine.yaml: next, `trellis check mine.yaml`, then `trellis run mine.yaml`\n"
    assert (tmp_path / "mine.yaml").exists()


def test_checking_the_installed_components_imports_nothing_heavy(pipeline, tmp_path):
    program = f"""
import sys
from trellis.cli import spec
spec.check({pipeline!r})
print(sorted({{"torch", "transformers", "numpy"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[0] == "ok: mine, 6 components, 2 stages"
    assert done.stdout.splitlines()[-1] == "[]"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.yaml"]
