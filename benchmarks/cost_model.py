"""What a step of GRPO costs in tokens, memory and bytes moved, worked out from a model's shape: the table of docs/scaling.md.

    python benchmarks/cost_model.py                      the table
    python benchmarks/cost_model.py --processes 64 …     for sizes of your own

Nothing here is measured but `ROLLOUT_BYTES`; the formulas stand in the functions' docstrings. GB are 10^9 bytes.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields

FLOAT32, BFLOAT16 = 4, 2
ROLLOUT_BYTES = 15
"""A sampled token on its way to the other processes: id, log-probability and its part of the step's text, pickled. 14.2
bytes were measured for a character tokenizer; ids of a large vocabulary take a byte more."""


@dataclass(frozen=True)
class Model:
    """A decoder's shape, as its `config.json` has it."""

    name: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    qkv_bias: bool

    @property
    def projections(self) -> tuple[tuple[int, int], ...]:
        """Inputs and outputs of a layer's linear maps: q, k, v, o, gate, up, down."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = ((self.hidden, q), (self.hidden, kv), (self.hidden, kv), (q, self.hidden))
        return (
            *attention,
            (self.hidden, self.intermediate),
            (self.hidden, self.intermediate),
            (self.intermediate, self.hidden),
        )

    @property
    def parameters(self) -> int:
        """N: two norms and seven maps a layer, a norm at the end, the embedding, and a head that is not tied to it."""
        bias = (self.heads + 2 * self.kv_heads) * self.head_dim if self.qkv_bias else 0
        layer = sum(a * b for a, b in self.projections) + 2 * self.hidden + bias
        return self.layers * layer + self.hidden + 2 * self.vocabulary * self.hidden

    def adapter(self, rank: int) -> int:
        """Parameters of LoRA of a rank on all seven maps: r (inputs + outputs) each."""
        return self.layers * sum(rank * (a + b) for a, b in self.projections)

    @property
    def kv_bytes(self) -> int:
        """Of a token's keys and values: 2 · layers · KV heads · head size · 2 bytes."""
        return 2 * self.layers * self.kv_heads * self.head_dim * BFLOAT16


QWEN_7B = Model("Qwen2.5-7B", 28, 3584, 18944, 28, 4, 128, 152064, qkv_bias=True)
LLAMA_70B = Model("Llama-3.1-70B", 80, 8192, 28672, 64, 8, 128, 128256, qkv_bias=False)


@dataclass(frozen=True)
class Work:
    """One step, and on what it runs.

    Attributes:
        problems: P, per step.
        group: G, rollouts of each.
        prompt: Tokens of a prompt.
        response: Tokens of a response, on average.
        processes: W, each with a GPU.
        micro_batch: Tokens of one forward and backward pass in a process.
        rank: Of LoRA.
        teraops: 10^12 operations a second that a process comes to; an H100's peak in bfloat16 is 989.
        network: 10^9 bytes a second to and from a process; InfiniBand's 400 Gbit/s are 50.
    """

    problems: int = 64
    group: int = 8
    prompt: int = 256
    response: int = 1024
    processes: int = 8
    micro_batch: int = 16_384
    rank: int = 32
    teraops: int = 400
    network: int = 50


