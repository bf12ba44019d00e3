"""Draws and scores in a process of its own: here reasoning-gym runs, and here only.

In a process of its own because a scorer may compute for hours or run out of memory over what a model wrote, and because
some data sets draw out of sets of strings: their problems depend on how the process hashes, which a sidecar fixes.
"""

from __future__ import annotations

import json
import random
from functools import lru_cache
from typing import Any

import numpy as np

from trellis.procedural import split_of
from trellis.types import JSON, Split
from trellis_gym import arithmetic, catalog
from trellis_gym.answers import read_answer, write_answer
from trellis_gym.codec import decode, encode

_CHUNK = 200
"""Entries are drawn from data sets of this size with consecutive seeds: some let an entry depend on the size."""

_MAX_MISSES = 1000
"""Draws in a row without a new problem after which there are taken to be no more."""

arithmetic.disarm()


def handle(request: dict[str, Any]) -> JSON:
    """Answer a request of the task: `{"do": "draw" or "score", …}`."""
    return draw(**request) if request.pop("do") == "draw" else score(**request)


def draw(
    *, dataset: str, parameters: dict[str, Any], data_seed: int, split: Split, size: int, answer_prefix: str | None
) -> JSON:
    """Draw up to `size` problems of a split.

    The hash of a question decides its split, so no problem is in two of them, whatever the sizes and seeds are. A
    smaller split is the beginning of a larger one.

    Returns:
        For each problem `{"question": …, "entry": …, "reference": …}`; `reference` is an answer that the scorer calls
        correct, None where the library gives none.
    """
    # Indices are added to the seed, and numpy takes no seed of 2³² or more.
    first = random.Random(f"{data_seed}/{split}").randrange(1 << 31)
    found: dict[str, JSON] = {}
    misses = count = 0
    while len(found) < size and misses < _MAX_MISSES:
        if count % _CHUNK == 0:
            entries = catalog.make(dataset, parameters, seed=first + count, size=_CHUNK)
            # Some generators forget to use their own source of random numbers.
            random.seed(first + count)
            np.random.seed(first + count)
        entry = entries[count % _CHUNK]
        count += 1
        question = entry["question"]
        if question in found or split_of(question) != split:
            misses += 1
            continue
        misses = 0
        encoded = encode({"answer": entry["answer"], "metadata": entry["metadata"]})
        reference = _reference(entries, question, encoded, answer_prefix)
        found[question] = {"question": question, "entry": encoded, "reference": reference}
    return list(found.values())


def score(*, dataset: str, parameters: dict[str, Any], question: str, entry: JSON, answer: str) -> JSON:
    """Return the data set's score of an answer."""
    return float(_scorer(dataset, json.dumps(parameters)).score_answer(answer, {"question": question, **decode(entry)}))


@lru_cache(maxsize=32)
def _scorer(dataset: str, parameters: str) -> catalog.Dataset:
    return catalog.make(dataset, json.loads(parameters), seed=0, size=_CHUNK)


def _reference(entries: catalog.Dataset, question: str, encoded: JSON, answer_prefix: str | None) -> str | None:
    """Return an answer that is scored 1.0 when it is read from the text it is written into; None if there is none.

    Most entries have one; some data sets accept many answers and keep an example among the metadata.
    """
    metadata = decode(encoded)["metadata"]
    examples = [decode(encoded)["answer"]]
    examples += [metadata.get(key) for key in ("example_answer", "example_correct_answer", "possible_answer")]
    for example in examples:
        if example is None:
            continue
        written = example if isinstance(example, str) else json.dumps(example)
        read = read_answer(write_answer(written, answer_prefix), answer_prefix)
        if read and entries.score_answer(read, {"question": question, **decode(encoded)}) == 1.0:
            return written
    return None
