"""Configuration of the Ray executor."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from trellis import Config


class RayConfig(Config):
    """Which cluster, and what a worker takes of it."""

    address: str | None = None
    """The cluster: "auto" finds the one that this machine belongs to, "host:port" names its head. Left out, a cluster of this
    machine alone is started, and ended with the run."""
    workers: Annotated[int, Field(ge=1)] | None = None
    """Workers at a time; left out, as many as the cluster has room for when work begins."""
    cpus: float = Field(default=1.0, ge=0)
    """CPUs that each worker takes."""
    gpus: float = Field(default=0.0, ge=0)
    """GPUs that each worker takes: 1 where its policy is to run on one, 0.5 where two workers share one."""
    resources: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """What else it takes, by the names that the machines were started with (`ray start --resources`): e.g. `{database: 1}`
    where one worker at a time may measure on a machine."""
    lost_workers: int = Field(default=2, ge=0)
    """An item whose worker was lost, with its machine or out of memory, is given to another one so many times; this counts as
    no failure of the item."""
