"""What docs/policies.md shows runs as it stands there."""

import re
from pathlib import Path

PAGE = (Path(__file__).parents[1] / "docs" / "policies.md").read_text(encoding="utf-8")


def test_the_example_of_a_grammar_runs():
    (program,) = re.findall(r"<!-- policies: grammar -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    names = {}
    exec(program, names)
    whole = [one.text for one in names["completions"] if one.finish == "end"]
    assert whole
    assert all(re.fullmatch(r"\d+ \+ \d+\n", text) for text in whole)
    assert all(re.fullmatch(r"[\d +\n]*", one.text) for one in names["completions"])
