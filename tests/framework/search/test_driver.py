import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trellis import Budget, Completion, Extend, Policy, RewardModel, Score, SearchAlgorithm, SearchResult
from trellis.errors import BudgetExhausted, CapabilityError, ContractError
from trellis.search import run_searches
from trellis_beam.beam import Beam
from trellis_beam.config import BeamConfig
from trellis_best_of_n.best_of_n import BestOfN
from trellis_best_of_n.config import BestOfNConfig, GreedyConfig, MajorityConfig
from trellis_best_of_n.greedy import Greedy
from trellis_best_of_n.majority import Majority


def scripted(process):
    """Make a search of a generator function."""

    class Scripted(SearchAlgorithm):
        def search(self, root):
            return process(root)

    return Scripted()


SEARCHES = [
    Greedy(GreedyConfig()),
    Majority(MajorityConfig(n=5)),
    BestOfN(BestOfNConfig(n=5)),
    Beam(BeamConfig(width=2, expand=3)),
]


def test_every_round_is_one_call_of_the_policy_and_one_of_the_reward(task, policy, oracle):
    problems = task.problems("test")
    reports = list(run_searches(problems, search=SEARCHES[3], policy=policy, task=task, reward=oracle))
    rounds = max(report.num_calls for report in reports) // 2
    assert rounds == 6
    assert policy.num_calls == oracle.num_calls == rounds
    assert policy.num_sequences[0] == 6 * len(problems)


def test_a_finished_search_makes_room_for_the_next_problem(task, policy):
    def one_step_a_letter(root):
        steps = 6 if root.problem.id == "word-0" else 1
        for _ in range(steps):
            ((root,),) = yield Extend((root,))
        return SearchResult(root if root.finished else None)

    search = scripted(one_step_a_letter)
    reports = run_searches(task.problems("test")[:7], search=search, policy=policy, task=task, batch_problems=2)
    assert [report.problem.id for report in reports] == [f"word-{i}" for i in range(7)]
    assert policy.num_sequences == [2, 2, 2, 2, 2, 2]


def test_progress_counts_the_problems_done(task, policy):
    seen = []
    problems = task.problems("test")[:5]
    list(
        run_searches(
            problems,
            search=SEARCHES[0],
            policy=policy,
            task=task,
            batch_problems=2,
            progress=lambda done, total: seen.append((done, total)),
        )
    )
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_leaving_the_loop_stops_the_search(task, policy):
    reports = run_searches(task.problems("test"), search=SEARCHES[1], policy=policy, task=task, batch_problems=3)
    assert next(report for report in reports if report.problem.id == "word-4")
    assert policy.num_calls == 2


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: type(search).__name__)
def test_a_result_does_not_depend_on_the_other_problems(task, policy, oracle, search):
    def solve(problems, batch_problems):
        reports = run_searches(
            problems, search=search, policy=policy, task=task, reward=oracle, seed=3, batch_problems=batch_problems
        )
        return {report.problem.id: (report.result, report.num_tokens, report.num_calls) for report in reports}

    problems = task.problems("test")
    together = solve(problems, 256)
    assert solve(problems, 5) == together
    assert solve(problems[::-1], 1) == together
    assert solve(problems[7:8], 256) == {"word-7": together["word-7"]}


def test_the_seed_changes_the_samples_and_nothing_else_does(task, policy):
    def texts(seed):
        search = Majority(MajorityConfig(n=1))
        reports = run_searches(task.problems("test"), search=search, policy=policy, task=task, seed=seed)
        return [report.result.best.text for report in reports]

    assert texts(1) == texts(1)
    assert texts(1) != texts(2)
    assert len(set(texts(1))) > 6


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    search=st.sampled_from(SEARCHES),
    tokens=st.none() | st.integers(0, 120),
    calls=st.none() | st.integers(0, 8),
    max_tokens=st.integers(1, 20),
    seed=st.integers(0, 2**63),
)
def test_no_budget_is_overspent(task, make_policy, oracle, search, tokens, calls, max_tokens, seed):
    policy = make_policy(length=6)
    budget = Budget(tokens=tokens, calls=calls)
    problems = task.problems("test")[:4]
    reports = list(
        run_searches(
            problems,
            search=search,
            policy=policy,
            task=task,
            reward=oracle,
            budget=budget,
            max_tokens=max_tokens,
            seed=seed,
        )
    )
    assert len(reports) == 4
    assert sum(report.num_tokens for report in reports) == policy.num_tokens
    for report in reports:
        assert report.num_tokens <= (math.inf if tokens is None else tokens)
        assert report.num_calls <= (math.inf if calls is None else calls)
        assert report.exhausted in {None, "tokens", "calls"}
        assert all(candidate.trajectory.finished for candidate in report.result.candidates)
        assert report.outcome.correct == (report.result.best is not None and task.verify(report.result.best).correct)


