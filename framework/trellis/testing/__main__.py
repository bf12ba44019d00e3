"""`python -m trellis.testing` prints the table of checks, as it stands in `docs/conformance.md`."""

from __future__ import annotations

import sys

from trellis.component import KINDS
from trellis.testing.check import Check
from trellis.testing.checks import ALL


def table() -> str:
    """Return the checks as Markdown, a heading and a table for each kind that has some."""
    parts = []
    for kind in (None, *KINDS):
        found = [check for check in ALL if check.kind == kind]
        if found:
            head = f"### {kind.capitalize() if kind else 'Every kind'}\n\n| Check | Applies to | Why |\n|---|---|---|\n"
            parts.append(head + "".join(map(_row, found)))
    return "\n".join(parts)


def _row(check: Check) -> str:
    applies = ", ".join(f'"{name}"' for name in sorted(check.requires)) or "all"
    return f"| `{check.id}` | {applies} | {check.why} |\n"


if __name__ == "__main__":
    sys.stdout.write(table())
