"""Log-probabilities of tokens, and means under a mask."""

import math

import pytest
import torch

from trellis import Problem, Step, Trajectory
from trellis.nn import masked_mean, module_log_probs, pad, token_entropies, token_log_probs


def test_token_log_probs_are_the_log_softmax_at_the_token_before():
    torch.manual_seed(0)
    logits, ids = torch.randn(3, 7, 11) * 5, torch.randint(11, (3, 7))
    got = token_log_probs(logits, ids)
    expected = logits.log_softmax(-1)
    for row in range(3):
        assert got[row, 0] == 0
        for t in range(1, 7):
            assert got[row, t].item() == pytest.approx(expected[row, t - 1, ids[row, t]].item(), abs=1e-5)


def test_token_log_probs_of_half_precision_are_taken_in_float32():
    logits, ids = torch.randn(1, 4, 300, dtype=torch.bfloat16), torch.randint(300, (1, 4))
    got = token_log_probs(logits, ids)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, token_log_probs(logits.float(), ids))


def test_token_log_probs_of_one_token_are_0():
    assert token_log_probs(torch.randn(2, 1, 5), torch.zeros(2, 1, dtype=torch.int64)).tolist() == [[0.0], [0.0]]


def test_masked_mean_counts_what_the_mask_holds():
    values, mask = torch.tensor([1.0, 2.0, 30.0]), torch.tensor([True, True, False])
    assert masked_mean(values, mask).item() == 1.5


def test_masked_mean_under_an_empty_mask_is_0_with_a_gradient_of_0():
    values = torch.tensor([1.0, 2.0], requires_grad=True)
    mean = masked_mean(values, torch.zeros(2, dtype=torch.bool))
    mean.backward()
    assert mean.item() == 0
    assert values.grad.tolist() == [0, 0]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_the_mask_leaves_out_may_be_anything(value):
    values, mask = torch.tensor([1.0, value], requires_grad=True), torch.tensor([True, False])
    mean = masked_mean(values, mask)
    mean.backward()
    assert mean.item() == 1.0
    assert values.grad.tolist() == [1.0, 0.0]


def test_token_entropies_are_those_of_what_each_token_was_drawn_from():
    uniform_of = torch.tensor([[[0.0, 0, 0, 0], [0, 0, -90, -90], [5, -90, -90, -90], [1, 2, 3, 4]]])
    got = token_entropies(uniform_of)
    assert got[0].tolist() == pytest.approx([0, math.log(4), math.log(2), 0], abs=1e-5)


def test_token_entropies_are_the_mean_surprise():
    torch.manual_seed(0)
    logits = torch.randn(1, 2, 5)
    surprise = [-token_log_probs(logits, torch.tensor([[0, v]]))[0, 1].item() for v in range(5)]
    expected = sum(p * s for p, s in zip(logits[0, 0].softmax(0).tolist(), surprise, strict=True))
    assert token_entropies(logits)[0, 1].item() == pytest.approx(expected, abs=1e-5)


def test_the_gradient_of_token_entropies_is_finite_where_a_probability_is_0():
    logits = torch.tensor([[[0.0, -200.0, 3.0], [0, 0, 0]]], requires_grad=True)
    token_entropies(logits).sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_large_logits_are_read_row_by_row_with_the_same_values_and_gradients(monkeypatch):
    torch.manual_seed(0)
    ids = torch.randint(0, 11, (3, 5))
    whole, rows = (torch.randn(3, 5, 11, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in range(2))
    expected = token_log_probs(whole, ids)
    monkeypatch.setattr("trellis.nn.statistics._LARGE", 10)
    found = token_log_probs(rows, ids)
    assert found.equal(expected)
    expected.square().sum().backward()
    found.square().sum().backward()
    torch.testing.assert_close(rows.grad, whole.grad)


def test_no_logits_are_made_for_what_only_prompts_hold():
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(vocab_size=19, n_layer=1, n_embd=8, n_head=2, n_positions=32)).eval()
    shapes = []
    model.lm_head.register_forward_hook(lambda module, args, output: shapes.append(tuple(output.shape)))
    problem = Problem("p", "p")
    trajectories = [
        Trajectory(problem, "p", (Step("a", (1, 2)), Step("b", (3,)))),
        Trajectory(problem, "p", (Step("c", (4,)),)),
    ]
    batch = pad([[5, 6, 7, 8], [9, 10, 11]], trajectories, pad_id=0, device="cpu")
    found = module_log_probs(model, batch, temperature=0.7)
    logits = model(input_ids=batch.ids_BT, attention_mask=batch.attention_BT).logits / 0.7
    expected = token_log_probs(logits, batch.ids_BT)
    torch.testing.assert_close(found[batch.mask_BT], expected[batch.mask_BT])
    assert shapes == [(2, 5, 19), (2, 7, 19)]
