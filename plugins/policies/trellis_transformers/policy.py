"""The transformers policy."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging

from trellis import Completion, SampleRequest, Step, TrainablePolicy, Trajectory
from trellis.errors import CapabilityError, CheckpointError, ContractError, TokenizerError
from trellis.nn import TokenBatch, full_state, load_full_state, pad, split_weights, token_log_probs
from trellis_transformers.config import CharacterTokenizer, TransformersConfig
from trellis_transformers.models import device_named, from_scratch, pretrained
from trellis_transformers.prefix_cache import PrefixCache
from trellis_transformers.sampling import Choices, Row, sample_rows, uniforms
from trellis_transformers.tokenizer import Pieces, character_tokenizer


class TransformersPolicy(TrainablePolicy):
    """A causal language model of transformers.

    Sampling prefills each distinct prefix once and keeps the keys and values of what it sampled, so that a search that
    extends its own samples runs one token per prefix. A completion ends with "length" where the model's context does. A
    change of the weights empties that cache, and so does a call
    with empty trajectories only: what a search finds does not depend on searches that ran before it.
    """

    Config = TransformersConfig
    module: PreTrainedModel

    def __init__(self, config: TransformersConfig) -> None:
        self.config = config
        self.seed = config.seed or 0
        self.device = device_named(config.device)
        if config.cpu_threads is not None:
            torch.set_num_threads(config.cpu_threads)
        # A tiny model is saved often: transformers would draw a bar for each time.
        logging.disable_progress_bar()
        dtype = getattr(torch, config.dtype)
        # What is split need never have been whole on a GPU.
        home = torch.device("cpu") if config.shard else self.device
        if config.model is not None:
            self.module, self.tokenizer = pretrained(config.model, dtype=dtype, device=home)
        else:
            characters = CharacterTokenizer() if config.tokenizer == "characters" else config.tokenizer
            self.tokenizer = character_tokenizer(characters)
            self.module = from_scratch(config, self.tokenizer).to(home, dtype)
        self.module.eval()
        if config.shard:
            split_weights(self.module, device=self.device)
        end = self.tokenizer.eos_token_id
        if end is None:
            raise TokenizerError(
                f"the tokenizer of {config.model!r} has no end-of-sequence token: set `eos_token` in it"
            )
        self._end_id: int = end
        # Instruct models end with more than one token: whatever generation would stop at ends a completion.
        others = self.module.generation_config.eos_token_id
        self._end_ids = frozenset({end, *((others,) if isinstance(others, int) else others or ())})
        begin = self.tokenizer.bos_token_id
        self._begin = (begin,) if begin is not None and self.tokenizer("a").input_ids[0] == begin else ()
        self._pad_id: int = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else end
        self._context: int = getattr(self.module.config, "max_position_embeddings", None) or sys.maxsize
        self._pieces = Pieces(self.tokenizer)
        # Training reads the same problems and traces many times over.
        self._tokens = lru_cache(maxsize=100_000)(self._tokenize)
        self._cache = PrefixCache(config.prefix_cache_tokens)
        self._cached_version = self._version()

    def sample(self, requests: Sequence[SampleRequest]) -> list[list[Completion]]:
        """Answer each request with its `n` completions, in order."""
        if any(request.grammar is not None for request in requests):
            raise CapabilityError("transformers", capability="grammar", mend="leave `grammar` out of the request.")
        if self._version() != self._cached_version or not any(request.prefix.steps for request in requests):
            self._cache.clear()
            self._cached_version = self._version()
        answers = [[self._row(request, index) for index in range(request.n)] for request in requests]
        for batch in self._batches([row for rows in answers for row in rows if row.finish is None]):
            sample_rows(
                self.module,
                batch,
                end_ids=self._end_ids,
                pad_id=self._pad_id,
                cache=self._cache,
                device=self.device,
            )
        return [[row.completion() for row in rows] for rows in answers]

    @torch.no_grad()
    def log_probs(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        """Return the same trajectories with tokens and their log-probabilities under the present weights."""
        encoded = [self._encode(trajectory) for trajectory in trajectories]
        order = sorted(range(len(encoded)), key=lambda i: len(encoded[i].prompt) + encoded[i].num_tokens)
        scored: dict[int, Trajectory] = {}
        for chunk in self._chunks(order, encoded):
            batch = self.batch([encoded[i] for i in chunk])
            values = self.token_log_probs(batch).tolist()
            for i, row, last in zip(chunk, values, batch.last_BS.tolist(), strict=True):
                scored[i] = _with_log_probs(encoded[i], row, last)
        return [scored[i] for i in range(len(encoded))]

    def batch(self, trajectories: Sequence[Trajectory]) -> TokenBatch:
        """Encode trajectories as one padded batch on the policy's device."""
        encoded = [self._encode(trajectory) for trajectory in trajectories]
        prompts = [self._prompt(trajectory.prompt) for trajectory in encoded]
        for prompt, trajectory in zip(prompts, encoded, strict=True):
            if (length := len(prompt) + trajectory.num_tokens) > self._context:
                raise CapabilityError(
                    "transformers",
                    capability=f"context of {length} tokens",
                    mend=f"the model holds {self._context}, and problem {trajectory.problem.id} with its steps has more. "
                    "Take a longer context (in `init`: `n_positions`, `max_position_embeddings`), or shorter problems.",
                )
        return pad(prompts, encoded, pad_id=self._pad_id, device=self.device)

    def token_log_probs(self, batch: TokenBatch, *, temperature: float = 1.0) -> torch.Tensor:
        """Return log π of every token of the steps, with gradient; shape (B, T), 0 elsewhere."""
        logits_BTV = self.module(input_ids=batch.ids_BT, attention_mask=batch.attention_BT).logits
        if temperature != 1.0:
            logits_BTV = logits_BTV / temperature
        return token_log_probs(logits_BTV, batch.ids_BT) * batch.mask_BT

    def save(self, directory: Path) -> None:
        """Write weights and tokenizer as transformers does: the directory can be loaded by anything that reads those."""
        state = full_state(self.module)
        if state is None:
            return  # The main process writes; this one has handed over its share.
        self.module.save_pretrained(directory, state_dict=dict(state))
        self.tokenizer.save_pretrained(directory)

    def load(self, directory: Path) -> None:
        """Take the weights written by `save`.

        Raises:
            CheckpointError: There are none, or they are of another model; the present weights are kept.
        """
        try:
            saved = AutoModelForCausalLM.from_pretrained(
                directory, dtype=self.module.dtype, local_files_only=True
            ).state_dict()
        except (OSError, RuntimeError, ValueError, SafetensorError) as error:
            raise CheckpointError(f"{directory} holds no weights for this policy: {error}", path=directory) from error
        shapes, here = ({name: list(t.shape) for name, t in d.items()} for d in (saved, self.module.state_dict()))
        if shapes != here:
            name = next(name for name in [*here, *shapes] if shapes.get(name) != here.get(name))
            raise CheckpointError(
                f"{directory} holds no weights for this policy: '{name}' has the shape {shapes.get(name)} there and "
                f"{here.get(name)} here. Make the policy with the `init` and `tokenizer` it was saved with",
                path=directory,
            )
        load_full_state(self.module, saved)

    def _tokenize(self, text: str, prompt: bool) -> tuple[int, ...]:
        if not prompt:
            return self._pieces.encode(text)
        # A prompt is begun and never ended, whatever the tokenizer would put around a whole text.
        ids = tuple(self.tokenizer(text, add_special_tokens=False).input_ids)
        return ids if ids[:1] == self._begin else self._begin + ids

    def _prompt(self, text: str) -> tuple[int, ...]:
        ids = self._tokens(text, True)
        if not ids:
            raise TokenizerError("the prompt is empty: a policy needs at least one token to begin from")
        return ids

    def _encode(self, trajectory: Trajectory) -> Trajectory:
        """Give tokens to the steps that have none; a given trace ends with the end-of-sequence token as a sample does."""
        if all(step.token_ids for step in trajectory.steps):
            return trajectory
        steps = [s if s.token_ids else Step(s.text, self._tokens(s.text, False)) for s in trajectory.steps]
        if trajectory.finished and not trajectory.steps[-1].token_ids:
            steps[-1] = Step(steps[-1].text, (*steps[-1].token_ids, self._end_id))
        return replace(trajectory, steps=tuple(steps))

    def _row(self, request: SampleRequest, index: int) -> Row:
        trajectory = self._encode(request.prefix)
        prefix = self._prompt(trajectory.prompt) + tuple(i for step in trajectory.steps for i in step.token_ids)
        room = min(request.max_tokens, self._context - len(prefix))
        return Row(
            prefix=prefix,
            max_tokens=room,
            stop=request.stop if request.choices is None else None,
            temperature=request.temperature,
            uniforms=uniforms(request.seed, index, request.max_tokens) if request.temperature > 0 else np.zeros(0),
            decoder=self._pieces.decoder(),
            choices=None if request.choices is None else self._choices(request.choices),
            finish="length" if room < 1 else None,
        )

    def _choices(self, texts: tuple[str, ...]) -> Choices:
        sequences = [self._tokens(text, False) for text in texts]
        if not all(sequences) or not sequences:
            raise ContractError(
                "`choices` of a request are one text or more, none of them empty; None allows every text"
            )
        return Choices.of(sequences, end_id=self._end_id)

    def _batches(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """Split rows into batches of like length, cached prefixes apart from others."""
        groups: dict[bool, list[Row]] = defaultdict(list)
        for row in rows:
            groups[row.prefix[:-1] in self._cache].append(row)
        for group in groups.values():
            group.sort(key=lambda row: len(row.prefix))
            batch: list[Row] = []
            for row in group:
                longest = len(row.prefix) + max(r.max_tokens for r in [*batch[:1], row])
                if batch and (len(batch) + 1) * longest > self.config.batch_tokens:
                    yield batch
                    batch = []
                batch.append(row)
            yield batch

    def _chunks(self, order: Sequence[int], trajectories: Sequence[Trajectory]) -> Iterator[list[int]]:
        chunk: list[int] = []
        for i in order:
            width = len(self._prompt(trajectories[i].prompt)) + trajectories[i].num_tokens
            if chunk and (len(chunk) + 1) * width > self.config.batch_tokens:
                yield chunk
                chunk = []
            chunk.append(i)
        if chunk:
            yield chunk

    def _version(self) -> int:
        """Counts the in-place changes of all weights: any optimizer's step changes it."""
        return sum(parameter._version for parameter in self.module.parameters())


def _with_log_probs(trajectory: Trajectory, values: Sequence[float], last: Sequence[int]) -> Trajectory:
    steps = [
        replace(step, log_probs=tuple(values[end - len(step.token_ids) + 1 : end + 1]))
        for step, end in zip(trajectory.steps, last, strict=False)
    ]
    return replace(trajectory, steps=tuple(steps))
