"""Trellis: train a language-model policy and a step-level reward together, and let that reward steer search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trellis.component import Component, Config, Kind, Need, load
from trellis.contracts import (
    DatabaseBackend,
    Execution,
    Executor,
    Extend,
    ItemResult,
    LearnedReward,
    Match,
    Policy,
    PolicyOptimizer,
    PromptBuilder,
    Record,
    RetrievalStore,
    RewardModel,
    Score,
    SearchAlgorithm,
    SearchProcess,
    Stage,
    StageContext,
    StageStep,
    State,
    Task,
    TrainablePolicy,
)
from trellis.errors import TrellisError
from trellis.hooks import hookimpl
from trellis.types import (
    Budget,
    Candidate,
    Completion,
    Outcome,
    Problem,
    Rollout,
    SampleRequest,
    SearchResult,
    Step,
    TrainStep,
    Trajectory,
)

if TYPE_CHECKING:
    from trellis.plugins import build
    from trellis.run.evaluate import evaluate
    from trellis.run.pipeline import Run, run_pipeline
    from trellis.spec import load_pipeline

_LAZY = {
    "Run": "trellis.run.pipeline:Run",
    "build": "trellis.plugins:build",
    "evaluate": "trellis.run.evaluate:evaluate",
    "load_pipeline": "trellis.spec:load_pipeline",
    "run_pipeline": "trellis.run.pipeline:run_pipeline",
}

__all__ = [
    "Budget",
    "Candidate",
    "Completion",
    "Component",
    "Config",
    "DatabaseBackend",
    "Execution",
    "Executor",
    "Extend",
    "ItemResult",
    "Kind",
    "LearnedReward",
    "Match",
    "Need",
    "Outcome",
    "Policy",
    "PolicyOptimizer",
    "Problem",
    "PromptBuilder",
    "Record",
    "RetrievalStore",
    "RewardModel",
    "Rollout",
    "Run",
    "SampleRequest",
    "Score",
    "SearchAlgorithm",
    "SearchProcess",
    "SearchResult",
    "Stage",
    "StageContext",
    "StageStep",
    "State",
    "Step",
    "Task",
    "TrainStep",
    "TrainablePolicy",
    "Trajectory",
    "TrellisError",
    "build",
    "evaluate",
    "hookimpl",
    "load_pipeline",
    "run_pipeline",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import the parts that stand above the contracts when they are first used."""
    if name in _LAZY:
        return load(_LAZY[name])
    raise AttributeError(f"module 'trellis' has no attribute '{name}'")
