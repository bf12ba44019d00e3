"""Monte-Carlo tree search over steps, steered by a reward."""

from collections.abc import Iterable

from trellis.component import Component
from trellis.hooks import hookimpl
from trellis_mcts.config import MctsConfig


@hookimpl
def trellis_search_algorithms() -> Iterable[Component]:
    """Return the search."""
    yield Component(
        "mcts",
        "grows a tree of steps where reward and visits promise most (PUCT)",
        MctsConfig,
        f"{__name__}.mcts:Mcts",
        capabilities=frozenset({"sampling", "reward"}),
    )
