"""The vllm policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from trellis import Completion, Policy, SampleRequest, Trajectory
from trellis.errors import CapabilityError, CheckpointError
from trellis.nn import Chat, Encoding
from trellis_vllm.config import VLLMConfig
from trellis_vllm.engine import Engine
from trellis_vllm.sampling import among_choices, sample


class VLLMPolicy(Policy):
    """A causal language model on a vLLM engine.

    It reads prompts and steps as the transformers policy does, so that on one model the two give the same log-probabilities up
    to rounding, and the same answers at temperature 0. A completion ends with "length" where the model's context does.
    """

    Config = VLLMConfig

    def __init__(self, config: VLLMConfig) -> None:
        self.config = config
        self.encoding = _encoding(config)
        self.engine = Engine(config.model, config, dtype=config.dtype)

    def sample(self, requests: Sequence[SampleRequest]) -> list[list[Completion]]:
        """Answer each request with its `n` completions, in order."""
        return sample(self.engine, self.encoding, requests, [self.encoding.read(r.prefix) for r in requests])

    def log_probs(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        """Return the same trajectories with tokens and their log-probabilities.

        Raises:
            CapabilityError: One is too long, or has a grammar.
        """
        if any(trajectory.grammar is not None for trajectory in trajectories):
            raise CapabilityError(
                "vllm",
                capability="log-probabilities of given text under a grammar",
                mend="those of what it samples itself it has. Take the transformers policy to score others' text.",
            )
        encoded = [self.encoding.encode(trajectory) for trajectory in trajectories]
        sequences = {index: self.encoding.read(t) for index, t in enumerate(encoded) if t.num_tokens}
        for index, ids in sequences.items():
            if len(ids) > self.engine.max_model_len:
                raise CapabilityError(
                    "vllm",
                    capability=f"context of {len(ids)} tokens",
                    mend=f"the engine holds {self.engine.max_model_len} (`max_model_len`), and problem "
                    f"{encoded[index].problem.id} with its steps has more.",
                )
        values = dict(zip(sequences, self.engine.log_probs(list(sequences.values())), strict=True))
        among_choices(self.engine, self.encoding, [encoded[index] for index in values], list(values.values()))
        return [_with_log_probs(t, values[index]) if index in values else t for index, t in enumerate(encoded)]


def _with_log_probs(trajectory: Trajectory, values: Sequence[float]) -> Trajectory:
    """Give the steps' tokens, the last ones of the sequence, their log-probabilities."""
    steps, at = [], len(values) - trajectory.num_tokens
    for step in trajectory.steps:
        steps.append(replace(step, log_probs=tuple(values[at : at + len(step.token_ids)])))
        at += len(step.token_ids)
    return replace(trajectory, steps=tuple(steps))


def _encoding(config: VLLMConfig) -> Encoding:
    """Read tokenizer and ends from where the model is.

    Raises:
        CheckpointError: There is no such directory or hub id, or it holds no tokenizer.
        TokenizerError: A chat was asked for, and the tokenizer has no template.
    """
    path = Path(config.model)
    # What is written as a path is one: it is never looked for on the hub.
    if not path.is_dir() and (config.model.startswith((".", "~", "/")) or path.is_file() or len(path.parts) > 2):
        raise CheckpointError(f"`model`: there is no directory {path.absolute()}", path=path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(config.model)
        end_ids = _end_ids(config.model)
    except (OSError, ValueError, KeyError) as error:
        found = "the directory holds none" if path.is_dir() else f"no directory {path.absolute()}, nor on the hub"
        raise CheckpointError(
            f"`model`: no causal language model with its tokenizer is at {config.model!r} ({found}). Give a directory written by "
            f"`save_pretrained` of both, or the id of a model on the hub. transformers says: {error}",
            path=path,
        ) from error
    chat = Chat.of(
        tokenizer,
        name=config.model,
        chat=config.chat,
        system_prompt=config.system_prompt,
        options=config.template_options,
    )
    return Encoding(tokenizer, name=config.model, chat=chat, end_ids=end_ids)


def _end_ids(model: str) -> tuple[int, ...]:
    """Return what generation would stop at: instruct models end with more than one token."""
    try:
        ids = GenerationConfig.from_pretrained(model).eos_token_id
    except OSError:
        ids = AutoConfig.from_pretrained(model).eos_token_id
    return (ids,) if isinstance(ids, int) else tuple(ids or ())
