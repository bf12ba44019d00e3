"""Where the final answer stands in a text."""

from __future__ import annotations

from reasoning_gym.utils import extract_answer


def read_answer(text: str, prefix: str | None) -> str | None:
    """Return the final answer in a text, stripped; None where there is none.

    With a prefix, all that follows its last occurrence. Without, what the library's own `extract_answer` finds, the last
    <answer>…</answer>; where there is none, the last line that is not empty.
    """
    if prefix is not None:
        _, found, answer = text.rpartition(prefix)
        return answer.strip() or None if found else None
    answer = extract_answer(text)
    if answer is None:
        answer = text.rstrip().rpartition("\n")[2].strip()
    return answer or None


def write_answer(answer: str, prefix: str | None) -> str:
    """Return the text from which `read_answer` reads this answer."""
    return f"<answer>{answer}</answer>" if prefix is None else prefix + answer