def costs(model: Model, work: Work, *, lora: bool) -> dict[str, str]:
    """Return one column of the table.

    Per step: P G rollouts are sampled, P G · response tokens. A forward pass is 2 N operations a token, a backward pass 4 N,
    or 2 N where only an adapter has gradients (those of the activations alone); layers are computed anew in the backward
    pass (gradient checkpointing), 2 N more.

    Held: weights, gradients and AdamW's two moments, 4 bytes each in float32; under LoRA the base is bfloat16, and only the
    adapter has the rest. While a pass runs: each layer's input, tokens · layers · hidden · 2 bytes, one layer's inside (about
    34 · hidden bytes a token, https://arxiv.org/abs/2205.05198, without the quadratic part, which no fused attention keeps),
    and logits and their gradient: float32, or bfloat16 under LoRA (the loss takes them to float32 a row at a time).

    Moved, per process: gradients by a ring all-reduce, 2 (W-1)/W · 4 bytes each. With split weights instead, in every
    micro-batch, an all-gather of the weights forward and another backward, and a reduce-scatter of the gradients:
    3 (W-1)/W · 4 N; and one all-gather before sampling. Rollouts and the log-probabilities of each pass go to everyone. An
    inference engine is sent all weights, as they are held: an adapter is merged into them on the way.
    """
    n, w = model.parameters, work.processes
    trained = model.adapter(work.rank) if lora else n
    sampled = work.problems * work.group * work.response
    read = work.problems * work.group * (work.prompt + work.response)
    weight = BFLOAT16 if lora else FLOAT32
    held = n * weight + trained * FLOAT32 * 4 if lora else n * FLOAT32 * 4
    operations = (6 if lora else 8) * n * read
    inputs = work.micro_batch * model.layers * model.hidden * BFLOAT16
    inside = work.micro_batch * 34 * model.hidden
    logits = work.micro_batch * model.vocabulary * weight * 2
    passes = -(-read // (w * work.micro_batch))
    share = (w - 1) / w
    split = "–" if lora else gigabytes(share * n * FLOAT32 * (3 * passes + 1))
    return {
        "parameters": f"{n / 1e9:.2f} B",
        "trained": f"{trained / 1e9:.2f} B" if trained >= 1e9 else f"{trained / 1e6:.0f} M",
        "tokens sampled": f"{sampled:,}",
        "tokens trained on": f"{read:,}",
        "operations: sampling": f"{2 * n * sampled / 1e15:,.1f} P",
        "operations: training": f"{operations / 1e15:,.1f} P",
        "… seconds, all processes at work": f"{operations / (w * work.teraops * 1e12):,.1f}",
        "weights, gradients, moments": gigabytes(held),
        "… a process, split": "–" if lora else gigabytes(held / w),
        "… more for a reward with a trunk of its own": gigabytes(n * FLOAT32 * 4) if not lora else gigabytes(held),
        "all weights, while a process samples itself": gigabytes(n * weight),
        "a pass: layers' inputs": gigabytes(inputs),
        "a pass: inside one layer": gigabytes(inside),
        "a pass: logits and gradient": gigabytes(logits),
        "KV cache: a token": f"{model.kv_bytes / 1024:.0f} KiB",
        "KV cache: all rollouts at once": gigabytes(model.kv_bytes * read),
        "moved: rollouts": gigabytes(ROLLOUT_BYTES * sampled),
        "moved: log-probabilities of a pass over all": gigabytes(FLOAT32 * read),
        "moved: gradients, a process": gigabytes(2 * share * trained * FLOAT32),
        "… seconds": f"{2 * share * trained * FLOAT32 / (work.network * 1e9):,.2f}",
        "moved: split weights, a process": split,
        "moved: weights to an engine": gigabytes(n * weight),
    }


def gigabytes(amount: float) -> str:
    """Return bytes as GB, or MB where they are few."""
    return f"{amount / 1e9:,.1f} GB" if amount >= 1e8 else f"{amount / 1e6:,.1f} MB"


def table(work: Work) -> str:
    """Return the table in Markdown."""
    columns = [
        (f"{model.name}, {'LoRA ' + str(work.rank) if lora else 'all weights'}", costs(model, work, lora=lora))
        for model in (QWEN_7B, LLAMA_70B)
        for lora in (False, True)
    ]
    lines = ["| per step | " + " | ".join(name for name, _ in columns) + " |", "|---|" + "---:|" * len(columns)]
    lines += [f"| {row} | " + " | ".join(column[row] for _, column in columns) + " |" for row in columns[0][1]]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="What a step of GRPO costs.")
    for field in fields(Work):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=int, default=field.default)
    print(table(Work(**vars(parser.parse_args()))))


if __name__ == "__main__":
    main()
