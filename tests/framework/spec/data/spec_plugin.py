"""The plugin of the spec's tests: a few components of each kind a pipeline is made of, with every sort of field."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from trellis import Component, Config, Need, hookimpl

FACTORY = "a_module_that_checking_never_imports:Class"


class SumsConfig(Config):
    numbers: int = Field(default=4, ge=3, le=6)
    operators: tuple[Literal["+", "-", "*"], ...] = ("+", "-")
    size: int = 100
    seed: int | None = None


class TokensConfig(Config):
    init: Literal["tiny", "small"] = "tiny"
    hidden: int = Field(default=32, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    bias: bool = True
    stop: str | tuple[str, ...] = "\n"
    token: str | None = None
    seed: int | None = None
    device: str | None = None

    @field_validator("hidden")
    @classmethod
    def _even(cls, hidden):
        if hidden % 2:
            raise ValueError(f"hidden is split over 2 heads, so it must be even, not {hidden}")
        return hidden


class RemoteConfig(Config):
    url: str
    """Where the server listens."""
    timeout_s: float = 60.0


class NoConfig(Config):
    pass


class WarmUp(Config):
    steps: int = 0
    shape: Literal["linear", "cosine"] = "linear"


class StepsConfig(Config):
    steps: int = Field(default=10, gt=0)
    lr: float = 1e-3
    warm_up: WarmUp = WarmUp()
    weights: dict[str, float] = {}
    groups: tuple[WarmUp, ...] = ()


class WideConfig(Config):
    width: int = 4
    aggregate: Literal["min", "mean", "last"] = "min"
    levels: Annotated[tuple[int, ...], Field(min_length=1)] = (1,)


class TrainConfig(Config):
    checkpoint_every: int | None = None


@hookimpl
def trellis_tasks():
    yield Component("sums", "numbers to add", SumsConfig, FACTORY)


@hookimpl
def trellis_policies():
    yield Component("tokens", "a policy to train", TokensConfig, FACTORY, capabilities=frozenset({"trainable"}))
    yield Component("frozen", "a policy as it is", NoConfig, FACTORY)
    yield Component(
        "bound",
        "a policy that keeps to grammars, where it can",
        NoConfig,
        FACTORY,
        capabilities=frozenset({"trainable", "grammar"}),
        capability_extras={"grammar": ("far", "a_module_nobody_has")},
    )
    yield Component("remote", "a policy far away", RemoteConfig, FACTORY, extra="far", modules=("a_module_nobody_has",))


@hookimpl
def trellis_reward_models():
    learned, policy = frozenset({"learned"}), Need("policy", capabilities=frozenset({"trainable"}))
    yield Component("oracle", "knows", NoConfig, FACTORY)
    spelt = Need("policy", capabilities=frozenset({"grammar"}))
    yield Component("spelling", "reads under a grammar", NoConfig, FACTORY, needs={"policy": spelt})
    yield Component("learned", "learns", NoConfig, FACTORY, needs={"policy": policy}, capabilities=learned)
    yield Component("shifted", "another one, shifted", NoConfig, FACTORY, needs={"inner": Need("reward")})
    yield Component("blend", "several", NoConfig, FACTORY, needs={"members": Need("reward", many=True)})
    yield Component("lost", "its config is not there", "a_module_nobody_has:Config", FACTORY)


@hookimpl
def trellis_policy_optimizers():
    yield Component("steps", "takes steps", StepsConfig, FACTORY)


@hookimpl
def trellis_search_algorithms():
    yield Component("greedy", "one path", NoConfig, FACTORY)
    yield Component("wide", "many paths", WideConfig, FACTORY)


@hookimpl
def trellis_stages():
    policy, task = Need("policy"), Need("task")
    yield Component(
        "train",
        "train a policy",
        TrainConfig,
        FACTORY,
        needs={
            "optimizer": Need("optimizer"),
            "policy": Need("policy", capabilities=frozenset({"trainable"})),
            "task": task,
            "reward": Need("reward", optional=True),
        },
    )
    yield Component(
        "evaluate",
        "measure searches",
        NoConfig,
        FACTORY,
        needs={
            "policy": policy,
            "task": task,
            "reward": Need("reward", optional=True, many=True),
            "searches": Need("search", many=True),
        },
    )
    learned = Need("reward", capabilities=frozenset({"learned"}))
    yield Component("fit", "fit a reward", NoConfig, FACTORY, needs={"reward": learned, "policy": policy})
    yield Component("look", "look at a task", NoConfig, FACTORY, needs={"task": task})
