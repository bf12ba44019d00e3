"""Program synthesis from examples, with exact verifiers and exact step oracles."""

from collections.abc import Iterable

from trellis import Component, hookimpl
from trellis_code.config import ListProgramConfig, StringProgramConfig

_EXACT = frozenset({"traces", "step-oracle", "legal-steps", "parse"})


@hookimpl
def trellis_tasks() -> Iterable[Component]:
    """Return the tasks of this plugin."""
    yield Component(
        "list-program",
        "write a program that makes of each list the one shown beside it",
        ListProgramConfig,
        "trellis_code.lists:ListProgram",
        capabilities=_EXACT,
    )
    yield Component(
        "string-program",
        "write a program that makes of each word the one shown beside it",
        StringProgramConfig,
        "trellis_code.strings:StringProgram",
        capabilities=_EXACT,
    )
