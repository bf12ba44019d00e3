"""Policies behind an OpenAI-compatible API, against a real HTTP server around a tiny model, with faults where wanted."""

import math
from dataclasses import replace

import pytest

from trellis import Problem, SampleRequest, Step, Trajectory, build
from trellis.errors import CapabilityError, EndpointError, SpecError
from trellis.testing.material import Successor, SuccessorConfig
from trellis_openai.pool import _retry_after
from trellis_openai.replies import Reply, align, completion

START = Trajectory(Problem("p", "12"), "12\n")
TASK = Successor(SuccessorConfig())
ASCII = r"root ::= [ -~\n]*"
BUSY = (429, {"retry-after": "0"}, {"error": {"message": "too many requests", "type": "rate_limit"}})
BROKEN = (500, {}, {"error": {"message": "the GPU is on fire", "type": "internal"}})


@pytest.fixture
def server(serve):
    started = serve()
    started.grammar = ASCII
    return started


@pytest.fixture
def make():
    made = []

    def policy(*servers, use="openai", **config):
        urls = [each if isinstance(each, str) else each.url for each in servers]
        made.append(build(use, {"base_urls": urls, "backoff_seconds": 0.01, **config}))
        return made[-1]

    yield policy
    for each in made:
        each.pool.close()


def asked(policy, prefix=START, **changes):
    return policy.sample([SampleRequest(prefix, **{"n": 3, "max_tokens": 12, "seed": 5} | changes)])[0]


def direct(policy, prefix=START, **changes):
    return asked(policy, replace(prefix, grammar=ASCII), **changes)


@pytest.mark.parametrize("kind", ["openai", "vllm"])
@pytest.mark.parametrize("use", ["openai", "openai-chat"])
def test_samples_are_those_of_the_served_policy(server, make, served_policy, kind, use):
    policy = make(server, use=use, server=kind)
    for changes in ({"temperature": 0.0}, {"temperature": 0.7}, {"stop": "1", "max_tokens": 60}):
        found, expected = asked(policy, **changes), direct(served_policy, **changes)
        assert [c.text for c in found] == [c.text for c in expected]
        assert [c.finish for c in found] == [c.finish for c in expected]
        assert [c.num_tokens for c in found] == [c.num_tokens for c in expected]
        for one, other in zip(found, expected, strict=True):
            assert one.token_ids == ()
            assert one.pieces == other.pieces
            assert one.log_probs == pytest.approx(other.log_probs, abs=1e-5)


@pytest.mark.parametrize("kind", ["openai", "vllm"])
def test_steps_are_continued_and_scored(server, make, served_policy, kind):
    policy = make(server, server=kind, end_token="<|end|>")
    (free,) = asked(policy, n=1, max_tokens=40)
    (first,) = asked(policy, n=1, stop=free.text[2], max_tokens=40)
    assert first.finish == "stop"
    begun = TASK.extend(START, first)
    (second,) = asked(policy, begun, n=1, max_tokens=100)
    whole = TASK.extend(begun, second)
    (expected,) = served_policy.log_probs([replace(whole, steps=(Step(whole.text),), grammar=ASCII)])
    (scored,) = policy.log_probs([replace(whole, steps=tuple(Step(step.text) for step in whole.steps))])
    assert [step.text for step in scored.steps] == [step.text for step in whole.steps]
    assert scored.log_prob == pytest.approx(expected.log_prob, abs=1e-4)
    for one, other in zip(scored.steps, whole.steps, strict=True):
        assert one.log_probs == pytest.approx(other.log_probs, abs=1e-4)


def test_steps_have_no_tokens_so_that_others_read_their_text(server, make, served_policy):
    trajectory = TASK.extend(START, asked(make(server), n=1)[0])
    assert all(step.token_ids == () and step.num_tokens == len(step.log_probs) for step in trajectory.steps)
    assert trajectory.num_tokens == 12
    (read,) = served_policy.log_probs([trajectory])
    assert all(step.token_ids for step in read.steps)


