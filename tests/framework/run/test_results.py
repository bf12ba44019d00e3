import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trellis.run.results import Results, results_schema, wilson_interval


@pytest.mark.parametrize(
    ("correct", "count", "low", "high"),
    [
        # R: binom::binom.confint(x, n, methods = "wilson")
        (0, 10, 0.0, 0.2775327998628892),
        (5, 10, 0.2365930905125640, 0.7634069094874361),
        (10, 10, 0.7224672001371107, 1.0),
        (1, 1, 0.2065493143772375, 1.0),
        # Newcombe 1998 (doi:10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E), table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_s_interval_is_the_published_one(correct, count, low, high):
    assert wilson_interval(correct, count) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_s_interval_holds_the_share_and_mirrors(pair):
    correct, count = pair
    low, high = wilson_interval(correct, count)
    assert 0 <= low <= correct / count <= high <= 1
    assert wilson_interval(count - correct, count) == pytest.approx((1 - high, 1 - low))


def test_results_match_their_schema(undisturbed):
    text = (undisturbed.path / "results.json").read_text(encoding="utf-8")
    schema = results_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(Results.model_validate_json(text).model_dump(mode="json"), schema)
    rows = undisturbed.results.stages["test"].rows
    assert [(row.policy, row.search, row.reward, row.aggregate) for row in rows] == [
        (f"policy@{stage}", search, reward, aggregate)
        for stage in ("warm-up", "joint")
        for search, reward, aggregate in (("greedy", None, None), ("best-of-n", "reward", "last"))
    ]
    assert all(row.problems == 5 and row.ci95 == wilson_interval(round(row.accuracy * 5), 5) for row in rows)
    assert {name: bool(stage.rows) for name, stage in undisturbed.results.stages.items()} == {
        "warm-up": False,
        "joint": False,
        "fit": False,
        "test": True,
    }


def test_the_schema_wants_every_field_and_no_other():
    validator = jsonschema.Draft202012Validator(results_schema())
    row = {
        "policy": "p",
        "search": "s",
        "reward": None,
        "aggregate": None,
        "accuracy": 0.5,
        "ci95": [0.1, 0.9],
        "problems": 2,
        "tokens_per_problem": 1.5,
        "seconds": 0.1,
    }

    def valid(row):
        stage = {"rows": [row], "policies": [], "rewards": [], "metrics": {}}
        return validator.is_valid({"stages": {"test": stage}})

    assert valid(row)
    for field in row:
        assert not valid({key: value for key, value in row.items() if key != field})
    assert not valid({**row, "extra": 1})
    assert not valid({**row, "accuracy": 1.5})
