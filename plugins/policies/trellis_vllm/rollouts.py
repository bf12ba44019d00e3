"""A policy being trained that samples on a vLLM engine.

The trainer holds the weights; the engine is given them before it samples, whenever they have changed. What is sampled carries
the engine's log-probabilities: where they are to be corrected for the difference between the two, an optimizer does so
(`importance_cap` of grpo). Everything else is the trainer's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file
from transformers import AutoTokenizer

from trellis import Completion, Problem, SampleRequest, Step, TrainablePolicy, Trajectory
from trellis.errors import CapabilityError, WeightSyncError
from trellis.nn import Encoding, TokenBatch, token_log_probs
from trellis_vllm.config import RolloutsConfig
from trellis_vllm.engine import Engine, in_a_process_of_its_own, platform
from trellis_vllm.sampling import sample

if TYPE_CHECKING:
    from trellis_vllm.transfer import Sender

MAX_PROBE_TOKENS = 128


class VLLMRollouts(TrainablePolicy):
    """Samples on a vLLM engine with the weights of its trainer.

    Attributes:
        trainer: The policy whose weights an optimizer changes.
        engine: Where it samples; None before the first sample.
        sync: How weights reach the engine.
        difference: What the last probe found between the log-probabilities of trainer and engine, in nats, on average over
            the tokens; None before the first.
        num_syncs: How often the engine was given weights, the first time included.
    """

    Config = RolloutsConfig

    def __init__(self, config: RolloutsConfig, *, trainer: TrainablePolicy) -> None:
        self.config = config
        self.trainer = trainer
        self.module = trainer.module
        self.seed = trainer.seed
        self.budget = trainer.budget
        self.difference: float | None = None
        self.num_syncs = 0
        self.engine: Engine | None = None
        self._encoding: Encoding | None = None
        self._directory: TemporaryDirectory[str] | None = None
        self._sender: Sender | None = None
        self._synced_version: int | None = None
        self._probes: list[tuple[int, ...]] = []
        computed = _computed_in(trainer.module)
        self._dtype = config.dtype or computed
        self.tolerance = config.probe_tolerance or (0.001 if self._dtype == computed == "float32" else 0.1)
        self.sync = _way(config, next(trainer.module.parameters()).device)

    def sample(self, requests: Sequence[SampleRequest]) -> list[list[Completion]]:
        """Answer each request with its `n` completions, in order, from an engine with the trainer's present weights.

        Raises:
            WeightSyncError: After a sync, the engine's log-probabilities are not the trainer's.
        """
        if not requests:
            return []
        if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
            raise CapabilityError(
                "vllm-rollouts",
                capability="training in several processes",
                mend="run it in one; `data_parallel_size` and `tensor_parallel_size` spread the engine over devices.",
            )
        prefixes = _tokens(self.trainer.batch([request.prefix for request in requests]))
        engine, encoding = self._synchronised(prefixes)
        return sample(engine, encoding, requests, prefixes)

    def log_probs(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        """Return the same trajectories with tokens and their log-probabilities, as the trainer gives them."""
        return self.trainer.log_probs(trajectories)

    def batch(self, trajectories: Sequence[Trajectory]) -> TokenBatch:
        """Encode trajectories as one padded batch on the trainer's device."""
        return self.trainer.batch(trajectories)

    def token_log_probs(self, batch: TokenBatch, *, temperature: float = 1.0) -> torch.Tensor:
        """Return log π of every token of the steps, with gradient, as the trainer gives it."""
        return self.trainer.token_log_probs(batch, temperature=temperature)

    def merged_weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the trainer's weights."""
        return self.trainer.merged_weights()

    def save(self, directory: Path) -> None:
        """Write what the trainer writes."""
        self.trainer.save(directory)

    def load(self, directory: Path) -> None:
        """Take the weights written by `save`; the engine is given them before it samples next."""
        self.trainer.load(directory)

    def close(self) -> None:
        """End the engine; the next sample starts another."""
        if self.engine is not None:
            self.engine.close()
        self.engine = self._sender = None

    def _synchronised(self, prefixes: Sequence[tuple[int, ...]]) -> tuple[Engine, Encoding]:
        """Return the engine with the present weights."""
        # Counts the in-place changes of all weights: any optimizer's step changes it, and so does `load`.
        version = sum(parameter._version for parameter in self.module.parameters())
        if self.engine is None or self._encoding is None or version != self._synced_version:
            self.engine, self._encoding = self._give(), self._encoding or self._read_encoding()
            self.num_syncs += 1
            self._probe(prefixes)
            self._synced_version = version
        return self.engine, self._encoding

    def _give(self) -> Engine:
        """Give the engine the trainer's weights, and return it."""
        if self.engine is not None and self._sender is not None:
            self._sender.send()
            return self.engine
        directory = TemporaryDirectory(prefix="trellis-vllm-")
        _write(self.trainer, Path(directory.name))
        if self.engine is not None and self.sync == "reload":
            self.engine.reload(directory.name)
        else:
            self.close()
            self.engine = Engine(directory.name, self.config, dtype=self._dtype, transfer=self.sync == "transfer")
            if self.sync == "transfer":
                from trellis_vllm.transfer import Sender

                self._sender = Sender(self.engine, self.trainer)
        # vLLM may look at the files of its tokenizer later on: they stay until others take their place.
        self._directory = directory
        return self.engine

    def _read_encoding(self) -> Encoding:
        """Read the tokenizer that the trainer wrote; which token ends a trajectory, the trainer itself shows."""
        assert self._directory is not None
        ended = Trajectory(Problem("probe", ""), prompt="1", steps=(Step("1"),), finished=True)
        end_id = _tokens(self.trainer.batch([ended]))[0][-1]
        others = getattr(getattr(self.module, "generation_config", None), "eos_token_id", None)
        tokenizer = AutoTokenizer.from_pretrained(self._directory.name)
        end_ids = (others,) if isinstance(others, int) else tuple(others or ())
        return Encoding(tokenizer, name="the trainer", end_id=end_id, end_ids=end_ids)

    @torch.no_grad()
    def _probe(self, prefixes: Sequence[tuple[int, ...]]) -> None:
        """Compare log-probabilities of fixed prompts, the first that were sampled, between trainer and engine.

        vLLM's reloading on a CPU is wrong for models that share weights between input and output, and says nothing.
        """
        assert self.engine is not None
        if not self._probes:
            first = dict.fromkeys(ids[:MAX_PROBE_TOKENS] for ids in prefixes)
            self._probes = [ids if len(ids) > 1 else ids * 2 for ids in first][: self.config.probe_prompts]
        device = next(self.module.parameters()).device
        length_B = torch.tensor([len(ids) for ids in self._probes])
        width = int(length_B.max())
        ids_BT = torch.tensor([ids + (0,) * (width - len(ids)) for ids in self._probes], device=device)
        attention_BT = (torch.arange(width) < length_B[:, None]).long().to(device)
        training = self.module.training
        self.module.eval()
        trainer_BT = token_log_probs(self.module(input_ids=ids_BT, attention_mask=attention_BT).logits, ids_BT).tolist()
        self.module.train(training)
        engine = self.engine.log_probs(self._probes)
        apart = [
            abs(ours - theirs)
            for ours_T, theirs_T in zip(trainer_BT, engine, strict=True)
            for ours, theirs in zip(ours_T[1:], theirs_T, strict=False)
        ]
        self.difference = sum(apart) / len(apart)
        # Not "greater than": NaN is a difference, too.
        if not self.difference <= self.tolerance:
            raise WeightSyncError(self.sync, difference=self.difference, tolerance=self.tolerance)


