"""The hooks a plugin implements: one per kind of component, each returning `Component` records.

A plugin is a module named by an entry point in the group `trellis`. Importing it must stay cheap (no torch, no
transformers, no database driver): the records name their classes as `"module:Class"`, imported when first used.
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from trellis.component import KINDS, Component, Kind

PROJECT = "trellis"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

HOOKS: dict[str, Kind] = {
    "trellis_tasks": "task",
    "trellis_policies": "policy",
    "trellis_reward_models": "reward",
    "trellis_policy_optimizers": "optimizer",
    "trellis_search_algorithms": "search",
    "trellis_retrieval_stores": "store",
    "trellis_embedders": "embedder",
    "trellis_prompt_builders": "prompt",
    "trellis_database_backends": "database",
    "trellis_proposers": "proposer",
    "trellis_executors": "executor",
    "trellis_stages": "stage",
}
"""The kind of component each hook returns."""


class TrellisSpecs:
    """The whole extension surface."""

    @hookspec
    def trellis_tasks(self) -> Iterable[Component]:
        """Return tasks: problems and who says what is solved (`trellis.contracts.task`).

        ```python
        from trellis import Component, Config, Outcome, Problem, Task, hookimpl

        class ParityConfig(Config):
            size: int = 100
            "Problems in each split."

        class Parity(Task):
            Config = ParityConfig

            def __init__(self, config):
                self.config = config

            def problems(self, split):
                first = {"train": 0, "validation": 1_000_000, "test": 2_000_000}[split]
                numbers = range(first, first + self.config.size)
                return [Problem(id=str(n), text=f"{n} is", data={"n": n}) for n in numbers]

            def verify(self, trajectory):
                expected = "even" if trajectory.problem.data["n"] % 2 == 0 else "odd"
                correct = trajectory.finished and trajectory.text == expected
                return Outcome(correct, float(correct), "" if correct else f"it is {expected}")

        @hookimpl
        def trellis_tasks():
            yield Component("parity", "even or odd", ParityConfig, f"{__name__}:Parity")
        ```
        """
        return ()

    @hookspec
    def trellis_policies(self) -> Iterable[Component]:
        """Return policies: the models that write steps (`trellis.contracts.policy`).

        ```python
        import math
        import random
        from dataclasses import replace

        from trellis import Completion, Component, Config, Policy, Step, hookimpl

        class GuessConfig(Config):
            words: tuple[str, ...] = ("even", "odd")
            "What it chooses from; all are equally probable."

        class Guess(Policy):
            Config = GuessConfig

            def __init__(self, config):
                self.words = config.words

            def sample(self, requests):
                return [[self._guess(request, index) for index in range(request.n)] for request in requests]

            def _guess(self, request, index):
                word = random.Random(f"{request.seed}/{index}").choice(self.words)
                step = self._read(word if request.temperature else self.words[0])
                return Completion(step.token_ids, (step.text,), step.log_probs, "end")

            def _read(self, word):
                return Step(word, (self.words.index(word),), (-math.log(len(self.words)),))

            def log_probs(self, trajectories):
                return [replace(t, steps=tuple(self._read(s.text) for s in t.steps)) for t in trajectories]

        @hookimpl
        def trellis_policies():
            knows = frozenset({"log-probs"})
            yield Component("guess", "one of two words", GuessConfig, f"{__name__}:Guess", capabilities=knows)
        ```
        """
        return ()

    @hookspec
    def trellis_reward_models(self) -> Iterable[Component]:
        """Return rewards: a number per step (`trellis.contracts.reward`).

        ```python
        from trellis import Component, Config, RewardModel, hookimpl

        class BrevityConfig(Config):
            per_character: float = 0.01
            "What each character costs."

        class Brevity(RewardModel):
            Config = BrevityConfig

            def __init__(self, config):
                self.config = config

            def score(self, trajectories):
                return [[-self.config.per_character * len(step.text) for step in t.steps] for t in trajectories]

        @hookimpl
        def trellis_reward_models():
            yield Component("brevity", "shorter steps are better", BrevityConfig, f"{__name__}:Brevity")
        ```
        """
        return ()

    @hookspec
    def trellis_policy_optimizers(self) -> Iterable[Component]:
        """Return optimizers: the algorithms that change a policy (`trellis.contracts.optimizer`).

        ```python
        from trellis import Component, Config, PolicyOptimizer, State, TrainStep, hookimpl

        class NoiseConfig(Config):
            steps: int = 10
            "How many."
            scale: float = 0.0
            "By how much of itself each weight grows in a step."

        class Noise(PolicyOptimizer):
            Config = NoiseConfig

            def __init__(self, config):
                self.config, self.done = config, 0

            @property
            def num_steps(self):
                return self.config.steps

            def train(self, *, policy, task, reward=None, seed=0):
                while self.done < self.config.steps:
                    for parameter in policy.module.parameters():
                        parameter.detach().mul_(1 + self.config.scale)
                    self.done += 1
                    yield TrainStep(self.done, {"scale": self.config.scale})

            def state(self):
                return State(values={"done": self.done})

            def restore(self, state):
                self.done = state.values["done"]

        @hookimpl
        def trellis_policy_optimizers():
            yield Component("noise", "a control that learns nothing", NoiseConfig, f"{__name__}:Noise")
        ```
        """
        return ()

    @hookspec
    def trellis_search_algorithms(self) -> Iterable[Component]:
        """Return searches: ways to spend samples (`trellis.contracts.search`).

        ```python
        from trellis import Candidate, Component, Config, Extend, SearchAlgorithm, SearchResult, hookimpl
        from trellis.errors import BudgetExhausted

        class FirstConfig(Config):
            temperature: float = 1.0
            "Of the sample."

        class First(SearchAlgorithm):
            Config = FirstConfig

            def __init__(self, config):
                self.config = config

            def search(self, root):
                try:
                    ((found,),) = yield Extend((root,), until="end", temperature=self.config.temperature)
                except BudgetExhausted:
                    return SearchResult(None)
                return SearchResult(found, (Candidate(found, 0.0),)) if found.finished else SearchResult(None)

        @hookimpl
        def trellis_search_algorithms():
            sampling = frozenset({"sampling"})
            yield Component("first", "one sample", FirstConfig, f"{__name__}:First", capabilities=sampling)
        ```
        """
        return ()

    @hookspec
    def trellis_retrieval_stores(self) -> Iterable[Component]:
        """Return stores: records found by vector (`trellis.contracts.store`).

        ```python
        from trellis import Component, Config, hookimpl

        class MemoryConfig(Config):
            capacity: int = 1000
            "The oldest records are forgotten beyond it."

        @hookimpl
        def trellis_retrieval_stores():
            yield Component("memory", "a list in memory", MemoryConfig, "my_store.memory:Memory")
        ```
        """
        return ()

    @hookspec
    def trellis_prompt_builders(self) -> Iterable[Component]:
        r"""Return prompt builders: what the policy reads (`trellis.contracts.prompt`).

        ```python
        from trellis import Component, Config, PromptBuilder, hookimpl

        class PoliteConfig(Config):
            word: str = "Please"
            "What the prompt begins with."

        class Polite(PromptBuilder):
            Config = PoliteConfig

            def __init__(self, config):
                self.word = config.word

            def build(self, problem, situation=None):
                return f"{self.word} solve: {problem.text}\n"

        @hookimpl
        def trellis_prompt_builders():
            yield Component("polite", "asks nicely", PoliteConfig, f"{__name__}:Polite")
        ```
        """
        return ()

    @hookspec
    def trellis_database_backends(self) -> Iterable[Component]:
        """Return database backends: plans and executions under hints (`trellis.contracts.database`).

        ```python
        from trellis import Component, Config, hookimpl

        class LiteConfig(Config):
            path: str = ":memory:"
            "The database's file."

        @hookimpl
        def trellis_database_backends():
            yield Component("sqlite", "SQLite's planner", LiteConfig, "my_database.lite:Lite")
        ```
        """
        return ()

    @hookspec
    def trellis_embedders(self) -> Iterable[Component]:
        """Return embedders: vectors of queries (`trellis.contracts.embedder`).

        ```python
        from trellis import Component, Config, Embedder, hookimpl

        class LettersConfig(Config):
            lower: bool = True
            "Whether upper and lower case are one."

        class Letters(Embedder):
            Config = LettersConfig
            version = "letters-1"

            def __init__(self, config):
                self.config = config

            def embed(self, queries):
                return [self.vector(q.sql.lower() if self.config.lower else q.sql) for q in queries]

            def vector(self, text):
                counts = [text.count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"]
                length = sum(n * n for n in counts) ** 0.5 or 1.0
                return tuple(n / length for n in counts)

        @hookimpl
        def trellis_embedders():
            yield Component("letters", "how often each letter is there", LettersConfig, f"{__name__}:Letters")
        ```
        """
        return ()

    @hookspec
    def trellis_proposers(self) -> Iterable[Component]:
        """Return proposers: plan hints that seem worth measuring (`trellis.contracts.proposer`).

        ```python
        from random import Random

        from trellis import Component, Config, Proposal, Proposer, hookimpl
        from trellis.sql import random_hints

        class DiceConfig(Config):
            bushy: bool = True
            "Whether a join may have a join as its right input."

        class Dice(Proposer):
            Config = DiceConfig

            def __init__(self, config):
                self.config = config

            def propose(self, situation, n, *, seed=0):
                rng = Random(seed)
                drawn = [random_hints(situation.query, rng, bushy=self.config.bushy) for _ in range(n)]
                known = {tried.hints for tried in situation.tried}
                return [Proposal(hints, "dice") for hints in dict.fromkeys(drawn) if hints and hints not in known]

        @hookimpl
        def trellis_proposers():
            yield Component("dice", "random join orders", DiceConfig, f"{__name__}:Dice")
        ```
        """
        return ()

    @hookspec
    def trellis_executors(self) -> Iterable[Component]:
        """Return executors: where work runs (`trellis.contracts.executor`).

        ```python
        from trellis import Component, Config, hookimpl

        class SlurmConfig(Config):
            partition: str = "short"
            "The queue that jobs go to."

        @hookimpl
        def trellis_executors():
            far = frozenset({"processes", "timeout"})
            yield Component("slurm", "job arrays", SlurmConfig, "my_cluster.slurm:Slurm", capabilities=far)
        ```
        """
        return ()

    @hookspec
    def trellis_stages(self) -> Iterable[Component]:
        """Return stages: what a pipeline's `run:` names (`trellis.contracts.stage`).

        ```python
        from trellis import Component, Config, Need, Stage, StageStep, hookimpl

        class CountConfig(Config):
            split: str = "train"
            "Which problems are counted."

        class Count(Stage):
            Config = CountConfig

            def __init__(self, config, *, task):
                self.config, self.task = config, task

            def run(self, context):
                yield StageStep(1, 1, {"problems": float(len(self.task.problems(self.config.split)))})

        @hookimpl
        def trellis_stages():
            task = {"task": Need("task")}
            yield Component("count", "counts problems", CountConfig, f"{__name__}:Count", needs=task)
        ```
        """
        return ()


assert set(HOOKS.values()) == set(KINDS)