def test_the_tokens_left_are_shared_equally(task, policy):
    search = Majority(MajorityConfig(n=5))
    (report,) = run_searches(
        task.problems("test")[:1], search=search, policy=policy, task=task, budget=Budget(tokens=59)
    )
    assert report.num_tokens == 5 * 11
    assert report.result.best is None
    assert report.outcome.reason == "no finished trajectory"
    (report,) = run_searches(
        task.problems("test")[:1], search=search, policy=policy, task=task, budget=Budget(tokens=60)
    )
    assert report.num_tokens == 60
    assert report.exhausted is None


@pytest.mark.parametrize(
    ("budget", "resource"),
    [(Budget(tokens=5), "tokens"), (Budget(calls=0), "calls"), (Budget(seconds=0.0), "seconds")],
)
def test_a_search_is_told_which_budget_is_spent(task, policy, budget, resource):
    told = []

    def eager(root):
        try:
            yield Extend((root,), n=6)
        except BudgetExhausted as spent:
            told.append(spent.resource)
        return SearchResult(None)

    (report,) = run_searches(task.problems("test")[:1], search=scripted(eager), policy=policy, task=task, budget=budget)
    assert told == [resource] == [report.exhausted]
    assert policy.num_calls == 0


def test_a_search_that_lets_the_exhausted_budget_pass_has_found_nothing(task, policy):
    def careless(root):
        while True:
            ((root,),) = yield Extend((root,))

    (report,) = run_searches(
        task.problems("test")[:1], search=scripted(careless), policy=policy, task=task, budget=Budget(calls=3)
    )
    assert report.result == SearchResult(None)
    assert (report.exhausted, report.num_calls, report.num_tokens) == ("calls", 3, 6)


def test_too_many_steps_cut_a_trajectory(task, policy):
    seen = []

    def walk(root):
        while root.open:
            ((root,),) = yield Extend((root,))
            seen.append(root)
        return SearchResult(None)

    list(run_searches(task.problems("test")[:1], search=scripted(walk), policy=policy, task=task, max_steps=4))
    assert [trajectory.cut for trajectory in seen] == [False, False, False, True]
    seen.clear()
    list(run_searches(task.problems("test")[:1], search=scripted(walk), policy=policy, task=task, max_steps=6))
    assert seen[-1].finished
    assert not seen[-1].cut


def test_running_out_of_tokens_cuts_a_trajectory(task, policy):
    def whole(root):
        ((found,),) = yield Extend((root,), until="end")
        return SearchResult(found)

    (report,) = run_searches(task.problems("test")[:1], search=scripted(whole), policy=policy, task=task, max_tokens=5)
    assert report.result.best.cut
    assert report.num_tokens == 5
    assert not report.outcome.correct


def test_a_search_may_end_without_asking_anything(task, policy):
    def silent(root):
        return SearchResult(None)
        yield

    reports = list(
        run_searches(task.problems("test")[:3], search=scripted(silent), policy=policy, task=task, batch_problems=1)
    )
    assert [report.num_calls for report in reports] == [0, 0, 0]


def run_one(process, task, policy, **more):
    return list(run_searches(task.problems("test")[:1], search=scripted(process), policy=policy, task=task, **more))


