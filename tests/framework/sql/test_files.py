"""Files of queries: where one ends and the next begins, and what each is called."""

import pytest

from trellis.errors import QuerySyntaxError, SQLError
from trellis.sql.files import read_queries, split_statements


def test_semicolons_in_quotes_and_comments_end_nothing():
    text = "SELECT ';', $$ ; $$, \"a;b\" /* ; /* ; */ ; */ -- ;\n; SELECT 2"
    assert [one.sql for one in split_statements(text)] == [text.split("\n")[0], "SELECT 2"]


def test_a_comment_of_one_word_names_the_query():
    text = "-- q1\nSELECT 1;\n-- name: second\nSELECT 2;\n-- q3: true count 5\nSELECT 3;\n-- a remark\nSELECT 4"
    assert [(one.name, one.sql, one.line) for one in split_statements(text, name="file")] == [
        ("q1", "SELECT 1", 2),
        ("second", "SELECT 2", 4),
        ("q3", "SELECT 3", 6),
        ("file-4", "SELECT 4", 8),
    ]


def test_a_single_statement_has_its_files_name(tmp_path):
    (tmp_path / "slow.sql").write_text("SELECT 1;\n")
    assert [one.name for one in read_queries([tmp_path])] == ["slow"]


def test_folders_are_read_in_the_order_of_their_names(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two.sql").write_text("SELECT 2")
    (tmp_path / "a.sql").write_text("SELECT 1")
    (tmp_path / "notes.txt").write_text("not SQL")
    assert [one.name for one in read_queries([tmp_path])] == ["a", "two"]


def test_equal_names_are_told_apart(tmp_path):
    for file in ("x.sql", "y.sql"):
        (tmp_path / file).write_text("-- q1\nSELECT 1;\n-- q1\nSELECT 2;")
    assert [one.name for one in read_queries([tmp_path])] == ["q1", "x/q1", "y/q1", "q1-2"]


def test_what_is_not_there_or_empty_or_not_text_is_said(tmp_path):
    with pytest.raises(SQLError, match="no file or folder"):
        read_queries([tmp_path / "missing.sql"])
    with pytest.raises(SQLError, match="no statement"):
        read_queries([tmp_path])
    (tmp_path / "latin.sql").write_bytes(b"SELECT '\xe9'")
    with pytest.raises(SQLError, match=r"latin\.sql is not UTF-8"):
        read_queries([tmp_path])


def test_an_open_quote_names_its_file(tmp_path):
    (tmp_path / "open.sql").write_text("SELECT 'a")
    with pytest.raises(QuerySyntaxError) as caught:
        read_queries([tmp_path])
    assert str(tmp_path / "open.sql") in caught.value.__notes__[0]
