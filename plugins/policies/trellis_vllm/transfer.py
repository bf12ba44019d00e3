"""vLLM's weight transfer within the memory of one GPU (https://docs.vllm.ai/en/latest/training/weight_transfer/)."""

from __future__ import annotations

import base64
import pickle
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from vllm.distributed.weight_transfer import ParamMeta, WeightSource, WeightTransferTrainerFactory
from vllm.distributed.weight_transfer.ipc_engine import IPCTrainerInitInfo

from trellis import TrainablePolicy
from trellis_vllm.engine import Engine


class Sender:
    """Sends a trainer's weights to an engine whose process shares its GPU."""

    def __init__(self, engine: Engine, trainer: TrainablePolicy) -> None:
        self._engine = engine
        self._trainer_side = WeightTransferTrainerFactory.trainer_init(
            IPCTrainerInitInfo(rank=0), client=_Client(engine.only), source=_MergedWeights(trainer)
        )

    def send(self) -> None:
        """Send all weights, and have the engine forget the keys and values of the old ones."""
        self._trainer_side.send_weights()
        self._engine.forget()


class _MergedWeights(WeightSource):  # type: ignore[misc]
    """The trainer's present weights, adapters merged."""

    def __init__(self, trainer: TrainablePolicy) -> None:
        self._trainer = trainer

    def metadata(self) -> list[ParamMeta]:
        return [ParamMeta(name, weight.dtype, tuple(weight.shape)) for name, weight in self]

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        return self._trainer.merged_weights()


class _Client:
    """What the trainer's side calls on the engine's: the four methods of vLLM's `VLLMWeightSyncClient`."""

    def __init__(self, llm: Any) -> None:
        self._llm = llm

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        self._llm.init_weight_transfer_engine({"init_info": init_info})

    def start_weight_update(self) -> None:
        self._llm.start_weight_update()

    def update_weights(self, update_info: Mapping[str, Any]) -> None:
        # Handles hold types that only pickle carries over to another process; vLLM's HTTP client sends them in this form, too.
        handles = base64.b64encode(pickle.dumps(update_info["ipc_handles"])).decode()
        others = {name: value for name, value in update_info.items() if name != "ipc_handles"}
        self._llm.update_weights({"update_info": {**others, "ipc_handles_pickled": handles}})

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        self._llm.finish_weight_update(weight_version)
