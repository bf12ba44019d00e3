"""One distribution holds the framework and every plugin: folders, `pyproject.toml`, metadata and wheel agree."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ENTRY_POINTS: dict[str, str] = PYPROJECT["project"]["entry-points"]["trellis"]
FOLDERS = sorted(path.name for path in ROOT.glob("plugins/*/trellis_*") if path.is_dir())


def test_every_plugin_folder_has_an_entry_point_and_every_entry_point_a_folder():
    modules = sorted(module for module in ENTRY_POINTS.values() if module != "trellis.builtin")
    assert modules == FOLDERS, "[project.entry-points.trellis] in pyproject.toml and plugins/*/trellis_* must agree"


def test_the_installed_metadata_has_the_entry_points_of_pyproject():
    points = importlib.metadata.distribution("trellis").entry_points.select(group="trellis")
    assert {point.name: point.value for point in points} == ENTRY_POINTS, "run `pip install -e .` again"


def test_every_kind_of_plugin_is_known_to_the_build():
    kinds = {f"plugins/{path.parent.name}" for path in ROOT.glob("plugins/*/trellis_*")}
    build = PYPROJECT["tool"]["hatch"]["build"]
    for setting in (
        build["dev-mode-dirs"],
        build["targets"]["wheel"]["sources"],
        PYPROJECT["tool"]["mypy"]["mypy_path"],
    ):
        assert kinds | {"framework"} <= set(setting)


def test_the_wheel_holds_the_packages_and_nothing_else(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=120,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names} - {f"trellis-{PYPROJECT['project']['version']}.dist-info"}
    assert tops == {"trellis", *FOLDERS}
    assert {f"{top}/py.typed" for top in tops} <= set(names)
    assert not [name for name in names if "test" in Path(name).name.partition("_")[0] or "__pycache__" in name]
