"""The tables of a run's results: policy x search x reward → accuracy, and what `assess` measured."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from trellis.run.results import PolicyRow, RewardRow, Row


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


def policies_table(title: str, rows: Sequence[PolicyRow]) -> Table:
    """Return a table with one line per policy: pass@k with half of its 95% interval."""
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False, collapse_padding=True)
    table.add_column("policy", no_wrap=True)
    ks = sorted({of.k for row in rows for of in row.pass_at_k})
    for name in (*(f"pass@{k}\n± 95% CI" for k in ks), "tokens/\nrollout"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        found = {of.k: f"{of.value:.3f}\n± {(of.ci95[1] - of.ci95[0]) / 2:.3f}" for of in row.pass_at_k}
        table.add_row(row.policy, *(found.get(k, "-") for k in ks), f"{row.tokens_per_rollout:.0f}")
    return table


def rewards_table(title: str, rows: Sequence[RewardRow]) -> Table:
    """Return a table with one line per reward."""
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False, collapse_padding=True)
    table.add_column("reward", no_wrap=True)
    for name in ("AUC", "step\nAUC", "… within\nproblem", "Spearman", "ECE", "Brier", "best\nof n", "gain\n(95% CI)"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        values = (row.auc, row.step_auc, row.step_auc_within, row.spearman, row.ece, row.brier, row.selected)
        low, high = row.gain_ci95
        shown = ("-" if value is None else f"{value:.3f}" for value in values)
        table.add_row(row.reward, *shown, f"{row.gain:+.3f}\n({low:+.3f}, {high:+.3f})")
    return table
