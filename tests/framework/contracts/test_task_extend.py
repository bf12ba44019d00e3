"""How completions become steps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trellis import Completion, Outcome, Problem, Task
from trellis.errors import ContractError


class Lines(Task):
    def problems(self, split):
        return [Problem("p", "p")]

    def verify(self, trajectory):
        return Outcome(False, 0.0)


TASK = Lines()
ROOT = TASK.start(Problem("p", "p"))


def completion(*pieces, finish="end"):
    return Completion(tuple(range(len(pieces))), pieces, tuple(-0.1 * i for i in range(len(pieces))), finish)


def test_each_token_goes_to_the_step_in_which_its_text_begins():
    found = TASK.extend(ROOT, completion("a", "b\n", "c", "\n", "d", ""))
    assert [(s.text, s.token_ids) for s in found.steps] == [("ab\n", (0, 1)), ("c\n", (2, 3)), ("d", (4, 5))]
    assert found.finished
    assert found.answer == "d"


def test_a_token_that_runs_over_the_separator_is_not_encoded_twice():
    """A vocabulary with a token for two newlines, or for a newline and the next word."""
    found = TASK.extend(ROOT, completion("a", ".\n\n", "b"))
    assert [(s.text, s.token_ids) for s in found.steps] == [("a.\n\n", (0, 1)), ("b", (2,))]
    found = TASK.extend(ROOT, completion("a\nb", finish="stop"))
    assert [(s.text, s.token_ids) for s in found.steps] == [("a\nb", (0,))]


def test_an_end_of_sequence_alone_is_a_step_without_text():
    found = TASK.extend(ROOT, completion("", finish="end"))
    assert [(s.text, s.token_ids) for s in found.steps] == [("", (0,))]


def test_a_completion_that_ran_out_of_tokens_cuts_the_trajectory():
    found = TASK.extend(ROOT, completion("a", finish="length"))
    assert (found.cut, found.finished, found.open, found.answer) == (True, False, False, None)


@pytest.mark.parametrize("finish", ["end", "length"])
def test_what_has_ended_is_not_extended(finish):
    with pytest.raises(ContractError, match="cannot be extended"):
        TASK.extend(TASK.extend(ROOT, completion("a", finish=finish)), completion("b"))


pieces = st.lists(st.text("ab\n", max_size=4), max_size=12)


@given(pieces, st.sampled_from(["end", "stop", "length"]))
def test_no_text_token_or_log_prob_is_lost_and_no_step_lacks_tokens(pieces, finish):
    given_ = completion(*pieces, finish=finish)
    found = TASK.extend(ROOT, given_)
    assert found.text == given_.text
    assert sum((s.token_ids for s in found.steps), ()) == given_.token_ids
    assert sum((s.log_probs for s in found.steps), ()) == given_.log_probs
    assert all(len(s.token_ids) == len(s.log_probs) > 0 for s in found.steps)


@given(st.lists(st.sampled_from(["a", "b\n", "\n", "\nSo", ".\n\n", "x\ny\nz", "", "\n\n2"]), max_size=10))
def test_step_by_step_the_same_steps_come_about_as_in_one_go(texts):
    """A search stops after the first token that holds the separator, whatever else is in that token."""
    whole = TASK.extend(ROOT, completion(*texts, finish="stop"))
    grown, sampled = ROOT, []
    for token, text in enumerate(texts):
        sampled.append((token, text))
        if "\n" in text or token == len(texts) - 1:
            ids, pieces = zip(*sampled, strict=True)
            grown = TASK.extend(grown, Completion(ids, pieces, tuple(-0.1 * i for i in ids), "stop"))
            sampled = []
    assert grown.text == whole.text == "".join(texts)
    # Tokens without text at the very end have no text to go with, and make a step of their own where they come alone.
    assert [s.text for s in grown.steps if s.text] == [s.text for s in whole.steps if s.text]
    assert [t for s in grown.steps for t in s.token_ids] == [*range(len(texts))]
    assert all(len(s.token_ids) == len(s.log_probs) > 0 for s in grown.steps)


def test_the_beginning_of_a_step_in_a_separators_token_goes_with_that_step():
    first = TASK.extend(ROOT, completion("a", "\nSo", finish="stop"))
    assert [(s.text, s.token_ids) for s in first.steps] == [("a\nSo", (0, 1))]
    both = TASK.extend(first, Completion((7, 8), (" what", "\n"), (-1.0, -2.0), "stop"))
    assert [(s.text, s.token_ids) for s in both.steps] == [("a\n", (0, 1)), ("So what\n", (7, 8))]
