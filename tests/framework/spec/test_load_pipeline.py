"""From a good file to a pipeline."""

import dataclasses
import subprocess
import sys
import textwrap

import pytest

from trellis.errors import SpecError
from trellis.spec import Pipeline, load_pipeline

BASE = {
    "version": 1,
    "name": "base",
    "components": {"task": {"use": "sums"}, "policy": {"use": "tokens"}, "steps": {"use": "steps"}},
    "stages": [{"name": "train", "run": "train", "needs": {"optimizer": "steps", "policy": "policy", "task": "task"}}],
}


@pytest.fixture
def good(data_directory):
    return data_directory / "good.yaml"


def test_a_good_file_becomes_a_pipeline(good, registry):
    pipeline = load_pipeline(good, registry=registry)
    assert (pipeline.name, pipeline.seed, pipeline.device, pipeline.file) == ("good", 7, "auto", good)
    assert [stage.name for stage in pipeline.stages] == ["train", "test"]
    policy = pipeline.components["policy"]
    assert policy.registered.id == "kit/tokens"
    assert policy.config == policy.registered.record.load_config()(init="small", dropout=0.1, seed=7, device="auto")
    steps = pipeline.components["steps"].config
    assert steps.lr == 1e-5
    assert steps.groups[0].steps == 3


def test_needs_that_take_many_are_tuples_and_left_out_ones_are_not_there(good, registry):
    train, test = load_pipeline(good, registry=registry).stages
    assert train.needs == {"optimizer": "steps", "policy": "policy", "task": "task", "reward": "reward"}
    assert test.needs["reward"] == ("reward",)
    assert test.needs["searches"] == ("greedy", "wide")


def test_one_name_is_enough_where_many_are_taken(registry):
    data = BASE | {
        "components": BASE["components"] | {"wide": {"use": "wide"}},
        "stages": [
            *BASE["stages"],
            {"name": "test", "run": "evaluate", "needs": {"policy": "policy", "task": "task", "searches": "wide"}},
        ],
    }
    test = Pipeline.from_dict(data, registry=registry).stages[1]
    assert test.needs == {"policy": "policy", "task": "task", "searches": ("wide",)}


def test_components_are_built_after_what_they_need_and_else_in_the_order_of_the_file(registry):
    components = {
        "top": {"use": "blend", "needs": {"members": ["left", "right"]}},
        "left": {"use": "shifted", "needs": {"inner": "leaf"}},
        "right": {"use": "shifted", "needs": {"inner": "leaf"}},
        "task": {"use": "sums"},
        "leaf": {"use": "oracle"},
        "policy": {"use": "tokens"},
        "wide": {"use": "wide"},
    }
    needs = {"policy": "policy", "task": "task", "searches": "wide", "reward": "top"}
    stages = [{"name": "test", "run": "evaluate", "needs": needs}]
    pipeline = Pipeline.from_dict(BASE | {"components": components, "stages": stages}, registry=registry)
    assert pipeline.build_order() == ("leaf", "left", "right", "top", "task", "policy", "wide")


def test_a_dict_gives_the_same_pipeline_as_a_file(tmp_path, registry):
    file = tmp_path / "base.yaml"
    pipeline = Pipeline.from_dict(BASE, registry=registry)
    file.write_text(pipeline.to_yaml(), encoding="utf-8")
    assert load_pipeline(file, registry=registry) == pipeline
    assert pipeline.file is None


def test_problems_of_a_dict_have_paths_in_its_order_and_no_lines(registry):
    data = BASE | {"sed": 1, "components": BASE["components"] | {"policy": {"use": "tokens", "with": {"hiden": 1}}}}
    with pytest.raises(SpecError) as raised:
        Pipeline.from_dict(data, registry=registry)
    assert [problem.path for problem in raised.value.problems] == ["components.policy.with.hiden", "sed"]
    assert all(problem.line is None for problem in raised.value.problems)


