"""One cell of the suite, a task and a seed: its policies, rollouts and rewards, made once and kept on disk."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from suite import BenchTask, Sizes

from trellis import (
    Budget,
    LearnedReward,
    RewardModel,
    Rollout,
    SampleRequest,
    SearchAlgorithm,
    Task,
    TrainablePolicy,
    build,
)
from trellis.contracts.task import by_problem
from trellis.records import rollout_from_json, rollout_to_json
from trellis.run.files import rename_directory
from trellis.run.measures import within_problem_auc
from trellis.run.sampling import draw_batch, sample_rollouts
from trellis.search import run_searches
from trellis.types import Completion, Problem, Split, Trajectory

BatchBy: TypeAlias = Literal["rollout", "problem", "outcome"]

SMALL = {
    "model_type": "gpt2",
    "n_layer": 2,
    "n_embd": 64,
    "n_head": 4,
    "n_positions": 256,
    "activation_function": "relu",
}
NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}


class Remembering:
    """A policy that samples a problem's whole completions once, however many searches and rewards ask for them.

    What it answers is what the policy would: a request's first n completions do not depend on n. The seconds that the
    first asker spent are added to what every later one is said to have spent.
    """

    def __init__(self, policy: TrainablePolicy) -> None:
        self.policy = policy
        self.seconds_saved = 0.0
        self._known: dict[tuple[object, ...], tuple[list[Completion], float]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.policy, name)

    def sample(self, requests: Sequence[SampleRequest]) -> list[list[Completion]]:
        """Answer each request, whole completions from memory where they are known."""
        if any(request.prefix.steps or request.stop is not None for request in requests):
            return self.policy.sample(requests)
        keys = [(r.prefix.problem.id, r.seed, r.max_tokens, r.temperature) for r in requests]
        missing = [r for r, key in zip(requests, keys, strict=True) if len(self._known.get(key, ([],))[0]) < r.n]
        started = time.perf_counter()
        answers = iter(self.policy.sample(missing))
        each = (time.perf_counter() - started) / max(1, sum(request.n for request in missing))
        for request, key in zip(requests, keys, strict=True):
            if len(self._known.get(key, ([],))[0]) < request.n:
                self._known[key] = (next(answers), each)
            else:
                self.seconds_saved += self._known[key][1] * request.n
        return [self._known[key][0][: request.n] for request, key in zip(requests, keys, strict=True)]


@dataclass(slots=True)
class Measured:
    """How one search went.

    Attributes:
        correct: "1" or "0" for each problem, in order.
        tokens: Mean number of tokens sampled per problem.
        seconds: Wall-clock seconds for all problems.
    """

    correct: str
    tokens: float
    seconds: float

    @property
    def accuracy(self) -> float:
        """The share of problems solved."""
        return self.correct.count("1") / len(self.correct)

    def record(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"accuracy": self.accuracy, "tokens": self.tokens, "seconds": self.seconds, "correct": self.correct}


class Cell:
    """A task, a seed, and everything trained for them.

    Args:
        name: The task's name in the suite.
        seed: Of the policy's first weights, of SFT and of RL; the problems are the same for all seeds.
        sizes: How much of everything.
        root: Where what is made is kept.
        split: The split that is measured on: "test", or "validation" while tuning.
    """

    def __init__(
        self, name: str, bench: BenchTask, seed: int, *, sizes: Sizes, root: Path, split: Split = "test"
    ) -> None:
        self.name = name
        self.bench = bench
        self.seed = seed
        self.sizes = sizes
        self.split: Split = split
        self.root = root / f"{name}-{seed}"
        self.seconds: dict[str, float] = {}
        self.settings = {**asdict(bench), "seed": seed, "policy": SMALL}
        self._weights: str | None = None
        self._kept_as: dict[str, str] = {}
        if (self.root / "seconds.json").exists():
            self.seconds = json.loads((self.root / "seconds.json").read_text(encoding="utf-8"))
        self.fits: dict[str, list[float]] = {}
        if (self.root / "fits.json").exists():
            self.fits = json.loads((self.root / "fits.json").read_text(encoding="utf-8"))

    @cached_property
    def task(self) -> Task:
        """The task."""
        task: Task = build(self.bench.use, dict(self.bench.config))
        return task

    def task_with(self, **config: Any) -> Task:
        """Return the same problems with other traces."""
        task: Task = build(self.bench.use, {**self.bench.config, **config})
        return task

    @cached_property
    def policy(self) -> TrainablePolicy:
        """The policy, whose weights are those of whatever was asked for last (`at`)."""
        return self.make_policy(SMALL)

    def make_policy(self, init: Mapping[str, Any]) -> TrainablePolicy:
        """Return an untrained policy of a size."""
        tokenizer = {"words": list(self.bench.words), "numbers": self.bench.numbers}
        config = {"init": {**init, **NO_DROPOUT}, "tokenizer": tokenizer, "cpu_threads": 1, "seed": self.seed}
        policy: TrainablePolicy = build("transformers", config)
        return policy

    def at(self, name: str) -> TrainablePolicy:
        """Return the policy with the weights trained under a name."""
        if self._weights != name:
            self.policy.load(self.root / "policies" / self._kept_as[name])
            self._weights = name
        return self.policy

    def trained(
        self, name: str, train: Callable[[TrainablePolicy], None], *, start: str | None, settings: Mapping[str, Any]
    ) -> TrainablePolicy:
        """Return the policy trained by `train` from the weights of `start`, trained now if it was not before.

        Args:
            name: Under which it is kept, and its seconds are told.
            train: Trains a policy in place.
            start: The name of the policy it starts from; None for an untrained one.
            settings: All that `train` depends on: with others it is another policy.
        """
        before = {} if start is None else {"start": self._kept_as[start]}
        kept_as = f"{name}-{_digest({**settings, **before, 'task': self.settings})}"
        self._kept_as[name] = kept_as
        directory = self.root / "policies" / kept_as
        if not directory.exists():
            policy = self.make_policy(SMALL) if start is None else self.at(start)
            self._weights = None
            started = time.perf_counter()
            train(policy)
            self.keep(directory, policy.save, name=f"policies/{name}", seconds=time.perf_counter() - started)
        return self.at(name)

    def keep(self, directory: Path, save: Callable[[Path], None], *, name: str, seconds: float) -> None:
        """Save something into a directory that is there as a whole or not at all, and note how long making it took."""
        temporary = directory.with_name(f".{directory.name}.tmp")
        temporary.mkdir(parents=True, exist_ok=True)
        save(temporary)
        self.note(name, seconds)
        rename_directory(temporary, directory)

    def note(self, what: str, seconds: float) -> None:
        """Note how long making something took."""
        self.seconds[what] = seconds
        self.root.mkdir(parents=True, exist_ok=True)
        (self.root / "seconds.json").write_text(json.dumps(self.seconds, indent=1), encoding="utf-8")

    def sft(self) -> TrainablePolicy:
        """Return the policy after SFT on the task's traces."""

        def train(policy: TrainablePolicy) -> None:
            for _ in build("sft", config).train(policy=policy, task=self.task, seed=self.seed):
                pass

        config = {"steps": round(self.sizes.sft_steps * self.bench.sft)}
        return self.trained("sft", train, start=None, settings=config)

    def sample(self, policy: Any, problems: Sequence[Problem], *, n: int, seed: int) -> list[Rollout]:
        """Return n judged rollouts of each problem."""
        return sample_rollouts(policy, self.task, problems, n=n, max_tokens=self.bench.max_tokens, seed=seed)

    @cached_property
    def rollouts(self) -> list[Rollout]:
        """The SFT policy's rollouts of training problems: what every reward is fitted on."""
        policy = self.sft()
        drawn = {"problems": self.sizes.fit_problems, "group": self.sizes.group, "policy": self._kept_as["sft"]}
        directory = self.root / "rollouts" / f"sft-{_digest(drawn)}"
        if not directory.exists():
            problems = self.task.problems("train")
            order = np.random.default_rng(self.seed).permutation(len(problems))[: self.sizes.fit_problems]
            started = time.perf_counter()
            found = self.sample(policy, [problems[i] for i in order], n=self.sizes.group, seed=self.seed)

            def save(into: Path) -> None:
                lines = (json.dumps(rollout_to_json(rollout)) for rollout in found)
                (into / "rollouts.jsonl").write_text("\n".join(lines), encoding="utf-8")

            self.keep(directory, save, name="rollouts/sft", seconds=time.perf_counter() - started)
        lines = (directory / "rollouts.jsonl").read_text(encoding="utf-8").split("\n")
        return [rollout_from_json(json.loads(line)) for line in lines]

    def fitted(
        self,
        name: str,
        use: str,
        config: Mapping[str, Any],
        *,
        rollouts: Sequence[Rollout] | None = None,
        batch: int | None = None,
        by: BatchBy = "outcome",
        seed: int | None = None,
        keep: Literal["auc", "loss"] = "auc",
        fits: int | None = None,
        reads: Mapping[str, Any] | None = None,
        **collaborators: Any,
    ) -> LearnedReward:
        """Return a reward fitted on the SFT policy's rollouts (or others), loaded if it was fitted before.

        Several fits are made on the same rollouts and the best on problems held out is kept, as the stage `fit-reward`
        does it: with how luckily a fit goes, results differ by tens of points.

        Args:
            name: Under which it is kept, and its seconds are told.
            use: The component.
            config: All that its fit depends on.
            rollouts: What it is fitted on.
            batch: Rollouts per update.
            by: How a batch is drawn (`trellis.run.sampling.draw_batch`).
            seed: Of the batches; the cell's when left out.
            keep: By what the best is told: "auc" takes the verifier's outcomes, "loss" is the reward's own.
            fits: At most so many; `sizes.fits` when left out.
            reads: Settings that matter only when it scores.
            collaborators: What the component takes beside the policy.
        """
        held_out = self.rollouts[-self.sizes.held_out * self.sizes.group :]
        held_ids = {rollout.trajectory.problem.id for rollout in held_out}
        given = self.rollouts if rollouts is None else rollouts
        pool = [rollout for rollout in given if rollout.trajectory.problem.id not in held_ids]
        self.sft()
        batch_size = min(batch or self.sizes.fit_batch, len(pool))
        seed = self.seed if seed is None else seed
        fits = self.sizes.fits if fits is None else fits
        learning = {"learning_rate": self.bench.learning_rate, **config}
        settings = {"use": use, **learning, "steps": self.sizes.fit_steps, "batch": batch_size, "by": by, "seed": seed}
        settings |= {"pool": len(pool), "group": self.sizes.group, "policy": self._kept_as["sft"]}
        settings |= {"fits": fits, "keep": keep, "held_out": len(held_out), "enough": self.sizes.enough}
        directory = self.root / "rewards" / f"{name}-{_digest(settings)}"
        if not directory.exists():
            started = time.perf_counter()
            traces = by_problem(tuple(self.task.traces("train")))
            reward: LearnedReward = build(use, learning, policy=self.policy, **collaborators)
            best: tuple[float, Path] | None = None
            self.fits[name] = []
            for k in range(fits):
                # Far apart: a fit of another cell's seed is another fit.
                again = seed + 1000 * k
                fit(reward, pool, traces, steps=self.sizes.fit_steps, batch_size=batch_size, by=by, seed=again)
                quality = _quality(reward, held_out, traces, keep=keep)
                self.fits[name].append(quality)
                if best is None or quality > best[0]:
                    best = quality, directory.with_name(f".{directory.name}.{k}")
                    best[1].mkdir(parents=True, exist_ok=True)
                    reward.save(best[1])
                if keep == "auc" and quality >= self.sizes.enough:
                    break
            assert best is not None
            (self.root / "fits.json").write_text(json.dumps(self.fits, indent=1), encoding="utf-8")
            self.note(f"rewards/{name}", time.perf_counter() - started)
            rename_directory(best[1], directory)
            for left in directory.parent.glob(f".{directory.name}.*"):
                shutil.rmtree(left)
        found: LearnedReward = build(use, {**learning, **(reads or {})}, policy=self.policy, **collaborators)
        found.load(directory)
        return found

    def measure(
        self,
        policy: Any,
        search: SearchAlgorithm,
        reward: RewardModel | None = None,
        *,
        tokens: int | None = None,
        num_problems: int | None = None,
    ) -> Measured:
        """Search for a solution of each test problem.

        Args:
            policy: What samples: a policy, or one that remembers.
            search: How.
            reward: What it is steered by.
            tokens: At most so many tokens per problem.
            num_problems: The first so many problems; `sizes.problems` when left out.
        """
        problems = self.task.problems(self.split)[: num_problems or self.sizes.problems]
        saved = getattr(policy, "seconds_saved", 0.0)
        started = time.perf_counter()
        reports = list(
            run_searches(
                problems,
                search=search,
                policy=policy,
                task=self.task,
                reward=reward,
                budget=Budget(tokens=tokens),
                max_tokens=self.bench.max_tokens,
                seed=self.seed,
            )
        )
        seconds = time.perf_counter() - started + getattr(policy, "seconds_saved", 0.0) - saved
        correct = "".join("1" if report.outcome.correct else "0" for report in reports)
        return Measured(correct, sum(report.num_tokens for report in reports) / len(reports), seconds)


