"""What full batches and the prefix cache are worth: the same beam search over untrained policies, run two ways each.

The task has no solutions; it only makes a policy without training write steps. Its separator is the space, with which a
quarter of the vocabulary ends, so that a step is about four tokens. The searches find the same each way (up to
rounding); only the time differs.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from functools import partial

import torch
from measure import paired_ratios, write

from trellis import Outcome, Problem, SampleRequest, Task, Trajectory, build
from trellis.search import run_searches
from trellis.types import Split

RUNS = 5
LARGER = {"model_type": "gpt2", "n_layer": 8, "n_embd": 384, "n_head": 6, "n_positions": 1024}


class Letters(Task):
    """Problems of random letters, one token each."""

    separator = " "

    def __init__(self, count: int, length: int) -> None:
        self.texts = ["".join(random.Random(i).choices("abcdefgh", k=length)) for i in range(count)]

    def problems(self, split: Split) -> Sequence[Problem]:
        return [Problem(text, text) for text in self.texts]

    def verify(self, trajectory: Trajectory) -> Outcome:
        return Outcome(False, 0.0, "there is no right answer")


def beam_seconds(*, model: object, cache_tokens: int, batch_problems: int, problems: int, prompt_tokens: int) -> float:
    """Return the seconds of a beam search of 10 steps, 16 samples each."""
    task = Letters(problems, prompt_tokens)
    config = {
        "init": model,
        "tokenizer": {"words": [f"{i} " for i in range(100)]},
        "prefix_cache_tokens": cache_tokens,
        "seed": 0,
    }
    policy = build("transformers", config)
    reward = build("log-pi", policy=policy)
    search = build("beam", {"width": 4, "expand": 4})
    policy.sample([SampleRequest(task.start(task.problems("test")[0]), max_tokens=2)])
    started = time.perf_counter()
    reports = run_searches(
        task.problems("test"),
        search=search,
        policy=policy,
        task=task,
        reward=reward,
        max_tokens=32,
        max_steps=10,
        batch_problems=batch_problems,
    )
    tokens = sum(report.num_tokens for report in reports)
    assert tokens > 10 * 16 * problems, "the searches went on for all their steps"
    return time.perf_counter() - started


def main() -> None:
    torch.set_num_threads(1)
    tiny = partial(beam_seconds, model="tiny", problems=16, prompt_tokens=32)
    tiny_long = partial(beam_seconds, model="tiny", problems=16, prompt_tokens=160)
    larger = partial(beam_seconds, model=LARGER, problems=2, prompt_tokens=256)
    batching = paired_ratios(
        partial(tiny, cache_tokens=65_536, batch_problems=1),
        partial(tiny, cache_tokens=65_536, batch_problems=16),
        runs=RUNS,
    )
    sizes = {
        "0.1M parameters, prompt of 32 tokens": tiny,
        "0.1M parameters, prompt of 160 tokens": tiny_long,
        "15M parameters, prompt of 256 tokens": larger,
    }
    caching = {
        name: paired_ratios(
            partial(size, cache_tokens=0, batch_problems=16),
            partial(size, cache_tokens=65_536, batch_problems=16),
            runs=RUNS,
        )
        for name, size in sizes.items()
    }
    write("search_throughput", {"one problem at a time / 16 interleaved": batching, "no prefix cache / cache": caching})


if __name__ == "__main__":
    main()