class TestSeedAndDevice:
    def test_components_that_leave_them_out_take_the_pipelines(self, registry):
        pipeline = Pipeline.from_dict(BASE | {"seed": 3, "device": "cpu"}, registry=registry)
        policy = pipeline.components["policy"].config
        assert (policy.seed, policy.device) == (3, "cpu")
        assert pipeline.components["task"].config.seed == 3

    def test_components_that_set_them_keep_theirs(self, registry):
        pipeline = Pipeline.from_dict(BASE, registry=registry, overrides=["components.policy.with.seed=9"], seed=3)
        assert pipeline.components["policy"].config.seed == 9
        assert pipeline.components["task"].config.seed == 3

    def test_the_arguments_win_over_set_and_that_over_the_file(self, good, registry):
        assert load_pipeline(good, registry=registry, overrides=["seed=8"]).seed == 8
        pipeline = load_pipeline(good, registry=registry, overrides=["seed=8"], seed=9, device="cpu")
        assert (pipeline.seed, pipeline.device) == (9, "cpu")
        assert pipeline.components["policy"].config.device == "cpu"

    def test_a_taken_seed_is_not_written_down_so_that_another_can_be_given(self, tmp_path, registry):
        file = tmp_path / "resolved.yaml"
        file.write_text(Pipeline.from_dict(BASE, registry=registry, seed=3).to_yaml(), encoding="utf-8")
        assert load_pipeline(file, registry=registry).components["policy"].config.seed == 3
        assert load_pipeline(file, registry=registry, seed=4).components["policy"].config.seed == 4


class TestOverrides:
    @pytest.mark.parametrize(
        ("setting", "read", "value"),
        [
            ("components.policy.with.hidden=64", lambda p: p.components["policy"].config.hidden, 64),
            (
                "components.steps.with.warm_up.steps=3",
                lambda p: p.components["steps"].config.warm_up.steps,
                3,
            ),
            ("components.steps.with={steps: 3}", lambda p: p.components["steps"].config.steps, 3),
            ("components.steps.with.groups=[{steps: 1}]", lambda p: p.components["steps"].config.groups[0].steps, 1),
            ("components.policy.with.token=a=b", lambda p: p.components["policy"].config.token, "a=b"),
            ("components.policy.with.token=", lambda p: p.components["policy"].config.token, None),
            ("stages.train.with.checkpoint_every=5", lambda p: p.stages[0].config.checkpoint_every, 5),
            ("stages[0].with.checkpoint_every=5", lambda p: p.stages[0].config.checkpoint_every, 5),
            ("stages.0.with.checkpoint_every=5", lambda p: p.stages[0].config.checkpoint_every, 5),
            ("components.steps.with.lr=1e-5", lambda p: p.components["steps"].config.lr, 1e-5),
            ("name=other", lambda p: p.name, "other"),
        ],
    )
    def test_a_setting_reaches_its_value(self, setting, read, value, registry):
        assert read(Pipeline.from_dict(BASE, registry=registry, overrides=[setting])) == value

    def test_the_last_of_two_wins(self, registry):
        assert Pipeline.from_dict(BASE, registry=registry, overrides=["seed=1", "seed=2"]).seed == 2

    def test_what_was_given_is_not_changed(self, registry):
        before = str(BASE)
        Pipeline.from_dict(BASE, registry=registry, overrides=["components.policy.with.hidden=64"])
        assert str(BASE) == before

    def test_what_was_set_is_written_down(self, registry):
        assert (
            "hidden: 64"
            in Pipeline.from_dict(BASE, registry=registry, overrides=["components.policy.with.hidden=64"]).to_yaml()
        )


