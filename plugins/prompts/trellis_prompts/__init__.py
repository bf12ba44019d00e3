from collections.abc import Iterable

from trellis import Component, hookimpl


@hookimpl
def trellis_prompt_builders() -> Iterable[Component]:
    return ()
