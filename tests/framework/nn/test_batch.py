"""Padded batches: what is where, and what belongs to which step."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from trellis import Problem, Step, Trajectory
from trellis.nn import pad

PAD = 99


def trajectory(*steps: tuple[int, ...]) -> Trajectory:
    return Trajectory(Problem("p", "p"), "p\n", tuple(Step("x", ids) for ids in steps))


tokens = st.lists(st.integers(0, 9), min_size=1, max_size=4).map(tuple)
rows = st.lists(st.tuples(tokens, st.lists(tokens, max_size=4)), min_size=1, max_size=5)


@given(rows)
def test_every_token_is_found_again_and_nothing_else_is_attended_to(rows):
    batch = pad([p for p, _ in rows], [trajectory(*s) for _, s in rows], pad_id=PAD, device="cpu")
    assert batch.ids_BT.shape == batch.attention_BT.shape == batch.mask_BT.shape == batch.step_BT.shape
    assert batch.last_BS.shape == batch.step_mask_BS.shape
    for row, (prompt, steps) in enumerate(rows):
        real = batch.attention_BT[row].bool()
        assert batch.ids_BT[row][real].tolist() == [*prompt, *(t for step in steps for t in step)]
        assert set(batch.ids_BT[row][~real].tolist()) <= {PAD}
        assert batch.ids_BT[row][batch.mask_BT[row]].tolist() == [t for step in steps for t in step]
        assert batch.step_mask_BS[row].sum() == len(steps)
        for index, step in enumerate(steps):
            assert batch.ids_BT[row][batch.step_BT[row] == index].tolist() == list(step)
            assert batch.step_BT[row, batch.last_BS[row, index]] == index
            assert batch.last_BS[row, index] == (batch.step_BT[row] == index).nonzero().max()
        assert (batch.step_BT[row][~batch.mask_BT[row]] == -1).all()


def test_rows_are_padded_on_the_right():
    batch = pad([(1,), (1, 2, 3)], [trajectory((4,)), trajectory((5,), (6, 7))], pad_id=PAD, device="cpu")
    assert batch.ids_BT.tolist() == [[1, 4, PAD, PAD, PAD, PAD], [1, 2, 3, 5, 6, 7]]
    assert batch.last_BS.tolist() == [[1, 0], [3, 5]]
    assert batch.step_mask_BS.tolist() == [[True, False], [True, True]]


def test_a_trajectory_without_steps_has_a_row_and_no_step():
    batch = pad([(1, 2)], [trajectory()], pad_id=PAD, device="cpu")
    assert batch.ids_BT.tolist() == [[1, 2]]
    assert not batch.mask_BT.any()
    assert not batch.step_mask_BS.any()
    assert batch.per_step(torch.zeros(1, 1)) == [[]]


def test_per_step_gives_each_trajectory_its_own_steps_only():
    batch = pad([(1,)] * 3, [trajectory((4,)), trajectory((5,), (6,)), trajectory()], pad_id=PAD, device="cpu")
    values = torch.tensor([[1.0, 9.0], [2.0, 3.0], [9.0, 9.0]])
    assert batch.per_step(values) == [[1.0], [2.0, 3.0], []]


@given(rows, st.data())
def test_some_rows_of_a_batch_are_those_rows_in_that_order_and_as_often(rows, data):
    batch = pad([p for p, _ in rows], [trajectory(*s) for _, s in rows], pad_id=PAD, device="cpu")
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=6))
    some = batch.rows(chosen)
    assert some.trajectories == tuple(batch.trajectories[i] for i in chosen)
    for name in ("ids_BT", "attention_BT", "mask_BT", "step_BT", "last_BS", "step_mask_BS"):
        for place, row in enumerate(chosen):
            assert torch.equal(getattr(some, name)[place], getattr(batch, name)[row]), name
