"""Its hook raises after the first component."""

from trellis import Component, Config, hookimpl


@hookimpl
def trellis_reward_models():
    yield Component("first", "never seen", Config, "trellis_hook_raises:First")
    raise KeyError("HOME")
