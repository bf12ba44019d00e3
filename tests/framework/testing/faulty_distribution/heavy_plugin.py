import torch

from trellis import Component, hookimpl

DEVICE = torch.device("cpu")


@hookimpl
def trellis_tasks():
    material = "trellis.testing.material.successor"
    yield Component("successor", "a light task", f"{material}:SuccessorConfig", f"{material}:Successor")
