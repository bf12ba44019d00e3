"""Discovery, isolation and the registry, with real distributions on disk (`data/distributions`)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import trellis
from trellis import Config, RewardModel, SearchAlgorithm, TrellisError
from trellis.component import KINDS
from trellis.errors import (
    DuplicateComponentError,
    MissingExtraError,
    PluginError,
    PluginLoadError,
    SpecError,
    UnknownComponentError,
)
from trellis.plugins import PluginFailure, Registry, build, discover, registry
from trellis.plugins.settings import disabled_plugins, settings_file, write_disabled

DISTRIBUTIONS = Path(__file__).parent / "data" / "distributions"
BROKEN = {path.parent.name: path.read_text(encoding="utf-8").strip() for path in DISTRIBUTIONS.glob("*/expected.txt")}
"""The line that each broken distribution is reported with."""


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("TRELLIS_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.delenv("TRELLIS_DISABLE_PLUGINS", raising=False)
    monkeypatch.delenv("TRELLIS_STRICT_PLUGINS", raising=False)
    registry.cache_clear()
    yield
    registry.cache_clear()


@pytest.fixture
def install(monkeypatch):
    def install(*folders: str) -> None:
        for folder in folders:
            monkeypatch.syspath_prepend(str(DISTRIBUTIONS / folder))

    return install


@pytest.fixture
def local(tmp_path):
    """Load source text as a local plugin."""

    def load(source: str, stem: str = "mine") -> Registry:
        file = tmp_path / f"{stem}.py"
        file.write_text(
            f"from trellis import Component, Config, Need, RewardModel, SearchAlgorithm, hookimpl\n{source}"
        )
        return discover(local_plugins=[file], disabled=())

    return load


def failure(found: Registry, plugin: str) -> PluginFailure:
    (only,) = [each for each in found.failures if each.plugin == plugin]
    return only


def test_an_installed_distribution_is_listed_found_and_built(install):
    install("good")
    found = registry().find("brevity")
    assert (found.id, found.kind, found.distribution, found.version) == (
        "brevity/brevity",
        "reward",
        "trellis-brevity",
        "1.0",
    )
    assert registry().components("reward")["brevity/brevity"] is found
    assert "brevity/brevity" not in registry().components("search")
    (info,) = [info for info in registry().plugins if info.name == "brevity"]
    assert (info.module, info.status, info.components) == ("trellis_brevity", "loaded", ("brevity/brevity",))
    reward = build("brevity/brevity", {"per_character": 0.5}, kind="reward")
    assert reward.config.per_character == 0.5
    assert isinstance(reward, RewardModel)


@pytest.mark.parametrize("folder", BROKEN)
def test_a_broken_plugin_is_a_failure_that_says_why(folder, install):
    before = {str(failure) for failure in discover().failures}
    install(folder)
    (new,) = {str(failure) for failure in discover().failures} - before
    assert new == BROKEN[folder].replace("VERSION", trellis.__version__)


def test_broken_plugins_take_nothing_else_with_them(install):
    before = discover()
    install("good", *BROKEN)
    after = discover()
    assert after.by_id.keys() - before.by_id.keys() == {"brevity/brevity"}
    assert before.by_id.keys() <= after.by_id.keys()
    assert len(after.failures) == len(before.failures) + len(BROKEN)
    assert len([info for info in after.plugins if info.status == "failed"]) == len(after.failures)


def test_of_two_strangers_with_one_name_the_first_distribution_by_name_is_loaded(monkeypatch, tmp_path):
    for distribution in ("zebra", "aardvark"):
        folder = tmp_path / distribution / f"{distribution}-1.0.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[trellis]\nanimal = {distribution}_plugin\n")
        (tmp_path / distribution / f"{distribution}_plugin.py").write_text("")
        monkeypatch.syspath_prepend(str(tmp_path / distribution))
    found = discover()
    assert {info.distribution: info.status for info in found.plugins if info.name == "animal"} == {
        "aardvark": "loaded",
        "zebra": "failed",
    }
    exception = failure(found, "animal").exception
    assert isinstance(exception, DuplicateComponentError)
    assert exception.providers == ("aardvark 1.0", "zebra 1.0")


def test_a_needed_plugin_that_failed_is_an_error_with_the_cause_chained(install):
    install("raises_on_import")
    with pytest.raises(PluginLoadError) as caught:
        discover().find("raises/anything")
    assert str(caught.value) == f"{BROKEN['raises_on_import']}. TRELLIS_TRACEBACK=1 shows where it happened."
    assert caught.value.plugin == "raises"
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_strict_makes_a_failure_fatal(install, monkeypatch):
    install("hook_raises")
    others = {info.name for info in discover().plugins} - {"hook-raises"}
    monkeypatch.setenv("TRELLIS_STRICT_PLUGINS", "1")
    with pytest.raises(PluginLoadError) as caught:
        discover(disabled=others)
    assert isinstance(caught.value.__cause__, KeyError)
    assert failure(discover(disabled=others, strict=False), "hook-raises").phase == "collect"


def test_a_hook_of_a_later_version_may_be_implemented_as_optional(install, local):
    install("misspelt_hook")
    found = local("@hookimpl(optionalhook=True)\ndef trellis_reward_model():\n    return ()")
    assert [info.status for info in found.plugins if info.name == "mine"] == ["local"]


def test_a_plugin_that_exits_when_imported_is_a_failure(local):
    assert failure(local("raise SystemExit(3)"), "mine").reason == "SystemExit: 3"
    assert "trellis_local_mine" not in sys.modules


@pytest.mark.parametrize(
    ("component", "fault"),
    [
        ('"Best_of_N", "", Config, "m:C"', "a name is lower-case words and digits joined by hyphens, like 'best-of-n'"),
        ('"a--b", "", Config, "m:C"', "a name is lower-case words and digits joined by hyphens, like 'best-of-n'"),
        ('"a", "", Config, "m.C"', "'m.C' should read 'module:Class'"),
        ('"a", "", "m.C", "m:C"', "'m.C' should read 'module:Class'"),
        ('"a", "", dict, "m:C"', "its config <class 'dict'> is no subclass of trellis.Config"),
        (
            '"a", "", Config, "m:C", needs={"judge": Need("rewards")}',
            "its need 'judge' is of an unknown kind 'rewards'; did you mean 'reward'? Valid: "
            + ", ".join(sorted(KINDS)),
        ),
    ],
)
def test_a_record_that_would_break_something_later_is_refused(component, fault, local):
    found = failure(local(f"@hookimpl\ndef trellis_stages():\n    yield Component({component})"), "mine")
    assert found.phase == "collect"
    assert found.reason.endswith(f"': {fault}")


def test_a_hook_that_returns_no_list_is_told_so(local):
    found = failure(local("@hookimpl\ndef trellis_stages():\n    pass"), "mine")
    assert found.reason == (
        "ContractError: trellis_stages returned None: yield Component records, or return a list of them"
    )


TWO = """
@hookimpl
def trellis_reward_models():
    yield Component("brevity", "another one", Config, "m:C")