class TestSecrets:
    TOKEN = {"components": BASE["components"] | {"policy": {"use": "tokens", "with": {"token": "Bearer ${env:KEY}"}}}}

    def test_a_reference_is_filled_in_and_never_written_down(self, registry, monkeypatch):
        monkeypatch.setenv("KEY", "hunter2")
        pipeline = Pipeline.from_dict(BASE | self.TOKEN, registry=registry)
        assert pipeline.components["policy"].config.token == "Bearer hunter2"
        assert pipeline.secrets == {"hunter2"}
        assert "hunter2" not in pipeline.to_yaml()
        assert "token: Bearer ${env:KEY}" in pipeline.to_yaml()

    def test_it_is_masked_where_a_plugin_put_it_besides(self, registry, monkeypatch):
        monkeypatch.setenv("KEY", "hunter2")
        policy = {"use": "tokens", "with": {"token": "${env:KEY}", "stop": ["a", "hunter2 was here"]}}
        data = BASE | {"components": BASE["components"] | {"policy": policy}}
        written = Pipeline.from_dict(data, registry=registry).to_yaml()
        assert "hunter2" not in written
        assert "${env:KEY} was here" in written

    def test_a_reference_may_come_from_set(self, registry, monkeypatch):
        monkeypatch.setenv("KEY", "hunter2")
        setting = "components.policy.with.token=${env:KEY}"
        pipeline = Pipeline.from_dict(BASE, registry=registry, overrides=[setting])
        assert pipeline.components["policy"].config.token == "hunter2"
        assert "hunter2" not in pipeline.to_yaml()

    def test_what_a_variable_holds_is_not_looked_into(self, registry, monkeypatch):
        monkeypatch.setenv("KEY", "${env:HOME}")
        pipeline = Pipeline.from_dict(BASE | self.TOKEN, registry=registry)
        assert pipeline.components["policy"].config.token == "Bearer ${env:HOME}"

    def test_an_empty_variable_is_no_secret(self, registry, monkeypatch):
        monkeypatch.setenv("KEY", "")
        pipeline = Pipeline.from_dict(BASE | self.TOKEN, registry=registry)
        assert pipeline.secrets == frozenset()
        assert "token: Bearer ${env:KEY}" in pipeline.to_yaml()

    def test_the_pipelines_own_text_shows_none_of_it(self, registry, monkeypatch):
        monkeypatch.setenv("KEY", "hunter2")
        assert "hunter2" not in repr(Pipeline.from_dict(BASE | self.TOKEN, registry=registry))


class TestLocalPlugins:
    TEXT = """\
        version: 1
        name: local
        plugins: [./local_plugin.py]
        components:
          coin: {use: coin}
        stages:
          - {name: toss, run: toss, needs: {task: coin}}
        """

    @pytest.fixture
    def file(self, tmp_path, data_directory):
        (tmp_path / "local_plugin.py").write_bytes((data_directory / "local_plugin.py").read_bytes())
        file = tmp_path / "local.yaml"
        file.write_text(textwrap.dedent(self.TEXT), encoding="utf-8")
        return file

    def test_a_file_beside_the_pipeline_is_loaded(self, file):
        pipeline = load_pipeline(file)
        assert pipeline.components["coin"].registered.id == "local_plugin/coin"
        assert pipeline.plugins == (file.with_name("local_plugin.py").resolve(),)

    def test_it_is_found_again_from_another_directory(self, file, tmp_path_factory):
        elsewhere = tmp_path_factory.mktemp("elsewhere") / "resolved.yaml"
        pipeline = load_pipeline(file)
        elsewhere.write_text(pipeline.to_yaml(), encoding="utf-8")
        assert load_pipeline(elsewhere, registry=pipeline.registry) == pipeline

    def test_it_is_not_run_when_local_plugins_are_turned_off(self, file):
        file.with_name("local_plugin.py").write_text("raise SystemExit('was run')", encoding="utf-8")
        with pytest.raises(SpecError, match="local plugins are turned off") as raised:
            load_pipeline(file, allow_local_plugins=False)
        assert raised.value.problems[0].path == "plugins[0]"

    def test_one_that_raises_is_a_problem_where_it_is_named(self, file):
        file.with_name("local_plugin.py").write_text("import warp_drive", encoding="utf-8")
        with pytest.raises(SpecError) as raised:
            load_pipeline(file)
        first = raised.value.problems[0]
        assert (first.path, first.line, first.column) == ("plugins[0]", 3, 11)
        assert "ModuleNotFoundError: No module named 'warp_drive'" in first.message


def test_checking_imports_nothing_heavy(data_directory):
    program = f"""
import sys
from pathlib import Path
from trellis.plugins import discover
from trellis.spec import Pipeline

Pipeline.from_dict(
    {{
        "version": 1,
        "name": "a",
        "components": {{"coin": {{"use": "coin"}}}},
        "stages": [{{"name": "toss", "run": "toss", "needs": {{"task": "coin"}}}}],
    }},
    registry=discover(local_plugins=[Path({str(data_directory / "local_plugin.py")!r})], strict=False),
).to_yaml()
print(sorted({{"torch", "transformers", "numpy"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_specs_are_frozen(good, registry):
    pipeline = load_pipeline(good, registry=registry)
    with pytest.raises(dataclasses.FrozenInstanceError):
        pipeline.seed = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        pipeline.stages[0].name = "other"
