"""Trellis: train a language-model policy and a step-level reward together, and let that reward steer search."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from trellis.contracts import (
    DatabaseBackend,
    Embedder,
    Execution,
    Executor,
    Extend,
    Finding,
    HintedStatement,
    ItemResult,
    LearnedReward,
    Match,
    Neighbour,
    Policy,
    PolicyOptimizer,
    PromptBuilder,
    Proposal,
    Proposer,
    Record,
    RecordedQuery,
    RetrievalStore,
    RewardModel,
    Score,
    SearchAlgorithm,
    SearchProcess,
    Situation,
    Stage,
    StageContext,
    StageStep,
    State,
    Task,
    TrainablePolicy,
    Tried,
)
from trellis.errors import TrellisError
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
    from trellis.component import Component, Config, Kind, Need
    from trellis.hooks import hookimpl
    from trellis.measuring.measure import measure
    from trellis.plugins import build
    from trellis.run.evaluate import evaluate
    from trellis.run.pipeline import Run, run_pipeline
    from trellis.spec import load_pipeline

_LAZY = {
    "Component": "trellis.component",
    "Config": "trellis.component",
    "Kind": "trellis.component",
    "Need": "trellis.component",
    "Run": "trellis.run.pipeline",
    "build": "trellis.plugins",
    "evaluate": "trellis.run.evaluate",
    "hookimpl": "trellis.hooks",
    "load_pipeline": "trellis.spec",
    "measure": "trellis.measuring.measure",
    "run_pipeline": "trellis.run.pipeline",
}

__all__ = [
    "Budget",
    "Candidate",
    "Completion",
    "Component",
    "Config",
    "DatabaseBackend",
    "Embedder",
    "Execution",
    "Executor",
    "Extend",
    "Finding",
    "HintedStatement",
    "ItemResult",
    "Kind",
    "LearnedReward",
    "Match",
    "Need",
    "Neighbour",
    "Outcome",
    "Policy",
    "PolicyOptimizer",
    "Problem",
    "PromptBuilder",
    "Proposal",
    "Proposer",
    "Record",
    "RecordedQuery",
    "RetrievalStore",
    "RewardModel",
    "Rollout",
    "Run",
    "SampleRequest",
    "Score",
    "SearchAlgorithm",
    "SearchProcess",
    "SearchResult",
    "Situation",
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
    "Tried",
    "build",
    "evaluate",
    "hookimpl",
    "load_pipeline",
    "measure",
    "run_pipeline",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import what brings pydantic, pluggy or the upper floors when it is first used."""
    if name not in _LAZY:
        raise AttributeError(f"module 'trellis' has no attribute '{name}'")
    value = globals()[name] = getattr(importlib.import_module(_LAZY[name]), name)
    return value
