"""Writes RANKING.md from results/ranking.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FINDINGS = Path(__file__).parent / "results" / "ranking_findings.md"
"""What was found out on the way, written by hand; kept apart from the tables, which are made anew."""


def report(result: Mapping[str, Any], *, methods: Mapping[str, str], batches: str, protocol: str) -> str:
    """Return RANKING.md.

    Args:
        result: What was measured.
        methods: What each method is, in the order of the tables.
        batches: How large they were, in words.
        protocol: How it was measured, in words.
    """
    parts = [
        "# Which reward puts plans in the right order before any of them runs",
        _setting(result["settings"], result["training"], batches),
    ]
    for name, found in result["sets"].items():
        parts += [f"## {name.capitalize()}: {found['queries']} queries", _table(found, methods), _against(found)]
    parts += ["## What the methods are", "\n".join(f"- **{name}**: {text}" for name, text in methods.items())]
    parts += [FINDINGS.read_text(encoding="utf-8").strip(), "## How", protocol]
    return "\n\n".join(parts) + "\n"


def _setting(settings: Mapping[str, str], training: Mapping[str, int], batches: str) -> str:
    return (
        "`python benchmarks/sql/ranking.py --measure` once, then `python benchmarks/sql/ranking.py`: "
        f"{training['queries']} training queries with {training['plans']} measured plans, scale {settings['scale']}, "
        f"{settings['updates']} updates of a network of {settings['layers']} layers and width {settings['width']}, "
        f"{batches}. In brackets 95% intervals of resampled queries (a query's value is the mean over seeds)."
    )


def _table(found: Mapping[str, Any], methods: Mapping[str, str]) -> str:
    lines = [
        "| method | Spearman within a query | by seed | speed-up, 1 executed | 2 executed | 4 executed | first, unguarded |",
        "|---|---|---|---|---|---|---|",
    ]
    for method in [*(m for m in methods if m in found["methods"]), "oracle"]:
        row = found["methods"][method]
        seeds = ", ".join(f"{value:.2f}" for value in found["seeds"].get(method, ()))
        cells = [_cell(row[key]) for key in ("spearman", "top 1", "top 2", "top 4", "first")]
        lines.append(f"| {method} | {cells[0]} | {seeds} | {' | '.join(cells[1:])} |")
    return "\n".join(lines)


def _against(found: Mapping[str, Any]) -> str:
    lines = [
        "AIRL on words against the others, the same queries: difference of correlations, ratio of speed-ups.",
        "",
        "| against | Spearman | 1 executed | 2 executed | 4 executed |",
        "|---|---|---|---|---|",
    ]
    for method, row in found["airl against"].items():
        cells = [_cell(row[key]) for key in ("spearman", "top 1", "top 2", "top 4")]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(values: Sequence[float]) -> str:
    return f"{values[0]:.2f} [{values[1]:.2f}, {values[2]:.2f}]"
