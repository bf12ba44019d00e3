"""The walls: who may import whom, read from the source.

The framework imports no plugin. A plugin imports the floors of `trellis` up to `trellis` itself, and no other plugin.
Inside the framework an import only ever runs down; one under `if TYPE_CHECKING` may run up, but crosses no wall.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
FRAMEWORK = ROOT / "framework" / "trellis"
PLUGINS = [path for path in sorted(ROOT.glob("plugins/*/*")) if path.is_dir() and path.name != "__pycache__"]
FLOORS = (
    {"errors", "seeds", "types"},
    {"component", "distributed", "records", "sidecar", "sql"},
    {"contracts", "hooks", "nn"},
    {"trellis", "fitting", "measuring", "memory", "procedural", "sampling"},
    {"exploring", "plugins", "search"},
    {"connecting", "spec"},
    {"run"},
    {"builtin", "report", "scaffold", "testing"},
    {"cli"},
    {"__main__"},
)
"""The parts of the framework from the ground up; `trellis` is its `__init__`, which brings in the contracts alone."""
FLOOR = {part: number for number, parts in enumerate(FLOORS) for part in parts}


class Import(NamedTuple):
    """What a line imports: `trellis.spec` for `from trellis import spec`, `trellis` for `from trellis import Step`."""

    module: str
    line: int
    typing_only: bool

    @property
    def package(self) -> str:
        return self.module.partition(".")[0]

    @property
    def part(self) -> str:
        """The part of the framework it belongs to."""
        return self.module.split(".")[1] if "." in self.module else self.module


class Reader(ast.NodeVisitor):
    """Collects the imports of one file, those inside functions included."""

    def __init__(self) -> None:
        self.imports: list[Import] = []
        self.typing_only = False

    def visit_If(self, node: ast.If) -> None:
        outer, self.typing_only = self.typing_only, self.typing_only or ast.unparse(node.test).endswith("TYPE_CHECKING")
        for statement in node.body:
            self.visit(statement)
        self.typing_only = outer
        for statement in node.orelse:
            self.visit(statement)

    def visit_Import(self, node: ast.Import) -> None:
        self.imports += [Import(alias.name, node.lineno, self.typing_only) for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        assert node.level == 0, f"line {node.lineno}: write the import in full, from trellis…"
        for alias in node.names:
            submodule = node.module == "trellis" and {alias.name, f"{alias.name}.py"} & {
                p.name for p in FRAMEWORK.iterdir()
            }
            self.imports.append(
                Import(f"trellis.{alias.name}" if submodule else str(node.module), node.lineno, self.typing_only)
            )


def imports(file: Path) -> list[Import]:
    reader = Reader()
    reader.visit(ast.parse(file.read_text(encoding="utf-8"), str(file)))
    return reader.imports


def broken_framework_walls(file: Path, part: str) -> list[str]:
    faults = []
    for each in imports(file):
        if each.package.startswith("trellis_"):
            faults.append(f"{file}:{each.line}: the framework imports the plugin {each.package}")
        elif (
            each.package == "trellis" and each.part != part and not each.typing_only and FLOOR[each.part] >= FLOOR[part]
        ):
            faults.append(f"{file}:{each.line}: {part} imports {each.part}, which does not stand below it")
    return faults


def broken_plugin_walls(file: Path, package: str) -> list[str]:
    faults = []
    for each in imports(file):
        if each.package.startswith("trellis_") and each.package != package:
            faults.append(f"{file}:{each.line}: {package} imports the plugin {each.package}")
        elif each.package == "trellis" and FLOOR[each.part] > FLOOR["trellis"]:
            faults.append(f"{file}:{each.line}: {package} imports {each.module}, which stands above the contracts")
    return faults


def part_of(file: Path) -> str:
    first = file.relative_to(FRAMEWORK).parts[0]
    return "trellis" if first == "__init__.py" else first.removesuffix(".py")


@pytest.mark.parametrize("part", sorted({part_of(file) for file in FRAMEWORK.rglob("*.py")}))
def test_an_import_in_the_framework_runs_down(part):
    assert part in FLOOR, f"give trellis.{part} its floor in {__file__}"
    files = [file for file in FRAMEWORK.rglob("*.py") if part_of(file) == part]
    assert [fault for file in files for fault in broken_framework_walls(file, part)] == []


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_a_plugin_stands_on_the_contracts_alone(plugin):
    assert [fault for file in plugin.rglob("*.py") for fault in broken_plugin_walls(file, plugin.name)] == []


def test_no_files_import_each_other_in_a_circle():
    """Imports for types alone count within a package: what needs another file's types in return is one file, or three."""
    files = {module_of(file): file for root in (FRAMEWORK, *PLUGINS) for file in root.rglob("*.py")}
    below: dict[str, set[str]] = {
        name: {
            each.module
            for each in imports(file)
            if each.module in files
            and each.module != name
            and files[each.module].name != "__init__.py"
            and (not each.typing_only or files[each.module].parent == file.parent)
        }
        for name, file in files.items()
    }
    # `Pipeline.from_dict` is how a library's user makes one: it reads as a constructor, and calls what checks documents.
    below["trellis.spec.pipeline"].remove("trellis.spec.resolve")
    while bottom := [name for name, others in below.items() if not others]:
        for name in bottom:
            del below[name]
        for others in below.values():
            others.difference_update(bottom)
    # What is left is in a circle, or stands on one.
    above = {name for name in below if not any(name in others for others in below.values())}
    assert sorted(below.keys() - above) == []


