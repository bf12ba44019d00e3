"""GRPO beside TRL's GRPOTrainer: the same model, prompts and batch, in one run.

TRL is no dependency of Trellis; both go into one environment: `pip install trl==1.16.0 datasets`.

- The model is made from scratch once (Phi's architecture: rotary attention, an output layer of its own with a bias) and saved;
  both load that directory, in float32 or, with `--precision bfloat16`, as float32 weights multiplied in bfloat16.
- A step is all prompts (problems of countdown) times all generations, one gradient step, no KL, AdamW at one learning rate.
  What rewards is the task's verifier. A model from scratch solves nothing, so advantages are 0: neither side's work in a
  step depends on them.
- Both sample the same number of tokens, and it is checked: the bias of the end-of-sequence token is so low that no completion
  ever draws it, so each ends at the limit.
- Rounds take turns, each in a process of its own: there its peak memory is read, and its first steps are not counted. On a
  CPU the peak is that of the process, whose libraries count too; on a GPU it is what torch allocated. Steps are counted by
  the clock and by the processor's time of the process, which does not see what else the machine does.
- Sampling is timed where token ids go in and token ids come out: `TransformersPolicy.sample`, which also decodes each token
  and keeps its log-probability, and `GRPOTrainer._generate_single_turn`. The rest of a step is scoring, reward and update.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grpo_peer_report import REPORT, SIDES, TRL, report, saved
from measure import spread, write

if TYPE_CHECKING:
    from trellis import Completion, SampleRequest, Task

WARMUP = 2
"""Steps of each process that are not counted."""
NEVER = -1e4
"""The bias of a token that is not to be drawn: e to the power of it is 0."""


@dataclass(frozen=True)
class Work:
    """What both do."""

    hidden: int
    layers: int
    numbers: int
    device: str
    precision: str
    prompts: int
    generations: int
    max_tokens: int
    steps: int
    learning_rate: float = 1e-5

    @property
    def sampled(self) -> int:
        """Tokens of all counted steps."""
        return self.steps * self.prompts * self.generations * self.max_tokens


@dataclass
class Clock:
    """When steps ended and what sampling took; the warm-up's share is forgotten at its end."""

    device: str
    ends: list[float] = field(default_factory=list)
    cpu_ends: list[float] = field(default_factory=list)
    sampling_s: float = 0.0
    tokens: int = 0

    def now(self) -> float:
        """Return seconds, with nothing left to do on a GPU."""
        if self.device != "cpu":
            import torch

            torch.cuda.synchronize()
        return time.perf_counter()

    def sampled(self, started: float, tokens: int) -> None:
        """Note a call that sampled."""
        self.sampling_s += self.now() - started
        self.tokens += tokens

    def step(self) -> None:
        """Note the end of a step."""
        self.ends.append(self.now())
        self.cpu_ends.append(time.process_time())
        if len(self.ends) == WARMUP:
            self.sampling_s, self.tokens = 0.0, 0

    def measured(self, *, prompt_tokens: int) -> dict[str, float]:
        """Return the counted steps' figures, and the process's peak memory in MiB."""
        import torch

        steps = len(self.ends) - WARMUP
        step_s = (self.ends[-1] - self.ends[WARMUP - 1]) / steps
        if self.device == "cpu":
            # Kibibytes, but bytes on macOS.
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
        else:
            peak = torch.cuda.max_memory_allocated() / 2**20
        return {
            "tokens": self.tokens,
            "prompt_tokens": prompt_tokens,
            "steps_per_s": 1 / step_s,
            "steps_per_cpu_s": steps / (self.cpu_ends[-1] - self.cpu_ends[WARMUP - 1]),
            "sampled_tokens_per_s": self.tokens / self.sampling_s,
            "rest_of_step_s": step_s - self.sampling_s / steps,
            "peak_mib": peak,
        }


def countdown(work: Work) -> Task:
    """Return the task, with as many problems as a step has prompts: every step takes all of them."""
    from trellis import build

    task: Task = build("countdown", {"numbers": 4, "train_size": work.prompts})
    return task


def make(work: Work, directory: Path) -> dict[str, float]:
    """Save a model whose completions do not end."""
    import torch

    from trellis import build

    init = {
        "model_type": "phi",
        "hidden_size": work.hidden,
        "intermediate_size": 4 * work.hidden,
        "num_hidden_layers": work.layers,
        "num_attention_heads": work.hidden // 64,
        "max_position_embeddings": work.max_tokens + 256,
    }
    tokenizer = {"words": [" + ", " - ", " = ", " | left: ", " -> "], "numbers": work.numbers}
    policy = build("transformers", {"init": init, "tokenizer": tokenizer, "seed": 0, "device": "cpu"})
    with torch.no_grad():
        policy.module.lm_head.bias[policy.tokenizer.eos_token_id] = NEVER
    policy.save(directory)
    return {"parameters": policy.module.num_parameters(), "vocabulary": len(policy.tokenizer)}


