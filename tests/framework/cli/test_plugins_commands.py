"""`trellis plugins`, run as a user runs it, with the distributions of `../data/distributions` installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trellis.cli.doctor import stale_installs

DISTRIBUTIONS = Path(__file__).parents[1] / "data" / "distributions"
FOLDERS = sorted(path for path in DISTRIBUTIONS.iterdir() if path.is_dir())
BROKEN = [path.read_text(encoding="utf-8").split("'")[1] for path in DISTRIBUTIONS.glob("*/expected.txt")]


@pytest.fixture
def trellis(tmp_path):
    """Run a command with all distributions installed, whole and broken."""

    def run(*arguments: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("TRELLIS_")}
        finished = subprocess.run(
            [sys.executable, "-W", "error", "-c", "from trellis.cli import main; main()", *arguments],
            env={
                **clean,
                "PYTHONPATH": os.pathsep.join(map(str, FOLDERS)),
                "TRELLIS_CONFIG_DIR": str(tmp_path),
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert finished.returncode == code, finished.stderr
        return finished

    return run


def test_list_shows_what_works_and_what_does_not(trellis):
    finished = trellis("plugins", "list")
    lines = [line.split() for line in finished.stdout.splitlines()]
    assert ["brevity/brevity", "shorter", "steps", "are", "better", "trellis-brevity", "1.0", "ok"] in lines
    for plugin in BROKEN:
        assert any(line[0] == plugin for line in lines[lines.index(["failed"]) :])
    assert finished.stderr == ""


def test_list_as_json(trellis):
    document = json.loads(trellis("plugins", "list", "--json").stdout)
    assert {
        "id": "brevity/brevity",
        "kind": "reward",
        "summary": "shorter steps are better",
        "distribution": "trellis-brevity",
        "version": "1.0",
        "status": "ok",
    } in document["components"]
    assert {
        "name": "brevity",
        "distribution": "trellis-brevity",
        "version": "1.0",
        "module": "trellis_brevity",
        "status": "loaded",
        "components": ["brevity/brevity"],
    } in document["plugins"]
    assert {
        "plugin": "raises",
        "distribution": "trellis-raises",
        "version": "1.0",
        "phase": "import",
        "error": "RuntimeError: the licence server is asleep",
    } in document["failures"]


def test_list_and_doctor_do_their_work_even_where_failures_are_fatal(trellis):
    for command in ("list", "doctor"):
        trellis("plugins", command, TRELLIS_STRICT_PLUGINS="1")


def test_show_describes_a_component_and_where_its_code_stands(trellis):
    source = DISTRIBUTIONS / "good" / "trellis_brevity.py"
    line = source.read_text(encoding="utf-8").splitlines().index("class Brevity(RewardModel):") + 1
    text = trellis("plugins", "show", "brevity").stdout
    assert f"{source}:{line}" in text
    assert "per_character  float  = 0.01  What each character costs." in text
    document = json.loads(trellis("plugins", "show", "brevity", "--json").stdout)
    assert document["source"] == f"{source}:{line}"
    assert document["config"] == {
        "class": "trellis_brevity:BrevityConfig",
        "fields": [
            {
                "name": "per_character",
                "type": "float",
                "required": False,
                "default": 0.01,
                "description": "What each character costs.",
            }
        ],
    }


def test_an_error_is_a_message_and_a_traceback_only_if_asked_for(trellis):
    finished = trellis("plugins", "show", "raises/anything", code=1)
    assert finished.stderr.startswith("error: plugin 'raises' (trellis-raises 1.0) failed to load, phase import: ")
    assert "Traceback" not in finished.stderr
    finished = trellis("plugins", "show", "raises/anything", code=1, TRELLIS_TRACEBACK="1")
    assert "RuntimeError: the licence server is asleep" in finished.stderr
    assert "Traceback" in finished.stderr


def test_doctor_reports_the_environment_and_each_traceback(trellis):
    text = trellis("plugins", "doctor").stdout
    assert sys.executable in text
    assert 'raise RuntimeError("the licence server is asleep")' in text
    document = json.loads(trellis("plugins", "doctor", "--json").stdout)
    assert document["executable"] == sys.executable
    assert {
        "name": "brevity",
        "value": "trellis_brevity",
        "distribution": "trellis-brevity",
        "version": "1.0",
    } in document["entry_points"]
    assert set(BROKEN) <= {failure["plugin"] for failure in document["failures"]}
    assert all("Traceback" in failure["traceback"] for failure in document["failures"])


def test_disable_and_enable_import_no_plugin(trellis, tmp_path):
    imports_nothing = {"PYTHONVERBOSE": "1"}
    finished = trellis("plugins", "disable", "raises", **imports_nothing)
    assert finished.stdout == f"'raises' is disabled, as {tmp_path / 'plugins.json'} says\n"
    assert "trellis_raises" not in finished.stderr
    assert "trellis_brevity" not in finished.stderr
    document = json.loads(trellis("plugins", "list", "--json").stdout)
    assert "raises" not in {failure["plugin"] for failure in document["failures"]}
    assert {info["name"]: info["status"] for info in document["plugins"]}["raises"] == "disabled"
    finished = trellis("plugins", "enable", "raises", "--json", **imports_nothing)
    assert json.loads(finished.stdout) == {"disabled": [], "file": str(tmp_path / "plugins.json")}
    assert "trellis_raises" not in finished.stderr


def test_disable_and_enable_know_the_names(trellis):
    finished = trellis("plugins", "disable", "raise", code=1)
    assert finished.stderr.startswith("error: no plugin is named 'raise'; did you mean 'raises'? Valid: ")
    assert trellis("plugins", "enable", "raises", code=1).stderr == "error: 'raises' is not disabled\n"
    finished = trellis("plugins", "enable", "raises", code=1, TRELLIS_DISABLE_PLUGINS="raises")
    assert finished.stderr == "error: 'raises' is disabled by TRELLIS_DISABLE_PLUGINS: take it out of that variable\n"


def test_check_runs_the_conformance_kit(trellis):
    pytest.importorskip("trellis.testing")
    results = json.loads(trellis("plugins", "check", "brevity", "--json").stdout)
    assert results
    assert all(result["passed"] is not False for result in results)
    assert trellis("plugins", "check", "brevity").stdout.count("pass  ") == sum(r["passed"] is True for r in results)


def test_a_stale_editable_install_is_found(monkeypatch, tmp_path):
    folder = tmp_path / "site" / "trellis_stale-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: trellis-stale\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[trellis]\nold = trellis_old\nkept = trellis_kept\n")
    (folder / "direct_url.json").write_text(
        json.dumps({"url": (tmp_path / "source").as_uri(), "dir_info": {"editable": True}})
    )
    (tmp_path / "source").mkdir()
    pyproject = tmp_path / "source" / "pyproject.toml"
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    before = stale_installs()
    pyproject.write_text('[project.entry-points.trellis]\nnew = "trellis_new"\nkept = "trellis_kept"\n')
    (line,) = set(stale_installs()) - set(before)
    assert line == f"trellis-stale: new, old changed; pip install -e {pyproject.parent}"


@pytest.mark.parametrize("arguments", [["--help"], ["plugins", "--help"]])
def test_help_brings_in_nothing_heavy(trellis, arguments):
    imported = trellis(*arguments, PYTHONPROFILEIMPORTTIME="1").stderr
    for module in ("torch", "transformers", "numpy", "rich.console", "trellis_brevity"):
        assert f" {module}\n" not in imported


def test_version(trellis):
    assert trellis("--version").stdout.startswith("trellis 0.")
