"""The transformers policy."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging

from trellis import Completion, SampleRequest, TrainablePolicy, Trajectory
from trellis.errors import CapabilityError, CheckpointError, ContractError
from trellis.nn import (
    Chat,
    Encoding,
    TokenBatch,
    TokenBudget,
    all_tokens,
    full_state,
    in_parts,
    load_full_state,
    module_log_probs,
    pad,
    some_tokens,
    split_weights,
)
from trellis_transformers.characters import character_tokenizer
from trellis_transformers.config import CharacterTokenizer, TransformersConfig
from trellis_transformers.grammar import Grammars
from trellis_transformers.models import (
    cache_where_asked,
    checkpoint_layers,
    device_named,
    from_scratch,
    mix_precision,
    pretrained,
)
from trellis_transformers.prefix_cache import PrefixCache
from trellis_transformers.sampling import Choices, Row, sample_rows, uniforms


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
            self.module, self.tokenizer = pretrained(config.model, dtype=dtype, device=home, attention=config.attention)
        else:
            characters = CharacterTokenizer() if config.tokenizer == "characters" else config.tokenizer
            self.tokenizer = character_tokenizer(characters)
            self.module = from_scratch(config, self.tokenizer).to(home, dtype)
        if config.lora is not None:
            from trellis_transformers.adapters import add_adapter

            add_adapter(self.module, config.lora, seed=self.seed, base=config.model)
        cache_where_asked(self.module)
        if config.mixed_precision:
            mix_precision(self.module)
        if config.gradient_checkpointing:
            checkpoint_layers(self.module)
        self.module.eval()
        if config.shard:
            split_weights(self.module, device=self.device)
        # Instruct models end with more than one token: whatever generation would stop at ends a completion.
        others = self.module.generation_config.eos_token_id
        encoding = Encoding(
            self.tokenizer,
            name=str(config.model),
            chat=Chat.of(
                self.tokenizer,
                name=str(config.model),
                chat=config.chat,
                system_prompt=config.system_prompt,
                options=config.template_options,
            ),
            end_ids=(others,) if isinstance(others, int) else others or (),
        )
        self._end_id, self._end_ids = encoding.end_id, encoding.end_ids
        self._prompt, self._encode = encoding.prompt, encoding.encode
        self._pieces = encoding.pieces
        pad_id = self.tokenizer.pad_token_id
        self._pad_id: int = pad_id if pad_id is not None else self._end_id
        self._context: int = getattr(self.module.config, "max_position_embeddings", None) or sys.maxsize
        vocab_size = self.module.config.get_text_config().vocab_size
        self._grammars = Grammars(self.tokenizer, pieces=self._pieces, vocab_size=vocab_size, end_ids=self._end_ids)
        self._trie = lru_cache(maxsize=20_000)(lambda texts: Choices.of(encoding.choices(texts)))
        # Processes that share their weights pass layer after layer together: in parts they might be differently many.
        self.budget = None if config.shard else TokenBudget(config.batch_tokens)
        self._sampling = TokenBudget(config.batch_tokens)
        self._cache = PrefixCache(config.prefix_cache_tokens)
        self._cached_version = self._version()

    def sample(self, requests: Sequence[SampleRequest]) -> list[list[Completion]]:
        """Answer each request with its `n` completions, in order."""
        if self._version() != self._cached_version or not any(request.prefix.steps for request in requests):
            self._cache.clear()
            self._cached_version = self._version()
        # Whole requests are begun anew where memory runs out: their samples are the same every time.
        return self._sampling.within(lambda: self._sample(requests))

    def _sample(self, requests: Sequence[SampleRequest]) -> list[list[Completion]]:
        answers = [[self._row(request, index) for index in range(request.n)] for request in requests]
        try:
            for batch in self._batches([row for rows in answers for row in rows if row.finish is None]):
                sample_rows(
                    self.module,
                    batch,
                    end_ids=self._end_ids,
                    pad_id=self._pad_id,
                    cache=self._cache,
                    device=self.device,
                )
        except torch.OutOfMemoryError:
            self._cache.clear()
            raise
        return [[row.completion() for row in rows] for rows in answers]

    @torch.no_grad()
    def log_probs(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        """Return the same trajectories with tokens and their log-probabilities under the present weights."""
        if not trajectories:
            return []
        batch = self.batch(trajectories)
        values = self._sampling.within(
            lambda: in_parts(partial(module_log_probs, self.module), batch, self._sampling).tolist()
        )
        return [
            _with_log_probs(trajectory, row, last)
            for trajectory, row, last in zip(batch.trajectories, values, batch.last_BS.tolist(), strict=True)
        ]

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
        batch = pad(prompts, encoded, pad_id=self._pad_id, device=self.device)
        return replace(batch, allowed_BTW=self._allowed(prompts, encoded, width=batch.ids_BT.shape[1]))

    def token_log_probs(self, batch: TokenBatch, *, temperature: float = 1.0) -> torch.Tensor:
        """Return log π of every token of the steps, with gradient; shape (B, T), 0 elsewhere."""
        if torch.is_grad_enabled():
            # The weights are about to change, and training has better use for the memory.
            self._cache.clear()
        return (
            in_parts(partial(module_log_probs, self.module, temperature=temperature), batch, self.budget)
            * batch.mask_BT
        )

    def merged_weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield all weights as transformers names them, an adapter merged into them."""
        if self.config.lora is None:
            return super().merged_weights()
        from trellis_transformers.adapters import merged_weights

        return merged_weights(self.module)

    def save(self, directory: Path) -> None:
        """Write weights and tokenizer as transformers does, or the adapter as peft does: whatever reads those reads it."""
        if self.config.lora is None:
            state = full_state(self.module)
            if state is None:
                return  # The main process writes; this one has handed over its share.
            # Servers stop at what this lists, and know of no turn's end that is missing there.
            self.module.generation_config.eos_token_id = sorted(self._end_ids)
            self.module.save_pretrained(directory, state_dict=dict(state))
        else:
            from trellis_transformers.adapters import save_adapter

            save_adapter(self.module, directory)
        self.tokenizer.save_pretrained(directory)

    def load(self, directory: Path) -> None:
        """Take the weights, or the adapter, written by `save`.

        Raises:
            CheckpointError: There are none, or they are of another model; the present ones are kept.
        """
        if self.config.lora is not None:
            from trellis_transformers.adapters import load_adapter

            return load_adapter(self.module, directory)
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

    def _allowed(
        self, prompts: Sequence[Sequence[int]], trajectories: Sequence[Trajectory], *, width: int
    ) -> torch.Tensor | None:
        """Return the tokens that could have stood at each position, where a trajectory has a grammar or steps choices."""
        if not any(t.grammar is not None or any(step.choices for step in t.steps) for t in trajectories):
            return None
        allowed_BTW = all_tokens(len(trajectories), width, vocab_size=self._grammars.vocab_size)
        for row_TW, prompt, trajectory in zip(allowed_BTW, prompts, trajectories, strict=True):
            ids = [token for step in trajectory.steps for token in step.token_ids]
            written_TW = row_TW[len(prompt) : len(prompt) + len(ids)]
            if trajectory.grammar is not None:
                written_TW[:] = self._grammars.allowed(trajectory.grammar, ids)
            for place, tokens in self._among(trajectory):
                written_TW[place] = some_tokens(tokens, vocab_size=self._grammars.vocab_size)
        return allowed_BTW.to(self.device)

    def _among(self, trajectory: Trajectory) -> Iterator[tuple[int, Sequence[int]]]:
        """Yield what each token of the steps with choices could be, by its place; after the last of them, the end."""
        place = 0
        for step in trajectory.steps:
            node: Choices | None = self._trie(step.choices) if step.choices else None
            for token in step.token_ids if step.choices else ():
                yield place, (tuple(node.after) if node is not None else ()) or (self._end_id,)
                node = None if node is None else node.after.get(token)
                place += 1
            place += 0 if step.choices else len(step.token_ids)

    def _row(self, request: SampleRequest, index: int) -> Row:
        trajectory = self._encode(request.prefix)
        written = tuple(i for step in trajectory.steps for i in step.token_ids)
        prefix = self._prompt(trajectory.prompt) + written
        if request.grammar is not None and request.choices is not None:
            raise ContractError("a request has a grammar and `choices`: leave one of them out")
        room = min(request.max_tokens, self._context - len(prefix))
        return Row(
            prefix=prefix,
            max_tokens=room,
            stop=request.stop if request.choices is None else None,
            temperature=request.temperature,
            uniforms=uniforms(request.seed, index, request.max_tokens) if request.temperature > 0 else np.zeros(0),
            decoder=self._pieces.decoder(),
            choices=None if request.choices is None else self._trie(request.choices),
            matcher=None if request.grammar is None else self._grammars.matcher(request.grammar, written),
            finish="length" if room < 1 else None,
        )

    def _batches(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """Split rows into batches of like length, cached prefixes apart from others."""
        groups: dict[bool, list[Row]] = defaultdict(list)
        for row in rows:
            groups[row.prefix[:-1] in self._cache].append(row)
        for group in groups.values():
            for part in self._sampling.parts([len(row.prefix) + row.max_tokens for row in group]):
                yield [group[place] for place in part]

    def _version(self) -> int:
        """Counts the in-place changes of all weights: any optimizer's step changes it."""
        return sum(parameter._version for parameter in self.module.parameters())


def _with_log_probs(trajectory: Trajectory, values: Sequence[float], last: Sequence[int]) -> Trajectory:
    steps = [
        replace(step, log_probs=tuple(values[end - len(step.token_ids) + 1 : end + 1]))
        for step, end in zip(trajectory.steps, last, strict=False)
    ]
    return replace(trajectory, steps=tuple(steps))