def test_extending_a_finished_trajectory_names_the_search(task, policy):
    def stubborn(root):
        ((found,),) = yield Extend((root,), until="end")
        yield Extend((found,))
        return SearchResult(None)

    with pytest.raises(ContractError, match=r"search 'Scripted' \(problem word-0\) asked to extend .* finished or cut"):
        run_one(stubborn, task, policy)


def test_asking_for_nothing_is_an_error(task, policy):
    def empty(root):
        yield Extend((), n=2)
        return SearchResult(None)

    with pytest.raises(ContractError, match="asked for 2 continuations of 0 prefixes"):
        run_one(empty, task, policy)


def test_asking_again_after_the_budget_is_an_error(task, policy):
    def greedy(root):
        while True:
            try:
                yield Extend((root,))
            except BudgetExhausted:
                yield Score((root,))

    with pytest.raises(ContractError, match=r"asked for Score after .*budget of calls is spent; it must return"):
        run_one(greedy, task, policy, budget=Budget(calls=1))


def test_yielding_something_else_is_an_error(task, policy):
    def odd(root):
        yield root

    with pytest.raises(ContractError, match="yielded Trajectory; a search yields Extend or Score"):
        run_one(odd, task, policy)


def test_returning_something_else_is_an_error(task, policy):
    def forgetful(root):
        yield Extend((root,))

    with pytest.raises(ContractError, match="returned NoneType; it must return a SearchResult"):
        run_one(forgetful, task, policy)


def test_scoring_without_a_reward_says_how_to_mend_it(task, policy):
    with pytest.raises(CapabilityError, match=r"'BestOfN' has no reward: .*needs: \{reward: NAME\}"):
        list(run_searches(task.problems("test"), search=SEARCHES[2], policy=policy, task=task))


def test_a_search_s_own_exception_is_kept_and_gets_a_note(task, policy):
    def broken(root):
        yield Extend((root,))
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine") as caught:
        run_one(broken, task, policy)
    assert caught.value.__notes__ == ["in the search 'Scripted', problem word-0"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (lambda ts: [[math.nan] * len(t.steps) for t in ts], "'Bad' must give one finite number per step"),
        (lambda ts: [[0.0] * (len(t.steps) + 1) for t in ts], "'Bad' must give one finite number per step"),
        (lambda ts: [], "'Bad' scored 5 trajectories with 0 lists"),
    ],
)
def test_a_reward_that_breaks_its_contract_is_named(task, policy, rows, message):
    class Bad(RewardModel):
        def score(self, trajectories):
            return rows(trajectories)

    with pytest.raises(ContractError, match=message):
        list(run_searches(task.problems("test")[:1], search=SEARCHES[2], policy=policy, task=task, reward=Bad()))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda r: [], "'Bad' answered 1 requests with 0 lists"),
        (lambda r: [[]], "asked for 1 completions of at most 8 tokens and gave 0"),
        (lambda r: [[Completion((0,) * 9, ("a",) * 9, (0.0,) * 9, "end")]], "at most 8 tokens and gave 1 of up to 9"),
    ],
)
def test_a_policy_that_breaks_its_contract_is_named(task, answer, message):
    class Bad(Policy):
        def sample(self, requests):
            return answer(requests)

        def log_probs(self, trajectories):
            return list(trajectories)

    with pytest.raises(ContractError, match=message):
        list(run_searches(task.problems("test")[:1], search=SEARCHES[0], policy=Bad(), task=task, max_tokens=8))


def test_a_reward_finds_words_that_sampling_alone_does_not(task, make_policy, oracle):
    policy = make_policy(length=6, probabilities=(0.4, 0.3, 0.3))

    def accuracy(search, tokens):
        reports = run_searches(
            task.problems("test"),
            search=search,
            policy=policy,
            task=task,
            reward=oracle,
            budget=Budget(tokens=tokens),
        )
        return sum(report.outcome.correct for report in reports) / 12

    budget = 16 * 12
    assert accuracy(Beam(BeamConfig(width=1, expand=16)), budget) == 1.0
    assert accuracy(BestOfN(BestOfNConfig()), budget) < 0.5
