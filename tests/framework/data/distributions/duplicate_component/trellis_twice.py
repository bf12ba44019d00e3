"""Offers two components of one name."""

from trellis import Component, Config, hookimpl


@hookimpl
def trellis_reward_models():
    yield Component("same", "scores", Config, "trellis_twice:Reward")


@hookimpl
def trellis_search_algorithms():
    yield Component("same", "searches", Config, "trellis_twice:Search")
