"""vLLM's engine as far as a policy needs it: token ids in, token ids and log-probabilities out."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet
from zlib import crc32

import numpy as np
import torch

from trellis.errors import CapabilityError, ContractError, GrammarError
from trellis_vllm.config import EngineConfig

MAX_CANDIDATES = 128
"""vLLM gives log-probabilities of at most so many chosen tokens at once (`MAX_LOGPROB_TOKEN_IDS` in its sampling_params)."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One completion to be sampled.

    Attributes:
        ids: What it continues.
        max_tokens: At most so many new tokens.
        temperature: 0 takes the most probable token each time.
        seed: From 0 to 2^63 - 1.
        stop: The text it stops after.
        end_ids: The tokens that end it.
        grammar: What it matches, in GBNF.
    """

    ids: tuple[int, ...]
    max_tokens: int
    temperature: float
    seed: int
    stop: str | None
    end_ids: tuple[int, ...]
    grammar: str | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """A sampled completion; log-probabilities are at temperature 1, under the grammar's mask."""

    ids: tuple[int, ...]
    log_probs: tuple[float, ...]


class Engine:
    """One `vllm.LLM`, or several that share the work.

    With VLLM_ENABLE_V1_MULTIPROCESSING=0 it runs within this process, where there is one at a time: the next one closes it.

    vLLM's "raw" log-probabilities are those of the logits before temperature and after a grammar's mask, which the model
    runner puts on before it calls the sampler: what the contract asks for.

    Attributes:
        max_model_len: At most so many tokens in a sequence.

    Raises:
        CapabilityError: vLLM finds no device of the kind it was built for, or not as many as asked for.
    """

    _within_this_process: WeakSet[Engine] = WeakSet()

    def __init__(self, model: str, config: EngineConfig, *, dtype: str, transfer: bool = False) -> None:
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
        if transfer:
            # Handles of GPU memory reach the engine's process pickled, over vLLM's own local socket.
            os.environ["VLLM_ALLOW_INSECURE_SERIALIZATION"] = "1"
        import vllm
        import vllm.exceptions

        self._vllm = vllm
        self._refusals = (ValueError, vllm.exceptions.VLLMValidationError)
        kind = platform()
        if kind is None:
            raise CapabilityError(
                "vllm",
                capability="device",
                mend="this build of vLLM is for a kind of device that is not here. Install the build for yours; on a CPU, that "
                "of https://docs.vllm.ai/en/latest/getting_started/installation/cpu/.",
            )
        if not in_a_process_of_its_own():
            # They would share what vLLM keeps globally, and the end of the one would take it from the other. vLLM holds on to
            # the frames that started an engine, so that one that nobody uses any more is still there.
            for other in list(self._within_this_process):
                other.close()
            self._within_this_process.add(self)
        settings: dict[str, Any] = {
            "model": model,
            "dtype": dtype,
            "tensor_parallel_size": config.tensor_parallel_size,
            "gpu_memory_utilization": config.gpu_memory_utilization,
            "enforce_eager": config.enforce_eager,
            "enable_prefix_caching": config.prefix_caching,
            "seed": config.seed or 0,
            "logprobs_mode": "raw_logprobs",
            "max_logprobs": MAX_CANDIDATES,
        }
        kv_cache_gb = config.kv_cache_gb
        if kv_cache_gb is None and kind == "cpu" and "VLLM_CPU_KVCACHE_SPACE" not in os.environ:
            kv_cache_gb = 1.0
        if kv_cache_gb is not None:
            settings["kv_cache_memory_bytes"] = int(kv_cache_gb * 2**30)
        if config.max_model_len is not None:
            settings["max_model_len"] = config.max_model_len
        if transfer:
            settings["weight_transfer_config"] = {"backend": "ipc"}
        with _generators_undisturbed():
            self._engines = [
                self._start(settings, devices) for devices in _shares(config, kind if kind != "cpu" else None)
            ]
        self.max_model_len: int = self._engines[0].model_config.max_model_len

    def generate(self, asks: Sequence[Ask]) -> list[Written]:
        """Answer each, in order.

        Raises:
            CapabilityError: vLLM does not take what is asked, e.g. a temperature above 2.
            GrammarError: A grammar cannot be read.
            ContractError: vLLM gave a completion up.
        """
        answers = []
        for output in self._run([(ask.ids, self._params(ask)) for ask in asks]):
            (sampled,) = output.outputs
            if sampled.finish_reason not in ("stop", "length"):
                raise ContractError(f"vLLM gave a completion up: {sampled.finish_reason}, {sampled.stop_reason}")
            ids = tuple(sampled.token_ids)
            values = tuple(position[token].logprob for position, token in zip(sampled.logprobs, ids, strict=True))
            answers.append(Written(ids, values))
        return answers

    def log_probs(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        """Return log p of every token but the first given those before it; sequences hold two tokens or more."""
        scored = []
        # The last token is asked for where the next one would be sampled: vLLM takes no sequence that leaves no room for one.
        asked = [
            (
                sequence[:-1],
                self._sampling_params(
                    max_tokens=1, temperature=0.0, prompt_logprobs=0, logprob_token_ids=[sequence[-1]]
                ),
            )
            for sequence in sequences
        ]
        for sequence, output in zip(sequences, self._run(asked), strict=True):
            within = zip(output.prompt_logprobs[1:], sequence[1:-1], strict=True)
            values = [position[token].logprob for position, token in within]
            scored.append([*values, output.outputs[0].logprobs[0][sequence[-1]].logprob])
        return scored

    def next_log_probs(
        self, prefixes: Sequence[Sequence[int]], candidates: Sequence[Sequence[int]]
    ) -> list[Mapping[int, float]]:
        """Return, for each prefix, log p of each of its candidates as the next token."""
        asked, owners = [], []
        for owner, (prefix, tokens) in enumerate(zip(prefixes, candidates, strict=True)):
            for first in range(0, len(tokens), MAX_CANDIDATES):
                part = list(tokens[first : first + MAX_CANDIDATES])
                asked.append((prefix, self._sampling_params(max_tokens=1, temperature=0.0, logprob_token_ids=part)))
                owners.append(owner)
        found: list[dict[int, float]] = [{} for _ in prefixes]
        for owner, output in zip(owners, self._run(asked), strict=True):
            found[owner] |= {token: value.logprob for token, value in output.outputs[0].logprobs[0].items()}
        return [{token: row[token] for token in tokens} for row, tokens in zip(found, candidates, strict=True)]

    def reload(self, directory: str) -> None:
        """Take the weights of a directory, in place, and forget the keys and values of the old ones."""
        for engine in self._engines:
            engine.collective_rpc("reload_weights", kwargs={"weights_path": directory})
        self.forget()

    def forget(self) -> None:
        """Forget the keys and values kept for prefixes.

        Raises:
            ContractError: vLLM did not do so.
        """
        for engine in self._engines:
            if not engine.reset_prefix_cache():
                raise ContractError("vLLM did not empty its prefix cache after a change of weights")

    @property
    def only(self) -> Any:
        """The `vllm.LLM`, where there is one."""
        (engine,) = self._engines
        return engine

    def close(self) -> None:
        """End the engines and free their devices."""
        for engine in self._engines:
            engine.llm_engine.engine_core.shutdown()
        self._engines = []
        self._within_this_process.discard(self)

    def _start(self, settings: Mapping[str, Any], devices: Mapping[str, str]) -> Any:
        before = {name: os.environ.get(name) for name in devices}
        os.environ.update(devices)
        try:
            return self._vllm.LLM(**settings)
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value

    def _params(self, ask: Ask) -> Any:
        grammar = None
        if ask.grammar is not None:
            try:
                grammar = self._vllm.sampling_params.StructuredOutputsParams(grammar=ask.grammar)
            except self._refusals as error:
                raise GrammarError(f"the grammar cannot be read: {error}\n{ask.grammar}") from error
        return self._sampling_params(
            max_tokens=ask.max_tokens,
            temperature=ask.temperature,
            seed=ask.seed,
            stop=None if ask.stop is None else [ask.stop],
            include_stop_str_in_output=ask.stop is not None,
            stop_token_ids=list(ask.end_ids),
            logprobs=0,
            structured_outputs=grammar,
        )

    def _sampling_params(self, **values: Any) -> Any:
        try:
            return self._vllm.SamplingParams(
                output_kind=self._vllm.sampling_params.RequestOutputKind.FINAL_ONLY, **values
            )
        except self._refusals as error:
            raise CapabilityError("vllm", capability="such sampling", mend=f"{error}") from error

    def _run(self, asked: Sequence[tuple[Sequence[int], Any]]) -> list[Any]:
        """Hand everything over at once, each sequence to the engine that knows its beginning, and wait."""
        if not self._engines:
            mend = "another one within the same process took its place. Unset VLLM_ENABLE_V1_MULTIPROCESSING: each gets its own."
            raise CapabilityError("vllm", capability="engine any more", mend=mend)
        shares: list[list[int]] = [[] for _ in self._engines]
        for index, (ids, _) in enumerate(asked):
            shares[crc32(np.array(ids[:32]).tobytes()) % len(shares)].append(index)
        busy: list[tuple[Any, list[int]]] = []
        try:
            for engine, share in zip(self._engines, shares, strict=True):
                if share:
                    prompts = [self._vllm.TokensPrompt(prompt_token_ids=list(asked[index][0])) for index in share]
                    engine.enqueue(prompts, [asked[index][1] for index in share], use_tqdm=False)
                    busy.append((engine, share))
        except self._refusals as error:
            for engine, _ in busy:
                engine.wait_for_completion(use_tqdm=False)
            if any(params.structured_outputs is not None for _, params in asked):
                raise GrammarError(f"the grammar cannot be read: {error}") from error
            raise ContractError(f"vLLM refuses a request: {error}") from error
        answers: dict[int, Any] = {}
        for engine, share in busy:
            answers |= zip(share, engine.wait_for_completion(use_tqdm=False), strict=True)
        return [answers[index] for index in range(len(asked))]


def platform() -> str | None:
    """Return the kind of device this build of vLLM runs on here, e.g. "cuda" or "cpu"; None where there is none of it."""
    from vllm.platforms import current_platform

    return current_platform.device_type or None


def in_a_process_of_its_own() -> bool:
    """Whether an engine runs in another process than the policy."""
    from vllm import envs

    return bool(envs.VLLM_ENABLE_V1_MULTIPROCESSING)


def _shares(config: EngineConfig, kind: str | None) -> list[Mapping[str, str]]:
    """Return, for each copy of the model, the environment that gives it devices of its own.

    One `vllm.LLM` refuses `data_parallel_size`; several in one process each start an engine in a process of its own.
    """
    copies, each = config.data_parallel_size, config.tensor_parallel_size
    if copies == 1:
        return [{}]
    if not in_a_process_of_its_own():
        mend = "unset VLLM_ENABLE_V1_MULTIPROCESSING, or set `data_parallel_size: 1`."
        raise CapabilityError("vllm", capability="data parallelism within one process", mend=mend)
    if kind is None:
        return [{} for _ in range(copies)]
    from vllm.platforms import current_platform

    name = current_platform.device_control_env_var
    visible = os.environ.get(name) or ",".join(map(str, range(torch.accelerator.device_count())))
    devices = visible.split(",")
    if len(devices) < copies * each:
        mend = f"`data_parallel_size` {copies} times `tensor_parallel_size` {each} asks for more: lower one of them."
        raise CapabilityError("vllm", capability=f"more than {len(devices)} devices here", mend=mend)
    return [{name: ",".join(devices[copy * each : (copy + 1) * each])} for copy in range(copies)]


@contextmanager
def _generators_undisturbed() -> Iterator[None]:
    """Keep the global generators as they are: an engine within this process seeds them when it starts."""
    state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        yield
    random.setstate(state)
    np.random.set_state(numpy_state)