@hookimpl
def trellis_search_algorithms():
    return [Component("wander", "a search", Config, "m:C")]
"""


def test_an_ambiguous_name_asks_for_the_full_id(install, local):
    install("good")
    with pytest.raises(DuplicateComponentError, match=r"Write the full id: brevity/brevity or mine/brevity\.$"):
        local(TWO).find("brevity")
    assert local(TWO).find("mine/brevity").record.summary == "another one"


def test_an_unknown_name_brings_the_close_one_the_valid_ones_and_the_plugins_that_failed(install, local):
    install("raises_on_import")
    found = local(TWO)
    with pytest.raises(UnknownComponentError) as caught:
        found.find("brevty", "reward")
    assert "brevity" in caught.value.choices
    assert "wander" not in caught.value.choices
    message = str(caught.value)
    assert message.startswith("no reward component is named 'brevty'; did you mean 'brevity'? Valid: ")
    assert "raises" in message.partition("Plugins that failed to load: ")[2]
    with pytest.raises(UnknownComponentError, match="did you mean 'mine/brevity'"):
        found.find("mine/brevty")


def test_a_component_of_another_kind_is_named_with_its_kind(local):
    with pytest.raises(UnknownComponentError, match=r"no reward component .*'mine/wander' is of kind search"):
        local(TWO).find("wander", "reward")
    with pytest.raises(UnknownComponentError, match=r"no reward component .*'mine/wander' is of kind search"):
        local(TWO).find("mine/wander", "reward")


def test_a_missing_optional_module_is_found_without_importing_anything(local):
    component = '"a", "", Config, "m:C", extra="speed", modules=("json", "no_such_module.inner")'
    found = local(f"@hookimpl\ndef trellis_stages():\n    yield Component({component})").find("mine/a")
    with pytest.raises(
        MissingExtraError, match=r"'mine/a' needs the module 'no_such_module.inner': pip install '.*\[speed\]'$"
    ):
        found.check_extra()


def test_a_local_file_is_a_plugin_named_by_its_stem(local, tmp_path):
    found = local(
        "class Wander(SearchAlgorithm):\n"
        "    def __init__(self, config):\n        pass\n"
        "    def search(self, root):\n        yield\n"
        "@hookimpl\n"
        "def trellis_search_algorithms():\n"
        "    yield Component('wander', 'a search', Config, f'{__name__}:Wander')\n",
        stem="my_plugin",
    )
    component = found.find("my_plugin/wander")
    assert (component.distribution, component.version) == (str(tmp_path / "my_plugin.py"), "local")
    assert isinstance(component.build({}, {}), SearchAlgorithm)
    assert [info.status for info in found.plugins if info.name == "my_plugin"] == ["local"]


def test_a_local_file_that_is_missing_is_a_failure(tmp_path):
    found = discover(local_plugins=[tmp_path / "absent.py"], disabled=())
    assert isinstance(failure(found, "absent").exception, FileNotFoundError)


def test_a_local_file_does_not_displace_an_installed_plugin(install, local):
    install("good")
    found = local(TWO, stem="brevity")
    assert isinstance(failure(found, "brevity").exception, DuplicateComponentError)
    assert found.find("brevity/brevity").distribution == "trellis-brevity"


def test_a_disabled_plugin_is_not_imported_and_says_how_to_enable_it(install, monkeypatch):
    install("raises_on_import")
    monkeypatch.setenv("TRELLIS_DISABLE_PLUGINS", "other, raises")
    found = discover()
    assert "raises" not in {each.plugin for each in found.failures}
    with pytest.raises(PluginLoadError, match="plugin 'raises' is disabled: `trellis plugins enable raises`"):
        found.find("raises/anything")
    with pytest.raises(UnknownComponentError, match="Disabled plugins: raises"):
        found.find("anything")


def test_disabled_plugins_are_kept_in_the_config_directory(monkeypatch):
    assert disabled_plugins() == frozenset()
    write_disabled({"b", "a"})
    assert json.loads(settings_file().read_text()) == {"disabled": ["a", "b"]}
    monkeypatch.setenv("TRELLIS_DISABLE_PLUGINS", "c")
    assert disabled_plugins() == {"a", "b", "c"}
    assert [path.name for path in settings_file().parent.iterdir()] == ["plugins.json"]


@pytest.mark.parametrize("text", ["{", "[]", '{"disable": []}'])
def test_a_settings_file_that_cannot_be_read_is_named(text):
    settings_file().parent.mkdir(parents=True)
    settings_file().write_text(text)
    with pytest.raises(PluginError, match=r"plugins.json cannot be read .* Delete it, or make it like"):
        discover()


JUDGED = """
class JudgedConfig(Config):
    width: int = 4

