"""Small real collaborators for components under check, made without any plugin.

    Successor   a task: the successor of each digit, one per line
    Table       a policy without torch: a table of exact probabilities
    Tiny        a trainable policy: a recurrent network over characters
    Dice        a proposer: random join orders
    Counts      a learned reward: how much more often a step stands in traces than in rollouts

Each is a complete component in few lines, and passes the kit itself.
"""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING

from trellis.component import Kind
from trellis.testing.material.counts import Counts, CountsConfig
from trellis.testing.material.dice import Dice, DiceConfig
from trellis.testing.material.successor import Successor, SuccessorConfig
from trellis.testing.material.table import Table, TableConfig

if TYPE_CHECKING:
    from trellis.contracts import TrainablePolicy

__all__ = [
    "Counts",
    "CountsConfig",
    "Dice",
    "DiceConfig",
    "Successor",
    "SuccessorConfig",
    "Table",
    "TableConfig",
    "material",
    "practised",
    "trainable",
]


def material(kind: Kind, capabilities: Set[str] = frozenset()) -> object | None:
    """Return a fresh component of a kind, with these capabilities; None where the kit has none."""
    if kind == "policy" and "trainable" in capabilities:
        return trainable()
    if kind == "policy" and capabilities & {"choices", "grammar"}:
        # Those who say what may be written want other texts than digits, and the kit's policies know nothing else.
        return None
    match kind:
        case "task":
            return Successor(SuccessorConfig())
        case "policy":
            return Table(TableConfig())
        case "reward":
            return Counts(CountsConfig())
        case "proposer":
            return Dice(DiceConfig())
    return None


def trainable() -> TrainablePolicy:
    """Return a fresh trainable policy; imports torch."""
    from trellis.testing.material.tiny import Tiny, TinyConfig

    return Tiny(TinyConfig())


def practised() -> TrainablePolicy:
    """Return a fresh trainable policy that solves some of `Successor`'s problems; imports torch."""
    from trellis.testing.material.tiny import practised_weights

    policy = trainable()
    policy.module.load_state_dict(practised_weights())
    return policy