def module_of(file: Path) -> str:
    root = (
        FRAMEWORK.parent
        if file.is_relative_to(FRAMEWORK)
        else next(p.parent for p in PLUGINS if file.is_relative_to(p))
    )
    return ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def test_every_package_is_typed_and_the_folders_above_are_no_packages():
    assert [str(package) for package in (FRAMEWORK, *PLUGINS) if not (package / "py.typed").is_file()] == []
    above = [ROOT / "framework", ROOT / "plugins", *(ROOT / "plugins").glob("*/")]
    assert [str(folder) for folder in above if (folder / "__init__.py").exists()] == []
    assert [str(package) for package in PLUGINS if not package.name.startswith("trellis_")] == []


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("from trellis_airl import AirlReward", "the framework imports the plugin trellis_airl"),
        ("def f():\n    import trellis_airl.reward", "the framework imports the plugin trellis_airl"),
        ("if TYPE_CHECKING:\n    import trellis_airl", "the framework imports the plugin trellis_airl"),
        ("import trellis.cli.output", "spec imports cli, which does not stand below it"),
        ("from trellis import cli", "spec imports cli, which does not stand below it"),
        (
            "if TYPE_CHECKING:\n    pass\nelse:\n    import trellis.cli",
            "spec imports cli, which does not stand below it",
        ),
    ],
)
def test_a_hole_in_the_framework_is_seen(line, fault, tmp_path):
    (tmp_path / "hole.py").write_text(line)
    assert [each.partition(": ")[2] for each in broken_framework_walls(tmp_path / "hole.py", "spec")] == [fault]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("from trellis_grpo.loss import policy_loss", "trellis_airl imports the plugin trellis_grpo"),
        ("from trellis.plugins import build", "trellis_airl imports trellis.plugins, which stands above the contracts"),
    ],
)
def test_a_hole_between_plugins_is_seen(line, fault, tmp_path):
    (tmp_path / "hole.py").write_text(line)
    assert [each.partition(": ")[2] for each in broken_plugin_walls(tmp_path / "hole.py", "trellis_airl")] == [fault]


def test_what_may_be_imported_is_let_through(tmp_path):
    (tmp_path / "framework.py").write_text(
        "import torch\nfrom trellis import Step, errors\nfrom trellis.spec.model import Pipeline\n"
        "if TYPE_CHECKING:\n    from trellis.cli import main\n"
    )
    assert broken_framework_walls(tmp_path / "framework.py", "spec") == []
    (tmp_path / "plugin.py").write_text("from trellis import Step\nfrom trellis.nn import pad\nimport trellis_airl.net")
    assert broken_plugin_walls(tmp_path / "plugin.py", "trellis_airl") == []