def test_a_plain_server_is_told_nothing_that_openai_does_not_know(server, make):
    asked(make(server), stop="1")
    (body,) = server.requests
    known = {"model", "prompt", "n", "seed", "max_tokens", "temperature", "top_p", "logprobs"}
    assert body.keys() == known
    assert (body["prompt"], body["n"], body["model"], body["top_p"]) == ("12\n", 3, "tiny", 1.0)


def test_vllm_is_told_the_stop_text_and_to_sample_from_the_model_itself(server, make):
    asked(make(server, server="vllm", api_key="sesame"), stop="1", n=1)
    (body,) = server.requests
    assert body["stop"] == ["1"]
    assert body["include_stop_str_in_output"] is True
    assert (body["top_k"], body["min_p"], body["repetition_penalty"]) == (0, 0.0, 1.0)
    assert server.headers_seen[0]["authorization"] == "Bearer sesame"


def test_a_key_in_the_environment_goes_nowhere_unasked(server, make, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    asked(make(server), n=1)
    assert "secret" not in str(server.headers_seen)


def test_grammars_go_to_vllm(server, make):
    policy = make(server, server="vllm")
    prefix = replace(START, grammar='root ::= ("12" | "15" | "3") "\\n"\n')
    found = asked(policy, prefix, n=8)
    assert {c.text for c in found} <= {"12\n", "15\n", "3\n"}
    # vLLM says probabilities from before the mask: none are better than wrong ones.
    assert {c.log_probs for c in found} == {()}
    assert all(c.num_tokens == len(c.pieces) > 1 for c in found)
    with pytest.raises(CapabilityError, match="grammar that goes on from steps"):
        asked(policy, replace(prefix, steps=(Step("3"),)))
    with pytest.raises(CapabilityError, match="log-probabilities under a grammar"):
        policy.log_probs([replace(prefix, steps=(Step("3\n"),))])
    with pytest.raises(CapabilityError, match="where it is vLLM, set `server: vllm`"):
        asked(make(server), prefix)
    with pytest.raises(CapabilityError, match="leave `choices` out"):
        asked(policy, choices=("1",))


def test_where_n_is_ignored_the_missing_ones_are_asked_for(server, make):
    server.ignores = {"n"}
    found = asked(make(server), n=4, max_tokens=20)
    assert len(found) == len(server.requests) == 4
    assert len({body["seed"] for body in server.requests}) == 4
    assert len({c.text for c in found}) > 1
    assert asked(make(server), n=4, max_tokens=20) == found


def test_without_log_probs_there_is_text_and_what_needs_them_says_so(server, make):
    server.ignores = {"logprobs"}
    policy = make(server)
    found = asked(policy, n=2, stop="1", max_tokens=40)
    for one in found:
        assert one.log_probs == one.token_ids == ()
        assert one.num_tokens >= 1
    trajectories = [TASK.extend(START, one) for one in found]
    with pytest.raises(CapabilityError, match=f"{server.url} does not repeat a prompt"):
        build("log-pi", policy=policy).score(trajectories)
    assert sum(c.num_tokens for c in asked(policy, n=3, max_tokens=12)) == 36


def test_a_chat_server_scores_nothing_and_a_plain_one_continues_nothing(server, make):
    policy = make(server, use="openai-chat", system_prompt="Add.\n")
    asked(policy, n=1)
    assert server.requests[0]["messages"] == [
        {"role": "system", "content": "Add.\n"},
        {"role": "user", "content": "12\n"},
    ]
    with pytest.raises(CapabilityError, match="take `use: openai`"):
        policy.log_probs([START])
    with pytest.raises(CapabilityError, match="a plain chat server begins a turn of its own"):
        asked(policy, replace(START, steps=(Step("3\n"),)))


def test_vllm_goes_on_with_the_assistants_turn(server, make, served_policy):
    prefix = replace(START, steps=(Step("3\n"),))
    found = asked(make(server, use="openai-chat", server="vllm"), prefix)
    assert [c.text for c in found] == [c.text for c in direct(served_policy, prefix)]
    assert server.requests[0]["continue_final_message"] is True
    assert server.requests[0]["add_generation_prompt"] is False


@pytest.mark.parametrize("system_prompt", [None, "Add.\n"])
@pytest.mark.parametrize("kind", ["qwen2", "llama"])
def test_turns_are_those_of_the_saved_policy(model_directory, serve, make, tmp_path, kind, system_prompt):
    config = {"cpu_threads": 1, "device": "cpu", "system_prompt": system_prompt}
    local = build("transformers", {"model": str(model_directory(kind)), **config})
    local.save(tmp_path)
    # What ends a turn, too, the server has from the directory alone.
    server = serve(build("transformers", {"model": str(tmp_path), "cpu_threads": 1, "device": "cpu", "chat": False}))
    server.grammar = ASCII
    # Llama 3's template takes the white space around a turn away.
    begun = replace(START, steps=(Step("3\n" if kind == "qwen2" else "3 + 4"),))
    for name, prefix in (("openai", START), ("vllm", START), ("vllm", begun)):
        policy = make(server, use="openai-chat", server=name, system_prompt=system_prompt)
        for changes in ({"temperature": 0.0, "n": 1}, {"stop": "1", "max_tokens": 40}):
            found, expected = asked(policy, prefix, **changes), direct(local, prefix, **changes)
            assert [c.pieces for c in found] == [c.pieces for c in expected]
            assert [c.finish for c in found] == [c.finish for c in expected]
            for one, other in zip(found, expected, strict=True):
                assert one.log_probs == pytest.approx(other.log_probs, abs=1e-5)


def test_an_answer_without_tokens_or_usage_cannot_be_counted(server, make):
    server.ignores = {"logprobs", "usage"}
    with pytest.raises(CapabilityError, match="budgets count them"):
        asked(make(server))


@pytest.mark.parametrize("fault", [BUSY, BROKEN, "drop", (503, {"retry-after": "0"}, "busy"), (408, {}, {})], ids=str)
def test_a_request_that_failed_is_asked_again(server, make, fault):
    policy = make(server, model="tiny")
    expected = asked(policy)
    server.requests.clear()
    server.faults = [fault]
    assert asked(policy) == expected
    assert len(server.requests) == 2


def test_a_slow_answer_is_given_up_and_asked_again(server, make):
    policy = make(server, model="tiny", timeout_seconds=1.0)
    expected = asked(policy)
    server.faults = [30]
    assert asked(policy) == expected
    assert len(server.requests) == 3
    server.released.set()


def test_what_fails_for_good_names_the_endpoint_the_status_and_the_reason(server, make):
    policy = make(server, model="tiny", retries=2)
    # A probe (the list of models) comes before each further attempt, and fails likewise.
    server.faults = [BROKEN] * 3
    with pytest.raises(
        EndpointError, match=r"\(status 500\): given up after 3 attempts, .*: the GPU is on fire"
    ) as caught:
        asked(policy)
    assert (caught.value.endpoint, caught.value.status) == (server.url, 500)
    asked(policy)


def test_what_a_server_refuses_is_not_asked_again(server, make):
    policy = make(server, model="tiny")
    server.faults = [(400, {}, {"error": {"message": "the context has 256 tokens", "type": "invalid"}})]
    with pytest.raises(EndpointError, match=r"\(status 400\): the context has 256 tokens"):
        asked(policy)
    server.faults = [(422, {}, {"detail": "unexpected field"})]
    with pytest.raises(EndpointError, match=r"\(status 422\): unexpected field"):
        asked(policy)
    assert len(server.requests) == 2


def test_a_server_that_wants_more_patience_than_allowed_is_given_up(server, make):
    policy = make(server, model="tiny", max_wait_seconds=5.0)
    server.faults = [(429, {"retry-after": "3600"}, {"error": {"message": "come back in an hour"}})]
    with pytest.raises(EndpointError, match="come back in an hour"):
        asked(policy)
    assert len(server.requests) == 1


def test_retry_after_is_a_number_or_a_date():
    assert _retry_after({"retry-after": "7"}) == 7.0
    assert _retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0
    assert _retry_after({"retry-after": "soon"}) is None
    assert _retry_after({}) is None


def test_a_dead_endpoint_is_left_out_and_nothing_is_lost(serve, make, served_policy):
    alive, dead = serve(), serve()
    dead.shutdown()
    dead.server_close()
    alive.grammar = ASCII
    policy = make(dead, alive, model="tiny")
    prefixes = [replace(START, prompt=f"{number}\n") for number in range(30)]
    found = policy.sample([SampleRequest(prefix, n=1, max_tokens=6, seed=1) for prefix in prefixes])
    expected = [direct(served_policy, prefix, n=1, max_tokens=6, seed=1) for prefix in prefixes]
    assert [c.text for (c,) in found] == [c.text for (c,) in expected]
    assert policy.pool.endpoints[0].failures > 0


def test_an_endpoint_that_is_back_is_asked_again(serve, make):
    one, other = serve(), serve()
    one.faults = [BROKEN]
    policy = make(one, other, model="tiny")
    for seed in range(20):
        asked(policy, seed=seed, n=1)
        if len(one.requests) > 1:
            break
    assert len(one.requests) > 1
    assert policy.pool.endpoints[0].failures == 0


def test_requests_are_spread_and_no_more_are_under_way_than_allowed(serve, make):
    servers = [serve(), serve()]
    policy = make(*servers, model="tiny", max_concurrency=4)
    policy.sample([SampleRequest(replace(START, prompt=f"{n}\n"), max_tokens=4) for n in range(40)])
    counts = [len(each.requests) for each in servers]
    assert sum(counts) == 40
    assert min(counts) >= 5
    assert max(each.most_at_once for each in servers) <= 4


def test_when_all_endpoints_are_dead_the_error_comes_and_the_rest_is_dropped(serve, make):
    dead = serve()
    dead.shutdown()
    dead.server_close()
    policy = make(dead, model="tiny", retries=2)
    # Several are under way when the third attempt fails.
    with pytest.raises(EndpointError, match=r"given up after \d attempts") as caught:
        policy.sample([SampleRequest(START, n=1, max_tokens=4, seed=seed) for seed in range(200)])
    assert caught.value.status is None
    assert caught.value.endpoint == dead.url


def test_the_only_model_of_a_server_needs_no_name(server, make):
    assert make(server).model == "tiny"
    server.listed = ["small", "large"]
    with pytest.raises(EndpointError, match="it has the models small, large: say which, `model: NAME`"):
        asked(make(server))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"base_urls": ["localhost:8000"]}, "write it as http://HOST:PORT/v1"),
        ({"base_urls": ["http://a/v1", "http://a/v1"]}, "stands there twice"),
        ({"base_urls": []}, "at least 1"),
    ],
)
def test_addresses_are_checked(config, message):
    with pytest.raises(SpecError, match=message):
        build("openai", config)