def fit(
    reward: LearnedReward,
    rollouts: Sequence[Rollout],
    traces: Mapping[str, list[Trajectory]],
    *,
    steps: int,
    batch_size: int,
    by: BatchBy,
    seed: int,
) -> None:
    """Fit a reward anew: `steps` updates on batches drawn from the rollouts, with the traces of their problems."""
    reward.reset(seed=seed, num_updates=steps)
    for step in range(steps):
        batch = draw_batch(rollouts, batch_size, by=by, rng=np.random.default_rng([seed, step]))
        reward.update(_of_problems(traces, batch), batch)


def _quality(
    reward: LearnedReward,
    held_out: Sequence[Rollout],
    traces: Mapping[str, list[Trajectory]],
    *,
    keep: Literal["auc", "loss"],
) -> float:
    """Return how good a fit is on problems held out; more is better."""
    if keep == "loss":
        loss = reward.loss(_of_problems(traces, held_out), held_out)
        return -np.inf if loss is None else -loss
    scored = [rollout for rollout in held_out if rollout.trajectory.steps]
    last = [steps[-1] for steps in reward.score([rollout.trajectory for rollout in scored])]
    return within_problem_auc(scored, last) or 0.0


def _of_problems(traces: Mapping[str, list[Trajectory]], rollouts: Sequence[Rollout]) -> list[Trajectory]:
    ids = dict.fromkeys(rollout.trajectory.problem.id for rollout in rollouts)
    return [trace for i in ids for trace in traces.get(i, ())]


def _digest(settings: Mapping[str, Any]) -> str:
    """Return what tells two settings apart in the name of what is kept."""
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
