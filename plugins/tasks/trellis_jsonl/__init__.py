r"""A user's own problems, from JSONL files: one JSON object per line.

`{"question": "…", "answer": "… #### 72"}` is read by `{use: jsonl/jsonl, with: {train: train.jsonl, test: test.jsonl}}`,
after `pip install 'trellis[math]'`. For files like MATH's, `{question: problem, answer: solution, answer_style: math}`
names the fields and reads the last \boxed{…}; a field named by `solution`, one text or a list of texts, gives traces.
"""

from collections.abc import Iterable

from trellis import Component, hookimpl
from trellis_jsonl.config import JsonlConfig


@hookimpl
def trellis_tasks() -> Iterable[Component]:
    """Return the task of this plugin."""
    yield Component(
        "jsonl",
        "questions, answers and solutions from your JSONL files; GSM8K's and MATH's forms are known",
        JsonlConfig,
        "trellis_jsonl.task:Jsonl",
        capabilities=frozenset({"traces"}),
        extra="math",
    )
