"""Forgets the decorator."""


def trellis_reward_models():
    return ()
