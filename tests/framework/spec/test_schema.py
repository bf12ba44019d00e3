"""The JSON Schema: it is one, the good files fit, and what an editor should underline does not."""

from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from trellis.plugins import registry as installed
from trellis.spec.schema import pipeline_schema
from trellis.spec.starter import STARTER

DATA = Path(__file__).parent / "data"
PIPELINES = Path(__file__).parents[3] / "pipelines"


def _validator(registry):
    schema = pipeline_schema(registry)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.fixture(scope="module")
def validator(registry):
    return _validator(registry)


def _read(text):
    return YAML(typ="safe", pure=True).load(text)


def test_a_good_file_fits(validator):
    validator.validate(_read((DATA / "good.yaml").read_text(encoding="utf-8")))


@pytest.mark.parametrize("file", sorted(PIPELINES.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_pipelines_that_ship_fit_the_schema_of_what_is_installed(file):
    _validator(installed()).validate(_read(file.read_text(encoding="utf-8")))


def test_the_starting_pipeline_fits_the_schema_of_what_is_installed():
    _validator(installed()).validate(_read(STARTER))


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("typo_top_level_key", []),
        ("typo_use_key", ["components", "task"]),
        ("typo_use", ["components", "task", "use"]),
        ("typo_run", ["stages", 0, "run"]),
        ("typo_needs_key", ["stages", 0, "needs"]),
        ("typo_config_field", ["components", "policy", "with"]),
        ("typo_nested_config_field", ["components", "steps", "with", "warm_up"]),
        ("typo_literal", ["components", "policy", "with", "init"]),
        ("missing_need", ["stages", 0, "needs"]),
        ("missing_needs", ["stages", 0]),
        ("missing_extra_and_field", ["components", "far"]),
        ("list_where_one_is_wanted", ["stages", 0, "needs", "policy"]),
        ("bool_for_float", ["components", "policy", "with", "dropout"]),
        ("too_large", ["components", "task", "with", "numbers"]),
        ("version_2", ["version"]),
        ("no_stages", ["stages"]),
        ("ambiguous_name", ["components", "greedy", "use"]),
    ],
)
def test_a_fault_is_found_where_it_stands(name, path, validator):
    errors = validator.iter_errors(_read((DATA / "broken" / f"{name}.yaml").read_text(encoding="utf-8")))
    assert path in [list(error.absolute_path) for error in errors]


def test_a_component_whose_config_cannot_be_loaded_takes_any_and_the_others_keep_theirs(validator):
    data = _read((DATA / "good.yaml").read_text(encoding="utf-8"))
    data["components"]["lost"] = {"use": "lost", "with": {"anything": 1}}
    validator.validate(data)


def test_what_may_be_named_is_the_id_and_the_bare_name_where_no_other_has_it(validator):
    names = validator.schema["$defs"]["ComponentModel"]["properties"]["use"]["enum"]
    assert {"kit/sums", "sums", "kit/greedy", "twin/greedy"} <= set(names)
    assert not {"greedy", "train", "kit/train"} & set(names)
