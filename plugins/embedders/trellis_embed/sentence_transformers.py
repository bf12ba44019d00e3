"""Queries by a sentence-embedding model: the text through a transformer, its token vectors pooled, length 1.

Reimers and Gurevych 2019, "Sentence-BERT", section 3: mean pooling over the tokens that are no padding. Deviations from the
library `sentence-transformers`: the modules that a model lists beside transformer, pooling and normalisation (a dense layer,
say) are not run, and pooling is what the configuration says.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trellis import Embedder
from trellis.errors import TokenizerError
from trellis.sql.query import Query
from trellis_embed.config import SentenceTransformersConfig

if TYPE_CHECKING:
    import torch

_NO_LIMIT = 1_000_000
"""Tokenizers that do not know a limit say one above this."""


class SentenceTransformers(Embedder):
    """A model from a directory or a hub; loaded when it is first asked."""

    Config = SentenceTransformersConfig

    def __init__(self, config: SentenceTransformersConfig) -> None:
        self.config = config

    @cached_property
    def version(self) -> str:
        """The model's files, by their content or the hub's commit, and how it is read."""
        c = self.config
        return f"sentence-transformers-1-{_content(Path(c.model)) or self._commit}-{c.pooling}-{self._max_tokens}"

    def embed(self, queries: Sequence[Query]) -> list[tuple[float, ...]]:
        """Return a vector for each query's text.

        Raises:
            OSError: The model is neither a directory nor found on the hub; transformers says where it looked.
        """
        import torch

        found: list[tuple[float, ...]] = []
        with torch.inference_mode():
            for first in range(0, len(queries), self.config.batch_size):
                texts = [query.sql for query in queries[first : first + self.config.batch_size]]
                found += map(tuple, self._vectors(texts).tolist())
        return found

    def _vectors(self, texts: list[str]) -> torch.Tensor:
        """Return vectors of length 1, [texts, width], in float64."""
        import torch

        model, tokenizer = self._loaded
        device = next(model.parameters()).device
        inputs = tokenizer(texts, padding=True, truncation=True, max_length=self._max_tokens, return_tensors="pt").to(
            device
        )
        hidden_BTH = model(**inputs).last_hidden_state.double()
        if self.config.pooling == "cls":
            pooled_BH = hidden_BTH[:, 0]
        else:
            mask_BT1 = inputs["attention_mask"].unsqueeze(-1).double()
            pooled_BH = (hidden_BTH * mask_BT1).sum(dim=1) / mask_BT1.sum(dim=1).clamp(min=1)
        return torch.nn.functional.normalize(pooled_BH, dim=-1).cpu()

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        from transformers import AutoModel, AutoTokenizer

        c = self.config
        tokenizer = AutoTokenizer.from_pretrained(c.model, revision=c.revision)
        if tokenizer.pad_token is None:
            raise TokenizerError(f"the tokenizer of {c.model} has no padding token: take a model made for sentences")
        model = AutoModel.from_pretrained(c.model, revision=c.revision)
        return model.to(c.device or "cpu").eval(), tokenizer

    @property
    def _commit(self) -> str:
        model, _ = self._loaded
        return f"{self.config.model}-{getattr(model.config, '_commit_hash', None) or self.config.revision}"

    @cached_property
    def _max_tokens(self) -> int:
        model, tokenizer = self._loaded
        known = [
            self.config.max_tokens,
            tokenizer.model_max_length if tokenizer.model_max_length < _NO_LIMIT else None,
            getattr(model.config, "max_position_embeddings", None),
        ]
        limits = [limit for limit in known if limit is not None]
        return min(limits, default=512)


def _content(directory: Path) -> str | None:
    """Return a digest of a directory's model files; None where it is no directory."""
    if not directory.is_dir():
        return None
    digest = blake2b(digest_size=8)
    for path in sorted(directory.iterdir()):
        if path.suffix in (".json", ".safetensors", ".txt", ".model", ".bin"):
            digest.update(path.name.encode())
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()
