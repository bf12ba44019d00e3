"""A reward that prefers short steps."""

from trellis import Component, Config, RewardModel, hookimpl


class BrevityConfig(Config):
    per_character: float = 0.01
    """What each character costs."""


class Brevity(RewardModel):
    Config = BrevityConfig

    def __init__(self, config):
        self.config = config

    def score(self, trajectories):
        return [[-self.config.per_character * len(step.text) for step in t.steps] for t in trajectories]


@hookimpl
def trellis_reward_models():
    yield Component("brevity", "shorter steps are better", BrevityConfig, f"{__name__}:Brevity")
