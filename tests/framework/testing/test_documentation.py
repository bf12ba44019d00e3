from pathlib import Path

from trellis.testing.__main__ import table

DOCUMENT = Path(__file__).parents[3] / "docs" / "conformance.md"


def test_the_document_lists_the_checks_as_they_are():
    _, _, listed = DOCUMENT.read_text().partition("## The checks\n\n")
    assert listed == table(), "run `python -m trellis.testing` and put its output under 'The checks'"