@torch.no_grad()
def _computed_in(module: torch.nn.Module) -> str:
    """Return the dtype a module computes in: that of its logits, which is not always that of its weights."""
    token = torch.zeros(1, 1, dtype=torch.int64, device=next(module.parameters()).device)
    return str(module(input_ids=token, attention_mask=token + 1).logits.dtype).removeprefix("torch.")


def _way(config: RolloutsConfig, device: torch.device) -> str:
    """Return how weights reach the engine.

    Raises:
        CapabilityError: Not as asked for.
    """
    kind = platform()
    shares_gpu = (
        kind == device.type == "cuda"
        and config.tensor_parallel_size * config.data_parallel_size == 1
        and in_a_process_of_its_own()
    )
    if config.sync == "auto":
        return "rebuild" if kind == "cpu" else "transfer" if shares_gpu else "reload"
    if config.sync == "transfer" and not shares_gpu:
        raise CapabilityError(
            "vllm-rollouts",
            capability="weight transfer here",
            mend="it takes a trainer on a GPU, an engine on that one GPU, and no VLLM_ENABLE_V1_MULTIPROCESSING=0. Leave `sync` "
            "out.",
        )
    return config.sync


def _tokens(batch: TokenBatch) -> list[tuple[int, ...]]:
    lengths = batch.attention_BT.sum(1).tolist()
    return [tuple(row[:length]) for row, length in zip(batch.ids_BT.tolist(), lengths, strict=True)]


def _write(trainer: TrainablePolicy, directory: Path) -> None:
    """Write the whole model, as transformers does: an adapter is merged into its weights."""
    trainer.save(directory)
    adapter = directory / "adapter_config.json"
    if adapter.exists():
        for file in (adapter, *directory.glob("adapter_model*"), *directory.glob("*.safetensors")):
            file.unlink(missing_ok=True)
        trainer.module.config.save_pretrained(directory)  # type: ignore[union-attr, operator]
        weights = {name: weight.contiguous() for name, weight in trainer.merged_weights()}
        save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
