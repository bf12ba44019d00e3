"""Implements a hook that does not exist."""

from trellis import hookimpl


@hookimpl
def trellis_reward_model():
    return ()
