"""Whole hints from a model that was never trained: every sample is read."""

import pytest

from trellis import build
from trellis.errors import CapabilityError
from trellis.sql import check_hints, parse_hints
from trellis.sql.renaming import Renaming
from trellis.testing.material import Successor, SuccessorConfig

WIDE = {"model_type": "gpt2", "n_layer": 1, "n_embd": 32, "n_head": 2, "n_positions": 2048}


@pytest.fixture(scope="module")
def policy():
    return build("transformers", {"seed": 1, "cpu_threads": 1, "init": WIDE})


def made(policy, prompt=None, **config):
    needs = {"policy": policy, "task": Successor(SuccessorConfig())} | ({"prompt": prompt} if prompt else {})
    return build("hint-writer", config, **needs)


@pytest.mark.parametrize("name", ["chain", "outer"])
def test_every_sample_of_an_untrained_model_is_read_and_names_the_querys_relations(policy, scene, chains, name):
    situation = scene(chains[name])
    found = made(policy).sample(situation, 60, seed=5)
    assert len(found) == 60
    canonical = Renaming.canonical(situation.query).query(situation.query)
    aliases = {relation.alias for relation in canonical.relations}
    for trajectory in found:
        hints = parse_hints(trajectory.text)
        assert {hint.alias for hint in hints.scans} <= aliases
        assert {alias for hint in hints.joins for alias in hint.aliases} <= aliases


def test_what_is_proposed_fits_and_comes_once_the_most_probable_first(policy, scene, chains):
    situation = scene(chains["outer"])
    found = made(policy).propose(situation, 8, seed=2)
    assert len({proposal.hints for proposal in found}) == len(found) == 8
    scores = [proposal.score for proposal in found]
    assert scores == sorted(scores, reverse=True)
    for proposal in found:
        assert proposal.source.startswith("hint-writer: log-probability -")
        check_hints(proposal.hints, situation.query, situation.catalog)


def test_kinds_say_what_is_written(policy, scene):
    for proposal in made(policy, kinds=["leading"]).propose(scene(), 5, seed=1):
        assert len(proposal.hints.leading) == 1
        assert len(list(proposal.hints)) == 1


def test_the_seed_decides(policy, scene):
    model = made(policy)
    assert model.propose(scene(), 3, seed=1) == model.propose(scene(), 3, seed=1)
    assert model.propose(scene(), 3, seed=1) != model.propose(scene(), 3, seed=2)


def test_names_are_those_of_the_prompt(policy, scene):
    prompt = build("compact", {"canonical": False})
    situation = scene()
    found = made(policy, prompt).sample(situation, 20)
    assert found[0].prompt == prompt.build(situation.problem, situation)
    names = {hint.alias for trajectory in found for hint in parse_hints(trajectory.text).scans}
    assert names
    assert names <= {"u", "p", "v", "t"}


def test_a_model_without_room_says_so(scene):
    narrow = build("transformers", {"cpu_threads": 1, "init": WIDE | {"n_positions": 64}})
    with pytest.raises(CapabilityError, match="give the policy a longer context"):
        made(narrow).propose(scene(), 1)


def test_a_real_planner_takes_every_proposal(policy, real, shop):
    found = made(policy).propose(real, 5, seed=4)
    assert len(found) == 5
    for proposal in found:
        shop.hinted(real.query, proposal.hints)