def run_trellis(work: Work, directory: Path) -> dict[str, float]:
    """Train with Trellis."""
    from trellis import build
    from trellis_transformers.config import TransformersConfig
    from trellis_transformers.policy import TransformersPolicy

    clock = Clock(work.device)

    class Timed(TransformersPolicy):
        def sample(self, requests: Sequence[SampleRequest]) -> list[list[Completion]]:
            started = clock.now()
            answers = super().sample(requests)
            clock.sampled(started, sum(c.num_tokens for answer in answers for c in answer))
            return answers

    task = countdown(work)
    policy = Timed(
        TransformersConfig(
            model=str(directory), device=work.device, mixed_precision=work.precision == "bfloat16", seed=0
        )
    )
    optimizer = build(
        "grpo",
        {
            "steps": WARMUP + work.steps,
            "problems_per_step": work.prompts,
            "group_size": work.generations,
            "max_tokens": work.max_tokens,
            "learning_rate": work.learning_rate,
            "final_learning_rate": work.learning_rate,
        },
    )
    for _ in optimizer.train(policy=policy, task=task):
        clock.step()
    prompts = policy.batch([task.start(problem) for problem in task.problems("train")])
    return clock.measured(prompt_tokens=int(prompts.attention_BT.sum()))


def run_trl(work: Work, directory: Path) -> dict[str, float]:
    """Train with TRL."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from trellis import Completion

    clock = Clock(work.device)
    prompt_lengths: dict[tuple[int, ...], int] = {}

    class Timed(GRPOTrainer):  # type: ignore[misc]
        def _generate_single_turn(self, prompt_ids: list[list[int]], *args: Any, **options: Any) -> Any:
            prompt_lengths.update({tuple(ids): len(ids) for ids in prompt_ids})
            started = clock.now()
            answer = super()._generate_single_turn(prompt_ids, *args, **options)
            clock.sampled(started, sum(map(len, answer[0])))
            return answer

    class Steps(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *args: Any, **options: Any) -> None:
            clock.step()

    task = countdown(work)
    problems = {problem.id: problem for problem in task.problems("train")}

    def reward(completions: list[str], problem: list[str], **columns: Any) -> list[float]:
        ended = [
            task.extend(task.start(problems[name]), Completion((), (text,), (), "length"))
            for name, text in zip(problem, completions, strict=True)
        ]
        return [task.verify(trajectory).score for trajectory in ended]

    rows = [{"prompt": task.start(problem).prompt, "problem": name} for name, problem in problems.items()]
    Timed(
        model=AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32),
        processing_class=AutoTokenizer.from_pretrained(directory, padding_side="left"),
        reward_funcs=reward,
        train_dataset=Dataset.from_list(rows),
        callbacks=[Steps()],
        args=GRPOConfig(
            output_dir=str(directory / "trl"),
            use_cpu=work.device == "cpu",
            bf16=work.precision == "bfloat16",
            gradient_checkpointing=False,
            per_device_train_batch_size=work.prompts * work.generations,
            num_generations=work.generations,
            max_completion_length=work.max_tokens,
            max_steps=WARMUP + work.steps,
            learning_rate=work.learning_rate,
            lr_scheduler_type="constant",
            adam_beta2=0.98,
            dataloader_pin_memory=work.device != "cpu",
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=0,
        ),
    ).train()
    return clock.measured(prompt_tokens=sum(prompt_lengths.values()))


PARTS = {"make": make, "trellis": run_trellis, "trl": run_trl}


def in_process(part: str, work: Work, directory: Path) -> dict[str, Any]:
    """Run a part in a process of its own, and return what it measured."""
    answer = directory.parent / "answer.json"
    command = [sys.executable, __file__, "--part", part, json.dumps(asdict(work)), str(directory), str(answer)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    subprocess.run(command, check=True, env=environment, stdout=sys.stderr)
    measured: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    return measured


def compare(work: Work, *, rounds: int) -> dict[str, Any]:
    """Let both train in turn and compare them round by round."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "model"
        made = in_process("make", work, directory)
        taken: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        for _ in range(rounds):
            for side in SIDES:
                taken[side].append(in_process(side, work, directory))
                print(f"{side}: {taken[side][-1]}", file=sys.stderr)
    for name in ("tokens", "prompt_tokens"):
        seen = {run[name] for runs in taken.values() for run in runs}
        if len(seen) > 1 or (name == "tokens" and seen != {work.sampled}):
            raise SystemExit(f"not the same work: {name} are {sorted(seen)}, of {work.sampled} to be sampled")
    names = ("steps_per_s", "steps_per_cpu_s", "sampled_tokens_per_s", "rest_of_step_s", "peak_mib")
    figures = {side: {name: spread([run[name] for run in runs]) for name in names} for side, runs in taken.items()}
    pairs = list(zip(*taken.values(), strict=True))
    ratios = {name: spread([ours[name] / theirs[name] for ours, theirs in pairs]) for name in names}
    prompt_tokens = taken["trl"][0]["prompt_tokens"]
    return {**made, "prompt_tokens": prompt_tokens, **figures, "trellis / trl": ratios}


