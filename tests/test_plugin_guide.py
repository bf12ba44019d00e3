"""`docs/plugins.md`, done as it says: the files in it are built, installed and used."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from trellis.contracts import CONTRACTS
from trellis.hooks import HOOKS
from trellis.plugins import discover

GUIDE = (Path(__file__).parents[1] / "docs" / "plugins.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"`([\w.]+)`:\n\n```\w+\n(.*?)```", GUIDE, re.DOTALL))


@pytest.fixture
def project(tmp_path):
    """The folder the guide tells a reader to make."""
    assert FILES.keys() == {"trellis_brevity.py", "pyproject.toml"}
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_the_distribution_of_the_guide_is_installed_listed_and_built(project):
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel"], cwd=project, check=True, timeout=60)
    (wheel,) = project.glob("dist/*.whl")
    zipfile.ZipFile(wheel).extractall(project / "site")
    program = (
        "import sys, trellis; from trellis.cli import app;"
        "print(trellis.build('brevity', {'per_character': 0.02}).config.per_character);"
        "app(['plugins', 'list'])"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(project / "site")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    printed = finished.stdout.splitlines()
    assert printed[0] == "0.02", finished.stderr
    assert [" ".join(line.split()) for line in printed if "trellis-brevity" in line] == [
        "brevity/brevity shorter steps are better trellis-brevity 1.0 ok"
    ]


def test_the_single_file_of_the_guide_is_a_local_plugin(project):
    found = discover(local_plugins=[project / "trellis_brevity.py"])
    assert found.find("trellis_brevity/brevity").build({}, {}).config.per_character == 0.01


def test_the_guide_names_every_hook_with_its_kind_and_contract():
    rows = set(re.findall(r"^\| `(\w+)` \| (\w+) \| `(\w+)` \|$", GUIDE, re.MULTILINE))
    assert rows == {(hook, kind, CONTRACTS[kind].__name__) for hook, kind in HOOKS.items()}
