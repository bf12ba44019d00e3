r"""Reads and compares mathematical answers with math-verify; runs in a process of its own.

math-verify's time limits are signals, which only reach a main thread, and only between two instructions of Python. In a
sidecar this file is on the main thread whatever thread asks, and what no signal stops is ended from outside.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any, Literal

from latex2sympy2_extended.math_normalization import extract_boxed_content
from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify
from sympy import Float, Number, Rational

from trellis.types import JSON

# Every answer that takes too long would be a line of a run's output.
logging.getLogger("math_verify").setLevel(logging.ERROR)

_CONFIGS = (LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig())
_SECONDS = 2


def handle(request: dict[str, Any]) -> JSON:
    """Answer a request of the task.

    Args:
        request: `{"style": "gsm8k" or "math", "text": …}`, and `"gold"` where the text is to be judged against it.

    Returns:
        Without `gold`, the final answer in normal form, or None; with it, `[equal, the answer as written or None]`.
    """
    style, text = request["style"], request["text"]
    written = final_answer(text, style)
    if "gold" not in request:
        return normal_form(written, style) if written else None
    gold = final_answer(request["gold"], style) or request["gold"]
    return [written is not None and _equal(_parsed(gold, style), _parsed(written, style)), written]


def _equal(gold: list[Any], answer: list[Any]) -> bool:
    return bool(gold and answer) and verify(gold, answer, timeout_seconds=_SECONDS)


def final_answer(text: str, style: Literal["gsm8k", "math"]) -> str | None:
    r"""Return the final answer as it is written: the line after the last '####', or what is in the last \boxed{…}."""
    if style == "gsm8k":
        _, mark, after = text.rpartition("####")
        return after.strip().partition("\n")[0].strip() or None if mark else None
    if "\\boxed" not in text and "\\fbox" not in text:
        return None
    return extract_boxed_content(text, mode="last").strip() or None


def normal_form(written: str, style: Literal["gsm8k", "math"]) -> str:
    r"""Return equal answers as equal strings, as far as sympy knows them to be: 0.50 and \frac{1}{2} are "1/2"."""
    parsed = _parsed(written, style)
    if not parsed:
        return " ".join(written.split())
    expression = parsed[0]
    if isinstance(expression, Float):
        return str(Rational(str(expression)))
    try:
        evaluated = expression.doit()
        return str(evaluated if isinstance(evaluated, Number) else expression)
    except Exception:
        return str(expression)


@lru_cache(maxsize=1 << 14)
def _parsed(written: str, style: Literal["gsm8k", "math"]) -> list[Any]:
    r"""Return what math-verify reads: the expression and its text; empty where it reads nothing.

    What stood in a box is boxed again: there math-verify takes all of it. After '####' it looks for the number.
    """
    text = f"\\boxed{{{written}}}" if style == "math" else written
    return list(parse(text, _CONFIGS, parsing_timeout=_SECONDS))