def shape(parameters: float, numbers: int) -> tuple[int, int]:
    """Return the width and the number of layers of the model whose size is nearest, in GPT-2's proportions."""
    vocabulary = 256 + max(0, numbers - 10)
    sizes = {}
    for hidden in range(64, 4096, 64):
        layers = max(2, hidden // 64)
        sizes[hidden, layers] = 12 * layers * hidden**2 + 2 * vocabulary * hidden
    return min(sizes, key=lambda which: abs(sizes[which] - parameters))


def amount(text: str) -> float:
    """Read 50M, 0.5M or 1B."""
    units = {"K": 1e3, "M": 1e6, "B": 1e9}
    try:
        return float(text[:-1]) * units[text[-1:].upper()]
    except (KeyError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"'{text}' is no size: write 500K, 50M or 1B") from error


def main() -> None:
    parser = argparse.ArgumentParser(description="GRPO beside TRL's GRPOTrainer.")
    parser.add_argument("--parameters", type=amount, help="the model's size: 50M on a GPU, 1M on a CPU by default")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="the GPU where there is one")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], help="bfloat16 on a GPU, float32 on a CPU")
    parser.add_argument(
        "--vocabulary", type=int, help="numbers that are a token each: 32000 from 10M parameters, else 64"
    )
    parser.add_argument("--prompts", type=int, default=8, help="prompts per step")
    parser.add_argument("--generations", type=int, default=8, help="generations per prompt")
    parser.add_argument("--max-tokens", type=int, help="tokens of each: 128 on a GPU, 64 on a CPU")
    parser.add_argument(
        "--steps", type=int, default=8, help=f"counted steps of each round, after {WARMUP} that are not"
    )
    parser.add_argument("--rounds", type=int, default=5, help="how often both take turns")
    parser.add_argument("--report", action="store_true", help=f"write {REPORT.name} from what was measured")
    parser.add_argument("--part", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        part, work_text, directory, answer = options.part
        measured = PARTS[part](Work(**json.loads(work_text)), Path(directory))
        Path(answer).write_text(json.dumps(measured), encoding="utf-8")
        return
    if options.report:
        REPORT.write_text(report(saved()), encoding="utf-8")
        return
    if missing := [name for name in ("trl", "datasets") if find_spec(name) is None]:
        raise SystemExit(f"{' and '.join(missing)} missing: `pip install trl=={TRL} datasets`")
    # What a process takes of a CPU is then what it would take of an idle one, and models this small are fastest so.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch

    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    name = "CPU" if device == "cpu" else torch.cuda.get_device_name()
    parameters = options.parameters or (1e6 if device == "cpu" else 50e6)
    numbers = (32_000 if parameters >= 10e6 else 64) if options.vocabulary is None else options.vocabulary
    hidden, layers = shape(parameters, numbers)
    work = Work(
        hidden=hidden,
        layers=layers,
        numbers=numbers,
        device=device,
        precision=options.precision or ("float32" if device == "cpu" else "bfloat16"),
        prompts=options.prompts,
        generations=options.generations,
        max_tokens=options.max_tokens or (64 if device == "cpu" else 128),
        steps=options.steps,
    )
    measured = compare(work, rounds=options.rounds)
    command = shlex.join(["python", "benchmarks/grpo_peer.py", *sys.argv[1:]])
    size = f"{parameters / 1e6:g}M"
    write(f"grpo_peer-{device}-{size}", {"command": command, "name": name, "work": asdict(work), **measured})


if __name__ == "__main__":
    main()
