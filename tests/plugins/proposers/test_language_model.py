"""Hints from a model that was never trained: every one is legal."""

import pytest

from trellis import build
from trellis.errors import CapabilityError
from trellis.sql import check_hints
from trellis.sql.renaming import Renaming
from trellis.sql.steps import hints_of, lines_of
from trellis.testing.material import Successor, SuccessorConfig


@pytest.fixture(scope="module")
def policy():
    return build("transformers", {"seed": 1, "cpu_threads": 1})


def made(policy, **config):
    return build("language-model", config, policy=policy, task=Successor(SuccessorConfig()))


@pytest.mark.parametrize("name", ["chain", "outer"])
@pytest.mark.parametrize("config", [{}, {"free_methods": True, "bushy": False}, {"cross_products": True}])
def test_every_sample_of_an_untrained_model_is_legal_hints(policy, scene, chains, name, config):
    situation = scene(chains[name])
    model = made(policy, **config)
    found = model.sample(situation, 24, seed=5)
    assert len(found) == 24
    renaming = Renaming.canonical(situation.query)
    for trajectory in found:
        assert trajectory.finished
        lines = trajectory.text.split("\n")
        assert [step.text.strip() for step in trajectory.steps] == lines
        hints = renaming.undo(hints_of(renaming.query(situation.query), lines))
        check_hints(hints, situation.query, situation.catalog)
        assert sorted(lines_of(renaming.apply(hints), renaming.query(situation.query))) == sorted(lines)


def test_the_most_probable_are_proposed_first_and_each_once(policy, scene, chains):
    found = made(policy).propose(scene(chains["outer"]), 8, seed=2)
    scores = [proposal.score for proposal in found]
    assert scores == sorted(scores, reverse=True)
    assert len({proposal.hints for proposal in found}) == len(found) == 8
    assert found[0].source.startswith("language-model: log-probability -")


def test_the_seed_decides(policy, scene):
    model = made(policy)
    assert model.propose(scene(), 3, seed=1) == model.propose(scene(), 3, seed=1)
    assert model.propose(scene(), 3, seed=1) != model.propose(scene(), 3, seed=2)


def test_what_was_tried_is_left_out(policy, scene, measured):
    model = made(policy)
    first, *_ = model.propose(scene(), 3, seed=1)
    again = model.propose(scene(tried=[measured(str(first.hints), 0.5)]), 3, seed=1)
    assert first.hints not in [proposal.hints for proposal in again]


def test_names_are_those_of_the_prompt(policy, scene):
    task, prompt = Successor(SuccessorConfig()), build("compact", {"canonical": False})
    model = build("language-model", policy=policy, task=task, prompt=prompt)
    situation = scene()
    (trajectory,) = model.sample(situation, 1)
    assert trajectory.prompt == prompt.build(situation.problem, situation)
    check_hints(hints_of(situation.query, trajectory.text.split("\n")), situation.query)


def test_a_model_without_room_for_a_line_says_so(policy, scene):
    with pytest.raises(CapabilityError, match="raise `max_tokens` \\(3\\)"):
        made(policy, max_tokens=3).propose(scene(), 1)


def test_a_real_planner_takes_every_proposal(policy, real, shop):
    found = made(policy).propose(real, 5, seed=4)
    assert len(found) == 5
    for proposal in found:
        shop.hinted(real.query, proposal.hints)
