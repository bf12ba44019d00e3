"""What holds of every pipeline: written out and read again it is the same; broken, it is refused with a SpecError."""

import copy

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trellis.errors import SpecError
from trellis.spec import Pipeline, load_pipeline

names = st.from_regex(r"\A[A-Za-z0-9_-]{1,12}\Z")
words = st.text(max_size=20).filter(lambda text: "${env:" not in text)
floats = st.floats(allow_nan=False)
warm_ups = st.fixed_dictionaries({}, optional={"steps": st.integers(), "shape": st.sampled_from(["linear", "cosine"])})
seeds = st.none() | st.integers(0, 2**63)


def part(use, **fields):
    return st.fixed_dictionaries({"use": st.just(use), "with": st.fixed_dictionaries({}, optional=fields)})


tasks = part("sums", numbers=st.integers(3, 6), operators=st.lists(st.sampled_from("+-*")), seed=seeds)
policies = part(
    "tokens",
    hidden=st.integers(1, 1000).map(lambda half: 2 * half),
    dropout=st.floats(0, 1, exclude_max=True),
    bias=st.booleans(),
    stop=words | st.lists(words),
    token=st.none() | words,
    seed=seeds,
    device=st.none() | words,
)
optimizers = part(
    "steps",
    steps=st.integers(1),
    lr=floats,
    warm_up=warm_ups,
    weights=st.dictionaries(words, floats, max_size=3),
    groups=st.lists(warm_ups, max_size=3),
)


@st.composite
def pipelines(draw):
    """A task, a policy, an optimizer and rewards that need only earlier ones, under any names, all of them reached."""
    task, policy, optimizer, *rewards = draw(st.lists(names, min_size=3, max_size=8, unique=True))
    components = {task: draw(tasks), policy: draw(policies), optimizer: draw(optimizers)}
    for index, reward in enumerate(rewards):
        members = draw(st.lists(st.sampled_from(rewards[:index]), unique=True)) if index else []
        leaf = st.sampled_from([{"use": "oracle"}, {"use": "learned", "needs": {"policy": policy}}])
        components[reward] = {"use": "blend", "needs": {"members": members}} if members else draw(leaf)
    names_of_stages = draw(st.lists(names, min_size=1 + len(rewards), max_size=1 + len(rewards), unique=True))
    needs = {"optimizer": optimizer, "policy": policy, "task": task}
    return {
        "version": 1,
        "name": draw(names),
        "seed": draw(st.integers(0, 2**63)),
        "components": dict(draw(st.permutations(list(components.items())))),
        "stages": [
            {"name": name, "run": "train", "needs": needs | ({"reward": reward} if reward else {})}
            for name, reward in zip(names_of_stages, [None, *rewards], strict=True)
        ],
    }


@given(data=pipelines())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
def test_a_pipeline_written_out_is_the_same_when_read_again(data, registry, tmp_path_factory):
    pipeline = Pipeline.from_dict(data, registry=registry)
    file = tmp_path_factory.getbasetemp() / "written.yaml"
    file.write_text(pipeline.to_yaml(), encoding="utf-8")
    again = load_pipeline(file, registry=registry)
    assert again == pipeline
    assert again.build_order() == pipeline.build_order()


@given(data=pipelines())
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_components_come_after_what_they_need(data, registry):
    pipeline = Pipeline.from_dict(data, registry=registry)
    order = pipeline.build_order()
    assert sorted(order) == sorted(pipeline.components)
    for name, spec in pipeline.components.items():
        for need in spec.needs.values():
            assert all(
                order.index(target) < order.index(name) for target in ([need] if isinstance(need, str) else need)
            )


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def _problems(load):
    """Return the problems that refuse a pipeline, if any; any other exception is a fault."""
    try:
        load()
    except SpecError as error:
        return error.problems
    return ()


def _paths(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _paths(item, (*path, key))


@given(data=pipelines(), replacement=anything, choice=st.data())
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_with_any_value_in_any_place_it_is_a_pipeline_or_a_spec_error(data, replacement, choice, registry):
    broken = {"root": copy.deepcopy(data)}
    *around, last = choice.draw(st.sampled_from([("root", *path) for path in _paths(data)]))
    node = broken
    for step in around:
        node = node[step]
    node[last] = replacement
    assert all(problem.message for problem in _problems(lambda: Pipeline.from_dict(broken["root"], registry=registry)))


@given(choice=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_with_any_part_of_its_text_cut_out_it_is_a_pipeline_or_a_spec_error_with_lines(
    choice, registry, data_directory, tmp_path_factory
):
    text = (data_directory / "good.yaml").read_text(encoding="utf-8")
    begin = choice.draw(st.integers(0, len(text) - 1))
    end = choice.draw(st.integers(begin + 1, min(begin + 12, len(text))))
    file = tmp_path_factory.getbasetemp() / "cut.yaml"
    file.write_text(text[:begin] + text[end:], encoding="utf-8")
    num_lines = text.count("\n") + 1
    assert all(1 <= problem.line <= num_lines for problem in _problems(lambda: load_pipeline(file, registry=registry)))


@given(setting=st.text() | st.tuples(names, words).map("=".join))
def test_any_setting_is_put_or_refused_with_a_spec_error(setting, registry):
    data = {
        "version": 1,
        "name": "a",
        "components": {"task": {"use": "sums"}},
        "stages": [{"name": "look", "run": "look", "needs": {"task": "task"}}],
    }
    problems = _problems(lambda: Pipeline.from_dict(data, registry=registry, overrides=[setting]))
    assert all(problem.path.startswith("--set") for problem in problems)
