"""Work on a Ray cluster: of this machine's own, or of many machines.

`{use: ray}` starts a cluster on this machine; `{use: ray, with: {address: auto}}` takes the one that `ray start` began, after
`pip install 'trellis[ray]'` on every machine.
"""

from collections.abc import Iterable

from trellis import Component, hookimpl
from trellis_ray.config import RayConfig


@hookimpl
def trellis_executors() -> Iterable[Component]:
    """Return the executor of this plugin."""
    yield Component(
        name="ray",
        summary="several items at a time on a Ray cluster's workers",
        config=RayConfig,
        factory="trellis_ray.executor:RayExecutor",
        capabilities=frozenset({"processes", "timeout"}),
        extra="ray",
        modules=("ray",),
    )
