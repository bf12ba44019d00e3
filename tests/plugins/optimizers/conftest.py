"""A task of few problems, a small model for it, and states that go through the disk as a checkpoint does."""

import json

import pytest
from safetensors.torch import load_file, save_file

from trellis import State
from trellis.testing.material import Successor, SuccessorConfig
from trellis_transformers.config import TransformersConfig
from trellis_transformers.policy import TransformersPolicy

SMALL = {"model_type": "gpt2", "n_layer": 1, "n_embd": 32, "n_head": 4, "n_positions": 96}
NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}


@pytest.fixture
def task():
    return Successor(SuccessorConfig(size=5))


@pytest.fixture
def make_policy():
    """Make a fresh small policy; with `dropout`, as GPT-2 has it by default."""

    def make(*, dropout: bool = False) -> TransformersPolicy:
        init = SMALL if dropout else SMALL | NO_DROPOUT
        return TransformersPolicy(TransformersConfig(init=init, seed=1, device="cpu", cpu_threads=1))

    return make


@pytest.fixture
def through_disk(tmp_path):
    """Write a state as the engine does, and read it again."""

    def written(state: State) -> State:
        path = tmp_path / "state.safetensors"
        save_file({name: tensor.detach().contiguous().clone() for name, tensor in state.tensors.items()}, path)
        return State(load_file(path), json.loads(json.dumps(dict(state.values))))

    return written


@pytest.fixture
def copy_of(make_policy, tmp_path):
    """Save a policy and load it into another."""

    def copied(policy: TransformersPolicy, **options) -> TransformersPolicy:
        other = make_policy(**options)
        directory = tmp_path / "policy"
        policy.save(directory)
        other.load(directory)
        return other

    return copied