@pytest.mark.parametrize(
    ("tokens", "text", "pieces"),
    [
        (["a", "b"], "ab", ["a", "b"]),
        (["a", "</s>"], "a", ["a", ""]),
        (["<s>", "a", "b"], "ab", ["", "a", "b"]),
        (["\ufffd", "\ufffd", "!"], "é!", ["", "é", "!"]),
        (["x", "\ufffd", "\ufffd", "\ufffd", "\ufffd"], "x😀", ["x", "", "", "", "😀"]),
        (["bytes:\\xc3", "bytes:\\xa9", " b"], "é b", ["", "é", " b"]),
        (["a"], "", [""]),
    ],
)
def test_tokens_are_aligned_with_their_text(tokens, text, pieces):
    assert align(tokens, text) == pieces


def test_a_token_that_runs_over_the_stop_text_keeps_its_part():
    reply = Reply("1\n2 and", "length", None, ["1", "\n2", " and"], [-0.5, -1.0, -2.0], None, "http://x")
    found = completion(reply, stop="\n", masked=False)
    assert (found.text, found.pieces, found.log_probs, found.finish) == ("1\n", ("1", "\n"), (-0.5, -1.0), "stop")


def test_a_completion_that_was_filtered_is_an_error():
    reply = Reply("", "content_filter", None, None, None, 3, "http://x")
    with pytest.raises(EndpointError, match="ended with 'content_filter'"):
        completion(reply, stop=None, masked=False)


def test_log_probabilities_are_finite(server, make):
    for one in asked(make(server, server="vllm"), n=5, max_tokens=30):
        assert all(math.isfinite(value) and value <= 0 for value in one.log_probs)
