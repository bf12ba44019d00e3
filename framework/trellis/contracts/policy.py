"""Policy: the language model that writes the steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trellis.types import Completion, SampleRequest, Trajectory

if TYPE_CHECKING:
    import torch

    from trellis.nn import TokenBatch, TokenBudget


class Policy(ABC):
    """Samples completions and says how probable they are.

    Capabilities: "trainable" (is a `TrainablePolicy`), "log-probs" (knows the log-probabilities of its samples, and of
    what `log_probs` is given), "grammar" (keeps to `Trajectory.grammar`), "choices" (takes `SampleRequest.choices`).
    """

    @abstractmethod
    def sample(self, requests: Sequence[SampleRequest]) -> list[list[Completion]]:
        """Answer each request with its `n` completions, in order.

        Callers hand over everything they have at once; batching and the reuse of shared prefixes are the policy's own
        business. A request's samples depend on its seed and prefix, not on what else is in the call.
        """

    @abstractmethod
    def log_probs(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        """Return the same trajectories, each step with its tokens and their log-probability under the present weights.

        Tokens that a step already carries are kept; text without tokens is encoded step by step. No gradient flows.

        Raises:
            CapabilityError: The policy cannot say (it lacks "log-probs"), or its server does not.
        """

    def with_log_probs(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        """Return the same trajectories; those whose every step carries log-probabilities, as all sampled ones do, as is."""
        known = [all(s.log_probs and len(s.log_probs) == s.num_tokens for s in t.steps) for t in trajectories]
        scored = iter(self.log_probs([t for t, k in zip(trajectories, known, strict=True) if not k]))
        return [t if k else next(scored) for t, k in zip(trajectories, known, strict=True)]


class TrainablePolicy(Policy):
    """A policy whose weights an optimizer can change.

    Attributes:
        module: A causal language model: called with `input_ids` and `attention_mask` it returns `.logits` of shape
            (B, T, V), and with `output_hidden_states=True` also `.hidden_states`.
        seed: The seed its weights were made with; what derives from the policy derives its randomness from it.
        budget: How many tokens go through `module`, or a copy of it, at once where a gradient is taken (`trellis.nn.in_parts`,
            `trellis.nn.within`); None is no bound.
    """

    module: torch.nn.Module
    seed: int
    budget: TokenBudget | None = None

    @abstractmethod
    def batch(self, trajectories: Sequence[Trajectory]) -> TokenBatch:
        """Encode trajectories, prompt and steps, as one padded batch on the policy's device."""

    @abstractmethod
    def token_log_probs(self, batch: TokenBatch, *, temperature: float = 1.0) -> torch.Tensor:
        """Return log π of every token given those before it, with gradient; under the mask of `batch.constrained`.

        Returns:
            float32 of shape (B, T); 0 where `batch.mask_BT` is False.
        """

    def merged_weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield all weights by name, one by one, with adapters merged into them: what an inference engine is given.

        They are the present ones, without gradient; what is yielded may be a weight itself, and is not to be changed. Tied
        weights come once.
        """
        for name, parameter in self.module.named_parameters():
            yield name, parameter.detach()

    @abstractmethod
    def save(self, directory: Path) -> None:
        """Write what was trained and the tokenizer (safetensors and JSON) into an empty directory."""

    @abstractmethod
    def load(self, directory: Path) -> None:
        """Take the weights written by `save`.

        Raises:
            CheckpointError: They are missing or do not fit.
        """
