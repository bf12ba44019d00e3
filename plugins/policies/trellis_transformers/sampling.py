"""Batched sampling with a key-value cache and exact log-probabilities.

Rows are padded on the left; each distinct prefix runs through the model once, however many completions it gets. Every
row draws its uniform numbers from its own stream, so what is sampled for a row does not depend on its neighbours. Where a
row has to be one of several texts or to keep to a grammar, only tokens that may follow are drawn, and log-probabilities are of
these.

Shape suffixes: B rows, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel

from trellis import Completion
from trellis.nn import PieceDecoder, all_tokens, only
from trellis_transformers.grammar import Matcher
from trellis_transformers.prefix_cache import PrefixCache


@dataclass(slots=True)
class Choices:
    """A node of the trie of the token sequences that a completion may be: which tokens may follow, and to where."""

    after: dict[int, Choices] = field(default_factory=dict)

    @classmethod
    def of(cls, sequences: Iterable[Sequence[int]]) -> Choices:
        """Return the root of the trie of sequences of which none begins another."""
        root = cls()
        for sequence in sequences:
            node = root
            for token in sequence:
                node = node.after.setdefault(token, cls())
        return root


@dataclass(slots=True)
class Row:
    """One completion being sampled."""

    prefix: tuple[int, ...]
    max_tokens: int
    stop: str | None
    temperature: float
    uniforms: np.ndarray
    decoder: PieceDecoder
    choices: Choices | None = None
    matcher: Matcher | None = None
    ids: list[int] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    tail: str = ""
    finish: str | None = None

    def add(self, token: int, log_prob: float, end_ids: frozenset[int]) -> None:
        """Take a sampled token and see whether the row ends with it."""
        piece = self.decoder.add(token)
        self.ids.append(token)
        self.pieces.append(piece)
        self.log_probs.append(log_prob)
        if self.choices is not None:
            self.choices = self.choices.after.get(token)
        if self.matcher is not None:
            self.matcher.add(token)
        if token in end_ids:
            self.finish = "end"
        elif (self.choices is not None and not self.choices.after) or (
            self.stop is not None and self.stop in self.tail + piece
        ):
            self.finish = "stop"
        elif len(self.ids) >= self.max_tokens:
            self.finish = "length"
        elif self.stop is not None:
            self.tail = (self.tail + piece)[-len(self.stop) :]

    def completion(self) -> Completion:
        """Return what was sampled."""
        return Completion(tuple(self.ids), tuple(self.pieces), tuple(self.log_probs), self.finish)  # type: ignore[arg-type]


def uniforms(seed: int, index: int, count: int) -> np.ndarray:
    """Return the uniform numbers of one completion; they depend on the request's seed and the index alone."""
    key = np.array([seed % 2**64, index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).random(count)


@torch.no_grad()
def sample_rows(
    model: PreTrainedModel,
    rows: Sequence[Row],
    *,
    end_ids: frozenset[int],
    pad_id: int,
    cache: PrefixCache,
    device: torch.device,
) -> None:
    """Sample all rows to their end, in place. Either all prefixes (without their last token) are cached, or none is."""
    prefixes = list(dict.fromkeys(row.prefix for row in rows))
    cached = all(prefix[:-1] in cache for prefix in prefixes)
    width = max(len(prefix) for prefix in prefixes)
    ids_BT = torch.full((len(prefixes), width), pad_id)
    attention_BT = torch.zeros(len(prefixes), width, dtype=torch.int64)
    for index, prefix in enumerate(prefixes):
        ids_BT[index, width - len(prefix) :] = torch.tensor(prefix)
        attention_BT[index, width - len(prefix) :] = 1
    ids_BT, attention_BT = ids_BT.to(device), attention_BT.to(device)
    position_BT = (attention_BT.cumsum(-1) - 1).clamp(min=0)
    # Made without the model's config, so that layers with a sliding window keep all positions; the mask leaves out those
    # outside of it.
    layers = cache.gather([prefix[:-1] for prefix in prefixes]) if cached else DynamicCache()
    fed = slice(-1, None) if cached else slice(None)
    output = model(
        input_ids=ids_BT[:, fed],
        attention_mask=attention_BT,
        position_ids=position_BT[:, fed],
        past_key_values=layers,
        use_cache=True,
        logits_to_keep=1,
    )
    place = {prefix: index for index, prefix in enumerate(prefixes)}
    which_B = torch.tensor([place[row.prefix] for row in rows], device=device)
    layers.batch_select_indices(which_B)
    attention_BT = attention_BT[which_B]
    position_B = position_BT[which_B, -1]
    logits_BV = output.logits[which_B, -1]
    active = list(rows)
    while True:
        tokens_B = _draw(logits_BV, active, end_ids)
        alive = [index for index, row in enumerate(active) if row.finish is None]
        _keep(cache, active, layers, attention_BT.shape[1])
        if not alive:
            return
        if len(alive) < len(active):
            alive_B = torch.tensor(alive, device=device)
            layers.batch_select_indices(alive_B)
            attention_BT, position_B, tokens_B = attention_BT[alive_B], position_B[alive_B], tokens_B[alive_B]
            active = [active[index] for index in alive]
        attention_BT = torch.nn.functional.pad(attention_BT, (0, 1), value=1)
        position_B = position_B + 1
        output = model(
            input_ids=tokens_B[:, None],
            attention_mask=attention_BT,
            position_ids=position_B[:, None],
            past_key_values=layers,
            use_cache=True,
        )
        logits_BV = output.logits[:, -1]


def _draw(logits_BV: torch.Tensor, rows: Sequence[Row], end_ids: frozenset[int]) -> torch.Tensor:
    """Draw one token per row by inverse transform, and note its log-probability at temperature 1."""
    log_probs_BV = _masked(logits_BV.float(), rows).log_softmax(-1)
    temperature_B = torch.tensor([row.temperature for row in rows], device=logits_BV.device)
    tokens_B = log_probs_BV.argmax(-1)
    if bool((temperature_B > 0).any()):
        # Sums over a large vocabulary want double precision, which MPS does not have.
        precision = torch.float32 if logits_BV.device.type == "mps" else torch.float64
        scaled_BV = (log_probs_BV / temperature_B.clamp(min=1e-6)[:, None]).softmax(-1, dtype=precision)
        uniforms = np.array([row.uniforms[len(row.ids)] if row.temperature > 0 else 0.0 for row in rows])
        uniform_B = torch.from_numpy(uniforms).to(logits_BV.device, precision)
        total_BV = scaled_BV.cumsum(-1)
        drawn_B = (total_BV <= (uniform_B * total_BV[:, -1])[:, None]).sum(-1)
        tokens_B = torch.where(temperature_B > 0, drawn_B, tokens_B)
    chosen_B = log_probs_BV.gather(-1, tokens_B[:, None])[:, 0]
    for row, token, log_prob in zip(rows, tokens_B.tolist(), chosen_B.tolist(), strict=True):
        row.add(token, log_prob, end_ids)
    return tokens_B


def _masked(logits_BV: torch.Tensor, rows: Sequence[Row]) -> torch.Tensor:
    """Return logits in which what may not follow in its row is impossible."""
    if any(row.matcher is not None for row in rows):
        allowed_BW = all_tokens(len(rows), vocab_size=logits_BV.shape[-1])
        for index, row in enumerate(rows):
            if row.matcher is not None:
                row.matcher.fill(allowed_BW, index)
        logits_BV = only(logits_BV, allowed_BW.to(logits_BV.device))
    if all(row.choices is None for row in rows):
        return logits_BV
    forbidden_BV = torch.zeros(logits_BV.shape, dtype=torch.bool)
    for forbidden_V, row in zip(forbidden_BV, rows, strict=True):
        if row.choices is not None:
            forbidden_V.fill_(True)[list(row.choices.after)] = False
    return logits_BV.masked_fill(forbidden_BV.to(logits_BV.device), -torch.inf)


def _keep(cache: PrefixCache, rows: Sequence[Row], layers: DynamicCache, width: int) -> None:
    """Keep what a search is likely to extend: rows that stopped at a step's end. Their last token has not run yet."""
    if not cache.max_tokens:
        return
    for index, row in enumerate(rows):
        if row.finish == "stop":
            known = row.prefix + tuple(row.ids[:-1])
            cache.put(known, layers, index, width - len(known))
