"""A real model, small, from a directory."""

import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from trellis import build
from trellis.sql.reader import parse_query

QUERIES = [
    parse_query(text)
    for text in (
        "SELECT 1",
        "SELECT count(*) FROM users u WHERE u.age > 30",
        "SELECT count(*) FROM users u WHERE u.age > 31",
    )
]


def test_vectors_are_the_mean_of_the_tokens_that_are_no_padding(tiny_bert):
    vectors = build("sentence-transformers", {"model": tiny_bert}).embed(QUERIES)
    model, tokenizer = AutoModel.from_pretrained(tiny_bert).eval(), AutoTokenizer.from_pretrained(tiny_bert)
    for query, vector in zip(QUERIES, vectors, strict=True):
        with torch.no_grad():
            mean = model(**tokenizer(query.sql, return_tensors="pt", truncation=True)).last_hidden_state[0].mean(dim=0)
        assert vector == pytest.approx((mean / mean.norm()).tolist(), abs=1e-5)


def test_the_first_token_can_stand_for_all(tiny_bert):
    (vector,) = build("sentence-transformers", {"model": tiny_bert, "pooling": "cls"}).embed(QUERIES[:1])
    model, tokenizer = AutoModel.from_pretrained(tiny_bert).eval(), AutoTokenizer.from_pretrained(tiny_bert)
    with torch.no_grad():
        first = model(**tokenizer(QUERIES[0].sql, return_tensors="pt")).last_hidden_state[0, 0]
    assert vector == pytest.approx((first / first.norm()).tolist(), abs=1e-5)


def test_batches_do_not_change_vectors_and_long_texts_are_cut(tiny_bert):
    long = parse_query("SELECT " + ", ".join(f"u.column{i}" for i in range(50)) + " FROM users u")
    one_by_one = build("sentence-transformers", {"model": tiny_bert, "batch_size": 1}).embed([*QUERIES, long])
    together = build("sentence-transformers", {"model": tiny_bert}).embed([*QUERIES, long])
    for one, other in zip(one_by_one, together, strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_the_version_is_that_of_the_files(tiny_bert, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny_bert, copy)
    version = build("sentence-transformers", {"model": tiny_bert}).version
    assert build("sentence-transformers", {"model": str(copy)}).version == version
    assert build("sentence-transformers", {"model": str(copy), "pooling": "cls"}).version != version
    weights = next(Path(copy).glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    assert build("sentence-transformers", {"model": str(copy)}).version != version


def test_a_model_that_is_nowhere_is_said_by_name(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        build("sentence-transformers", {"model": str(tmp_path / "nowhere")}).embed(QUERIES)
