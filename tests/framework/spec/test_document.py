"""YAML to data: what YAML 1.2 says, where each node stands, and nothing but SpecError whatever the bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trellis.errors import SpecError
from trellis.spec.document import MAX_NODES, dotted, from_data, read_file, read_text

TEXT = """\
version: 1
components:
  policy:
    use: tokens
    with: {init: tiny,
           hidden: 64}
stages:
  - name: train
    searches: [a, b]
empty:
"""


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        ((), (1, 1), (1, 1)),
        (("version",), (1, 1), (1, 10)),
        (("components", "policy"), (3, 3), (4, 5)),
        (("components", "policy", "with", "init"), (5, 12), (5, 18)),
        (("components", "policy", "with", "hidden"), (6, 12), (6, 20)),
        (("stages", 0), (8, 5), (8, 5)),
        (("stages", 0, "searches", 1), (9, 19), (9, 19)),
        (("empty",), (10, 1), (10, 1)),
    ],
)
def test_every_key_and_value_has_its_place(path, key, value):
    document = read_text(TEXT)
    assert document.position(path, at_key=True) == key
    assert document.position(path) == value


def test_a_node_that_is_not_there_stands_where_the_nearest_around_it_does():
    document = read_text(TEXT)
    assert document.position(("components", "policy", "needs", "task"), at_key=True) == (3, 3)
    assert document.position(("nowhere",)) == (1, 1)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("off", "off"),
        ("yes", "yes"),
        ("1:30", "1:30"),
        ("2026-11-23", "2026-11-23"),
        ("012", 12),
        ("0x1F", 31),
        (".inf", float("inf")),
        ("~", None),
        ("", None),
        ("<<", "<<"),
        ("'3'", "3"),
        ("true", True),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text, value):
    read = read_text(f"x: {text}").data["x"]
    assert read == value
    assert type(read) is type(value)


def test_anchors_and_aliases_may_be_used_and_an_anchor_given_again():
    assert read_text("a: &x {b: 1}\nc: *x\nd: &x 2\ne: *x").data == {"a": {"b": 1}, "c": {"b": 1}, "d": 2, "e": 2}


def test_aliases_that_multiply_without_end_are_refused():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(SpecError, match=f"more than {MAX_NODES:,} values"):
        read_text("\n".join(lines))


def test_the_first_of_two_equal_keys_stays_and_every_later_one_is_a_problem():
    document = read_text("a: 1\na: 2\nb: {c: 1, c: 2}\na: 3\n")
    assert document.data == {"a": 1, "b": {"c": 1}}
    assert [(problem.path, problem.line) for problem in document.problems] == [("a", 2), ("b.c", 3), ("a", 4)]


def test_data_made_in_python_is_copied_and_numbered_in_order():
    data = {"b": [1, {"c": (2, 3)}], "a": 4}
    document = from_data(data)
    assert document.data == {"b": [1, {"c": [2, 3]}], "a": 4}
    paths = [(), ("b",), ("b", 0), ("b", 1), ("b", 1, "c"), ("b", 1, "c", 0), ("b", 1, "c", 1), ("a",)]
    assert sorted(paths, key=document.position) == paths


def test_a_file_that_is_not_there_says_so(tmp_path):
    with pytest.raises(SpecError, match=r"nowhere\.yaml: cannot be read: No such file"):
        read_file(tmp_path / "nowhere.yaml")
    with pytest.raises(SpecError, match="cannot be read: Is a directory"):
        read_file(tmp_path)


def test_a_byte_order_mark_is_no_part_of_the_file(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_file(file).data == {"a": 1}


def test_paths_read_as_people_write_them():
    assert dotted(("stages", 1, "needs", "searches", 0)) == "stages[1].needs.searches[0]"
    assert dotted(()) == ""


yaml_like = st.text(alphabet=st.sampled_from("ab:-[]{},&*!|>'\"%@#?~ \n\t<=01.\\\ud800")).map(
    lambda text: text.replace("\ud800", "\\ud800")
)


def _problems(read):
    """Return the problems of a document, or those that refuse it; any other exception is a fault."""
    try:
        return read().problems
    except SpecError as error:
        return error.problems


@given(st.text() | yaml_like)
def test_text_is_read_or_refused_with_a_spec_error(text):
    assert all(problem.line for problem in _problems(lambda: read_text(text)))


@given(content=st.binary())
def test_bytes_are_read_or_refused_with_a_spec_error(content, tmp_path_factory):
    file = tmp_path_factory.getbasetemp() / "bytes.yaml"
    file.write_bytes(content)
    assert all(problem.file == file for problem in _problems(lambda: read_file(file)))
