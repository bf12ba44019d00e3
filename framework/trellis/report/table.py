"""The table of an evaluation: policy x search x reward → accuracy."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from trellis.run.results import Row


def results_table(title: str, rows: Sequence[Row]) -> Table:
    """Return a table with one line per row, the best accuracy of each policy in bold."""
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False, collapse_padding=True)
    for name in ("policy", "search", "reward", "aggregate"):
        table.add_column(name, no_wrap=True)
    # On two lines the whole table fits into 80 columns.
    for name in ("accuracy\n± 95% CI", "tokens/\nproblem", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    best = {row.policy: max(r.accuracy for r in rows if r.policy == row.policy) for row in rows}
    for place, row in enumerate(rows):
        low, high = row.ci95
        new_policy = place > 0 and rows[place - 1].policy != row.policy
        if new_policy:
            table.add_section()
        table.add_row(
            row.policy,
            row.search,
            row.reward or "-",
            row.aggregate or "-",
            f"{row.accuracy:.3f} ± {(high - low) / 2:.3f}",
            f"{row.tokens_per_problem:.0f}",
            f"{row.seconds:.1f}",
            style="bold" if row.accuracy == best[row.policy] else None,
        )
    return table
