"""What ships with the framework itself: the stages and the executors, through the same door as any plugin."""

from __future__ import annotations

from collections.abc import Iterable

from trellis.component import Component, Need
from trellis.hooks import hookimpl
from trellis.run.executor_config import LocalConfig, ProcessesConfig
from trellis.run.stages.config import (
    AssessConfig,
    EvaluateConfig,
    EvolveConfig,
    FitRewardConfig,
    SampleConfig,
    TrainConfig,
)

_TRAINABLE = Need("policy", capabilities=frozenset({"trainable"}))
_EXECUTOR = Need("executor", optional=True)


@hookimpl
def trellis_stages() -> Iterable[Component]:
    """Return the stages."""
    yield Component(
        name="train",
        summary="runs a policy optimizer, and updates a learned reward beside it",
        config=TrainConfig,
        factory="trellis.run.stages.train:Train",
        needs={
            "optimizer": Need("optimizer"),
            "policy": _TRAINABLE,
            "task": Need("task"),
            "reward": Need("reward", optional=True),
        },
    )
    yield Component(
        name="sample",
        summary="stores rollouts of the policy as it is for later stages",
        config=SampleConfig,
        factory="trellis.run.stages.sample:Sample",
        needs={"policy": Need("policy"), "task": Need("task"), "executor": _EXECUTOR},
    )
    yield Component(
        name="fit-reward",
        summary="fits a learned reward anew on the rollouts that earlier stages stored",
        config=FitRewardConfig,
        factory="trellis.run.stages.fit_reward:FitReward",
        needs={
            "reward": Need("reward", capabilities=frozenset({"learned"})),
            "policy": Need("policy"),
            "task": Need("task"),
        },
    )
    yield Component(
        name="assess",
        summary="measures the policy and rewards on the same rollouts, without any search",
        config=AssessConfig,
        factory="trellis.run.stages.assess:Assess",
        needs={
            "policy": Need("policy"),
            "task": Need("task"),
            "reward": Need("reward", optional=True, many=True),
            "executor": _EXECUTOR,
        },
    )
    yield Component(
        name="evolve",
        summary="explores a workload's queries under plan hints, and decides which are served",
        config=EvolveConfig,
        factory="trellis.run.stages.evolve:Evolve",
        needs={
            "task": Need("task"),
            "database": Need("database"),
            "proposer": Need("proposer"),
            "store": Need("store", optional=True, entails={"exact": "embedder", "persistent": "embedder"}),
            "embedder": Need("embedder", optional=True),
            "reward": Need("reward", optional=True),
            "policy": Need("policy", optional=True),
        },
    )
    yield Component(
        name="evaluate",
        summary="measures searches and rewards on the same problems at the same budget",
        config=EvaluateConfig,
        factory="trellis.run.stages.evaluate:Evaluate",
        needs={
            "policy": Need("policy"),
            "task": Need("task"),
            "searches": Need("search", many=True, entails={"reward": "reward"}),
            "reward": Need("reward", optional=True, many=True),
            "executor": _EXECUTOR,
        },
    )


@hookimpl
def trellis_executors() -> Iterable[Component]:
    """Return the executors."""
    yield Component(
        name="local",
        summary="one item after another in this process",
        config=LocalConfig,
        factory="trellis.run.executors:Local",
    )
    yield Component(
        name="processes",
        summary="several items at a time in worker processes",
        config=ProcessesConfig,
        factory="trellis.run.executors:Processes",
        capabilities=frozenset({"processes", "timeout"}),
    )
