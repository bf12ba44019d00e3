"""The documents say what is so."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")])


def generated():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.documents()


@pytest.mark.parametrize("name", ["components.md", "results.schema.json"])
def test_generated_documents_are_current(name):
    message = "run `make docs`"
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == generated()[name], message


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_the_map_names_what_is_there():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawn = text.split("## The map")[1].split("```")[1]
    for path in sorted((ROOT / "framework" / "trellis").iterdir()):
        name = path.name + ("/" if path.is_dir() else "")
        if path.suffix in {".py", ""} and not path.name.startswith("_") and path.name != "py.typed":
            assert name in drawn, f"docs/architecture.md does not show {name}"


def test_every_pipeline_that_ships_is_right():
    from trellis import load_pipeline

    for path in (ROOT / "pipelines").glob("*.yaml"):
        load_pipeline(path)
