"""Offers a component whose bare name is taken, so that it must be written in full."""

from trellis import Component, Config, hookimpl


class TwinConfig(Config):
    pass


@hookimpl
def trellis_search_algorithms():
    yield Component("greedy", "another one", TwinConfig, "a_module_that_checking_never_imports:Class")
