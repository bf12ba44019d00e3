"""The contracts: one abstract interface per file, the pages a plugin author reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trellis.contracts.aggregation import Aggregate, aggregate
from trellis.contracts.candidates import conclude, distinct, rank, softmax, unscored, weighted_shares, weighted_vote
from trellis.contracts.database import DatabaseBackend, Execution, HintedStatement, RecordedQuery
from trellis.contracts.embedder import Embedder
from trellis.contracts.executor import Executor, ItemResult
from trellis.contracts.optimizer import PolicyOptimizer, State
from trellis.contracts.policy import Policy, TrainablePolicy
from trellis.contracts.prompt import PromptBuilder
from trellis.contracts.proposer import Neighbour, Proposal, Proposer, Situation, Tried
from trellis.contracts.reward import LearnedReward, RewardModel
from trellis.contracts.search import Extend, Score, SearchAlgorithm, SearchProcess
from trellis.contracts.stage import Finding, Recipe, Stage, StageContext, StageStep
from trellis.contracts.store import Match, Record, RetrievalStore
from trellis.contracts.task import Task

if TYPE_CHECKING:
    from trellis.component import Kind

CONTRACTS: dict[Kind, type] = {
    "task": Task,
    "policy": Policy,
    "reward": RewardModel,
    "optimizer": PolicyOptimizer,
    "search": SearchAlgorithm,
    "store": RetrievalStore,
    "embedder": Embedder,
    "prompt": PromptBuilder,
    "database": DatabaseBackend,
    "proposer": Proposer,
    "executor": Executor,
    "stage": Stage,
}
"""The abstract class that every component of a kind implements."""

__all__ = [
    "CONTRACTS",
    "Aggregate",
    "DatabaseBackend",
    "Embedder",
    "Execution",
    "Executor",
    "Extend",
    "Finding",
    "HintedStatement",
    "ItemResult",
    "LearnedReward",
    "Match",
    "Neighbour",
    "Policy",
    "PolicyOptimizer",
    "PromptBuilder",
    "Proposal",
    "Proposer",
    "Recipe",
    "Record",
    "RecordedQuery",
    "RetrievalStore",
    "RewardModel",
    "Score",
    "SearchAlgorithm",
    "SearchProcess",
    "Situation",
    "Stage",
    "StageContext",
    "StageStep",
    "State",
    "Task",
    "TrainablePolicy",
    "Tried",
    "aggregate",
    "conclude",
    "distinct",
    "rank",
    "softmax",
    "unscored",
    "weighted_shares",
    "weighted_vote",
]