class Judged(SearchAlgorithm):
    Config = JudgedConfig
    def __init__(self, config, *, judge, helper, many):
        self.config, self.judge, self.helper, self.many = config, judge, helper, many
        if config.width == 13:
            raise ValueError("unlucky")
    def search(self, root):
        yield

@hookimpl
def trellis_search_algorithms():
    needs = {"judge": Need("reward"), "helper": Need("policy", optional=True), "many": Need("search", True, True)}
    yield Component("judged", "a search", JudgedConfig, f"{__name__}:Judged", needs=needs)
"""


def test_collaborators_are_passed_by_name_and_optional_ones_may_be_left_out(local):
    built = local(JUDGED).find("judged").build({"width": 7}, {"judge": "a reward"})
    assert (built.config.width, built.judge, built.helper, built.many) == (7, "a reward", None, {})


def test_every_problem_with_config_and_collaborators_is_told_at_once(local):
    with pytest.raises(SpecError) as caught:
        local(JUDGED).find("judged").build({"widht": 3, "width": "4"}, {"jugde": "a reward"})
    assert [str(problem) for problem in caught.value.problems] == [
        "mine/judged.with.width: Input should be a valid integer",
        "mine/judged.with.widht: there is no such field; did you mean 'width'? Valid: width",
        "mine/judged.needs.judge: no reward is given: pass judge=…",
        "mine/judged.needs.jugde: it takes no such collaborator; did you mean 'judge'? Valid: helper, judge, many",
    ]


def test_an_exception_of_a_component_gets_a_note_and_is_not_wrapped(local, tmp_path):
    with pytest.raises(ValueError, match="unlucky") as caught:
        local(JUDGED).find("judged").build({"width": 13}, {"judge": "a reward"})
    assert caught.value.__notes__ == [
        f"while building 'mine/judged' (trellis_local_mine:Judged, {tmp_path / 'mine.py'} local)"
    ]


def test_build_is_offered_by_the_package_itself(install):
    install("good")
    assert isinstance(trellis.build("brevity").config, Config)
    with pytest.raises(TrellisError, match="no search component"):
        trellis.build("brevity", kind="search")
