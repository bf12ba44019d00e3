"""Keys and values of prefixes that are likely to be extended again.

A search extends what it just sampled. The cache holds, for whole sequences, the keys and values of all layers, so that
the next call runs only the last token of such a prefix through the model. Least recently used sequences go first.

Shape suffixes: B rows, L layers, H key heads, T tokens, D head width.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from transformers import DynamicCache


class PrefixCache:
    """Keys and values by token sequence, bounded by tokens held."""

    def __init__(self, max_tokens: int) -> None:
        self.max_tokens = max_tokens
        self.num_tokens = 0
        self._entries: OrderedDict[tuple[int, ...], torch.Tensor] = OrderedDict()

    def __contains__(self, ids: tuple[int, ...]) -> bool:
        return ids in self._entries

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self.num_tokens = 0

    def put(self, ids: tuple[int, ...], layers: DynamicCache, row: int, start: int) -> None:
        """Keep the positions `start` … `start + len(ids)` of one row."""
        if len(ids) > self.max_tokens or ids in self._entries:
            return
        positions = slice(start, start + len(ids))
        self._entries[ids] = torch.stack(
            [t[row, :, positions] for layer in layers.layers for t in (layer.keys, layer.values)]
        )
        self.num_tokens += len(ids)
        while self.num_tokens > self.max_tokens:
            oldest, _ = self._entries.popitem(last=False)
            self.num_tokens -= len(oldest)

    def gather(self, sequences: Sequence[tuple[int, ...]]) -> DynamicCache:
        """Return a cache whose rows are these sequences, padded on the left."""
        width = max(len(ids) for ids in sequences)
        first = self._entries[sequences[0]]
        rows_B2LHTD = first.new_zeros((len(sequences), *first.shape[:2], width, first.shape[3]))
        for row, ids in enumerate(sequences):
            self._entries.move_to_end(ids)
            rows_B2LHTD[row, :, :, width - len(ids) :] = self._entries[ids]
        layers = DynamicCache()
        for index in range(first.shape[0] // 2):
            layers.update(rows_B2LHTD[:, 2 * index], rows_B2LHTD[:, 2 * index + 1], index)
        return layers
