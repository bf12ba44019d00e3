"""Components that misbehave: a plugin that pipelines of the tests name under `plugins`."""

from trellis import (
    Component,
    Config,
    Outcome,
    Problem,
    RewardModel,
    Rollout,
    Stage,
    StageStep,
    Step,
    Trajectory,
    hookimpl,
)


class LeakConfig(Config):
    token: str


class Leak(Stage):
    """Writes what it should not: its secret, wherever a stage can write anything."""

    Config = LeakConfig

    def __init__(self, config):
        self.token = config.token

    def run(self, context):
        trajectory = Trajectory(Problem(self.token, f"say {self.token}"), self.token, (Step(self.token),))
        rollouts = (Rollout(trajectory, Outcome(False, 0.0, f"not {self.token}")),)
        row = {
            "policy": self.token,
            "search": self.token,
            "reward": None,
            "aggregate": None,
            "accuracy": 0.5,
            "ci95": [0.0, 1.0],
            "problems": 1,
            "tokens_per_problem": 1.0,
            "seconds": 1.0,
        }
        yield StageStep(1, 2, {"loss": 1.0}, rollouts, row)
        raise ValueError(f"refused: {self.token}")


class MetricsConfig(Config):
    value: float


class Metrics(Stage):
    """Reports a metric."""

    Config = MetricsConfig

    def __init__(self, config):
        self.value = config.value

    def run(self, context):
        yield StageStep(1, 1, {"good": 1.0, "loss": self.value})


class PickyConfig(Config):
    pass


class Picky(RewardModel):
    """Fails on the second call."""

    Config = PickyConfig

    def __init__(self, config):
        self.calls = 0

    def score(self, trajectories):
        self.calls += 1
        if self.calls == 2:
            raise LookupError("no entry")
        return [[0.0] * len(trajectory.steps) for trajectory in trajectories]


@hookimpl
def trellis_stages():
    yield Component("leak", "writes its secret", LeakConfig, f"{__name__}:Leak")
    yield Component("metrics", "reports a metric", MetricsConfig, f"{__name__}:Metrics")


@hookimpl
def trellis_reward_models():
    yield Component("picky", "fails on the second call", PickyConfig, f"{__name__}:Picky")
