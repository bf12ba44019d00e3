"""A plugin that a pipeline of the tests names under `plugins`."""

from trellis import Component, Config, hookimpl


class CoinConfig(Config):
    sides: int = 2


@hookimpl
def trellis_tasks():
    yield Component("coin", "heads or tails", CoinConfig, f"{__name__}:Coin")


@hookimpl
def trellis_stages():
    from trellis import Need

    yield Component("toss", "toss it", CoinConfig, f"{__name__}:Toss", needs={"task": Need("task")})
