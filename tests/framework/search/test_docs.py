import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "search.md"


def test_the_page_s_examples_run_from_top_to_bottom():
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == 4
    exec(compile("\n".join(blocks), str(PAGE), "exec"), {"__name__": "docs_search"})
