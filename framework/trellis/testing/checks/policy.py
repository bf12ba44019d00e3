"""Checks of policies: what they sample, and what they say of its probability."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from trellis.contracts import Policy, TrainablePolicy
from trellis.errors import CapabilityError, CheckpointError
from trellis.testing.check import Check, CheckSkipped, Subject, expect
from trellis.testing.material import Successor, SuccessorConfig
from trellis.types import Completion, SampleRequest, Step, Trajectory

TOLERANCE = 1e-4
"""Nats; what float32 arithmetic may differ by when a batch is padded otherwise."""
TASK = Successor(SuccessorConfig())
MAX_TOKENS = 24


def samples_have_the_shape_asked_for(subject: Subject) -> None:
    """Callers match answers to requests by position, and tokens to text by position.

    One list per request, `n` completions in each; token_ids, pieces and log_probs of one length, at least one token. What is not
    known is left empty: the tokens; without the capability "log-probs", the log-probabilities.
    """
    requests = [replace(request, n=1 + index % 3) for index, request in enumerate(_requests())]
    answers = subject.make().sample(requests)
    expect(len(answers) == len(requests), f"{len(requests)} requests, {len(answers)} answers")
    for request, completions in zip(requests, answers, strict=True):
        expect(len(completions) == request.n, f"n={request.n}, but {len(completions)} completions")
        for completion in completions:
            lengths = len(completion.token_ids), len(completion.pieces), len(completion.log_probs)
            known = {length for length in lengths if length}
            expect(len(known) == 1, f"token_ids, pieces, log_probs have the lengths {lengths}")
            expect(completion.num_tokens > 0, "a completion without any token")
            expect(lengths[2] > 0 or not subject.offers("log-probs"), "a completion without log-probabilities")


def sampled_log_probs_are_log_probs(subject: Subject) -> None:
    """A probability above one or a NaN poisons every ratio and every reward built on it.

    Take the log-softmax of the logits in float32; report it for the sampled token.
    """
    for completion in _flat(subject.make().sample(_requests())):
        wrong = [value for value in completion.log_probs if not math.isfinite(value) or value > TOLERANCE]
        expect(not wrong, f"no logarithm of a probability: {wrong[:3]}")


def sampling_follows_the_seed(subject: Subject) -> None:
    """A run that is resumed must sample what the undisturbed run would have sampled.

    Make a generator per completion from `request.seed` and its index; use no global generator.
    """
    policy: Policy = subject.make()
    requests = _requests(n=4)
    first, again = _ids(policy.sample(requests)), _ids(policy.sample(requests))
    expect(first == again, "the same requests, sampled twice, give different tokens")
    fresh = _ids(subject.make().sample(requests))
    expect(first == fresh, "the same requests give different tokens in a policy made anew")
    others = _ids(policy.sample([replace(request, seed=request.seed + 1000) for request in requests]))
    expect(first != others, "another seed gives the same tokens")


def samples_do_not_depend_on_the_batch(subject: Subject) -> None:
    """What a search finds for one problem must not depend on the problems searched beside it.

    Mask the padding, count positions from the first real token, and never share one generator in a batch.
    """
    policy: Policy = subject.make()
    requests = _requests(n=2)
    together = policy.sample(requests)
    for request, beside in zip(requests, together, strict=True):
        (alone,) = policy.sample([request])
        expect(_ids([alone]) == _ids([beside]), f"alone {_texts(alone)}, in a batch {_texts(beside)}")
        for one, other in zip(alone, beside, strict=True):
            apart = _distance(one.log_probs, other.log_probs)
            expect(apart <= TOLERANCE, f"the log-probs alone and in a batch differ by {apart:.2g}")


def zero_temperature_takes_the_most_probable(subject: Subject) -> None:
    """Greedy results are compared between runs, and nothing in them may be random.

    At temperature 0 take the argmax of the logits; the seed plays no part.
    """
    policy: Policy = subject.make()
    for request in _requests():
        greedy, other = _flat(
            policy.sample([replace(request, temperature=0.0), replace(request, temperature=0.0, seed=99)])
        )
        expect(_ids([[greedy]]) == _ids([[other]]), f"temperature 0 gives {greedy.text!r} and {other.text!r}")
        if not subject.offers("log-probs"):
            continue
        best = max(completion.log_probs[0] for completion in _flat(policy.sample([replace(request, n=16)])))
        expect(
            greedy.log_probs[0] >= best - TOLERANCE,
            f"temperature 0 begins with a token of log-prob {greedy.log_probs[0]:.4f}; one has {best:.4f}",
        )


def stop_text_ends_a_completion(subject: Subject) -> None:
    """A search asks for one step: text after the separator would belong to the next.

    Test the text so far after each token, end right after the stop text, keep it, and say finish="stop".
    """
    policy: Policy = subject.make()
    seen = False
    for request in _requests():
        (free,) = _flat(policy.sample([replace(request, temperature=0.0)]))
        stop = next((piece for piece in free.pieces[1:] if piece), "") or free.pieces[0]
        if not stop:
            continue
        seen = True
        (stopped,) = _flat(policy.sample([replace(request, temperature=0.0, stop=stop)]))
        end = free.text.index(stop) + len(stop)
        expect(stopped.text == free.text[:end], f"stop={stop!r}: {free.text!r} became {stopped.text!r}")
        whole_sequence = end == len(free.text) and free.finish == "end"
        allowed = {"stop", "end"} if whole_sequence else {"stop"}
        expect(stopped.finish in allowed, f"finish is '{stopped.finish}' after the stop text {stop!r}")
    if not seen:
        raise CheckSkipped("it writes no text at temperature 0")


def max_tokens_is_kept(subject: Subject) -> None:
    """Budgets are counted in tokens before they are spent.

    Count new tokens, the end-of-sequence token included, and end the completion at `max_tokens`.
    """
    policy: Policy = subject.make()
    for limit in (1, 3):
        for completion in _flat(policy.sample(_requests(max_tokens=limit, n=4))):
            count = completion.num_tokens
            expect(count <= limit, f"max_tokens={limit}, but {count} tokens")


def finish_says_how_it_ended(subject: Subject) -> None:
    """Only "end" can be correct, and only "length" is cut: a wrong word changes what is learned.

    "end" after the end-of-sequence token, "stop" after the stop text, "length" with exactly `max_tokens` tokens.
    """
    policy: Policy = subject.make()
    for request in (*_requests(n=4), *_requests(n=4, max_tokens=2), *_requests(n=4, stop=TASK.separator)):
        for completion in _flat(policy.sample([request])):
            count, finish = completion.num_tokens, completion.finish
            expect(finish in ("end", "stop", "length"), f"finish is {finish!r}")
            expect(finish != "length" or count >= request.max_tokens, f"'length' after {count} of {request.max_tokens}")
            expect(finish != "stop" or request.stop, "finish is 'stop', but no stop text was given")


def log_probs_agree_with_sampling(subject: Subject) -> None:
    """On-policy learning assumes that the ratio of a fresh sample's probabilities is one.

    Score the very tokens that were sampled, after the same prompt, with the same positions, without dropout.
    """
    apart = _distance_from_scored(subject.make(), _requests(n=2))
    expect(apart <= TOLERANCE, f"log_probs of samples differs from their sampling by {apart:.2g}")


def log_probs_are_of_temperature_one(subject: Subject) -> None:
    """The learner's ratios and the reward's log π are those of the policy itself, not of a sharpened one.

    Divide the logits by the temperature for choosing only.
    """
    policy = _scores_its_samples(subject)
    apart = _distance_from_scored(policy, [replace(request, temperature=0.5) for request in _requests(n=2)])
    expect(apart <= TOLERANCE, f"log-probs of samples at temperature 0.5 differ from log_probs by {apart:.2g}")


def prefixes_are_continued(subject: Subject) -> None:
    """A search extends step by step and must get what the policy would write in one go.

    Read the prefix's own tokens after the prompt, and score the new ones after both.
    """
    policy = _scores_its_samples(subject)
    prefixes = [
        replace(TASK.extend(request.prefix, completion), cut=False)
        for request in _requests(n=4, max_tokens=3)
        for completion in policy.sample([request])[0]
        if completion.finish == "length"
    ]
    if not prefixes:
        raise CheckSkipped("every completion ends within three tokens")
    apart = _distance_from_scored(policy, [SampleRequest(prefix, max_tokens=4, seed=7) for prefix in prefixes])
    expect(apart <= TOLERANCE, f"log_probs of continuations differs from their sampling by {apart:.2g}")


def text_is_given_tokens(subject: Subject) -> None:
    """Traces come as text; what learns from them needs this policy's tokens.

    `log_probs` encodes each step that has no tokens, keeps tokens that are there, and keeps the texts.
    """
    policy: Policy = subject.make()
    plain = _without_tokens(policy)
    encoded = policy.log_probs(plain)
    for before, after in zip(plain, encoded, strict=True):
        expect([s.text for s in after.steps] == [s.text for s in before.steps], "log_probs changes the text of steps")
        for step in after.steps:
            tokens, values = len(step.token_ids), len(step.log_probs)
            expect(values > 0 and tokens in (0, values), f"{tokens} tokens and {values} log-probs for {step.text!r}")
    again = policy.log_probs(encoded)
    expect(_step_ids(again) == _step_ids(encoded), "log_probs changes tokens that were there")
    apart = max(_distance(_values(one), _values(other)) for one, other in zip(encoded, again, strict=True))
    expect(apart <= TOLERANCE, f"the same trajectories scored twice differ by {apart:.2g}")


def finished_text_ends_the_sequence(subject: Subject) -> None:
    """Where traces lack the end-of-sequence token, a policy trained on them never stops.

    Append it to the last step of a finished trajectory that has no tokens yet, and to no other.
    """
    policy: Policy = subject.make()
    plain = _without_tokens(policy)
    opened = policy.log_probs([replace(t, finished=False, answer=None) for t in plain])
    finished = policy.log_probs([replace(t, finished=True, cut=False) for t in plain])
    for short, long in zip(_step_ids(opened), _step_ids(finished), strict=True):
        expect(long[:-1] == short[:-1], "finishing a trajectory changes the tokens of a step before the last")
        extra = len(long[-1]) - len(short[-1])
        expect(extra == 1 and long[-1][:-1] == short[-1], f"a finished trajectory has {extra} more tokens, not 1")


def token_log_probs_have_a_gradient(subject: Subject) -> None:
    """Without a gradient nothing is learned; with another value than `log_probs`, the wrong thing is.

    float32 of shape (B, T), differentiable, equal to `log_probs` at the tokens of steps and 0 elsewhere.
    """
    policy: TrainablePolicy = subject.make()
    scored = policy.log_probs(_sampled(policy))
    batch = policy.batch(scored)
    log_probs_BT = policy.token_log_probs(batch)
    expect(log_probs_BT.shape == batch.mask_BT.shape, f"shape {tuple(log_probs_BT.shape)}")
    expect(log_probs_BT.requires_grad, "token_log_probs carries no gradient")
    expect(not log_probs_BT[~batch.mask_BT].any(), "token_log_probs is not 0 where the mask is False")
    for row_T, mask_T, trajectory in zip(log_probs_BT.detach(), batch.mask_BT, scored, strict=True):
        apart = _distance(row_T[mask_T].tolist(), _values(trajectory))
        expect(apart <= TOLERANCE, f"token_log_probs and log_probs differ by {apart:.2g}")
    log_probs_BT.sum().backward()  # type: ignore[no-untyped-call]
    moved = any(p.grad is not None and bool(p.grad.any()) for p in policy.module.parameters())
    expect(moved, "no weight of `module` gets a gradient from token_log_probs")


def batches_mask_what_the_policy_wrote(subject: Subject) -> None:
    """A loss over the prompt or the padding teaches the policy to write prompts and padding.

    Build batches with `trellis.nn.pad`: prompts encoded, every step with its tokens.
    """
    policy: TrainablePolicy = subject.make()
    batch = policy.batch(_sampled(policy))
    for row, trajectory in enumerate(batch.trajectories):
        wrote = [token for step in trajectory.steps for token in step.token_ids]
        masked = batch.ids_BT[row][batch.mask_BT[row]].tolist()
        expect(masked == wrote, f"the mask covers {masked}, the steps hold {wrote}")
        expect(bool(batch.attention_BT[row][batch.mask_BT[row]].all()), "attention is 0 at a token of a step")


def module_is_a_causal_language_model(subject: Subject) -> None:
    """Rewards copy the module, put a head on its last hidden state, and read it at the end of each step.

    `module(input_ids=, attention_mask=, output_hidden_states=True)` returns `.logits` (B, T, V) and `.hidden_states`,
    and no position sees a later one.
    """
    policy: TrainablePolicy = subject.make()
    policy.module.eval()
    batch = policy.batch(_sampled(policy))
    out = policy.module(input_ids=batch.ids_BT, attention_mask=batch.attention_BT, output_hidden_states=True)
    shape = tuple(batch.ids_BT.shape)
    for name, value in (("logits", out.logits), ("hidden_states[-1]", out.hidden_states[-1])):
        expect(value.ndim == 3 and tuple(value.shape[:2]) == shape, f"{name} has the shape {tuple(value.shape)}")
    half = max(1, shape[1] // 2)
    shorter = policy.module(input_ids=batch.ids_BT[:, :half], attention_mask=batch.attention_BT[:, :half])
    apart = float((shorter.logits - out.logits[:, :half]).detach().abs().max())
    expect(apart <= 10 * TOLERANCE, f"without the later tokens the logits of the earlier ones differ by {apart:.2g}")


def policy_survives_save_and_load(subject: Subject) -> None:
    """A checkpoint that loads into something else makes every later number wrong.

    Write all weights that take a gradient and everything the tokenizer needs; load in place, so that `module` stays the
    same object.
    """
    import torch

    from trellis.nn import trainable

    policy: TrainablePolicy = subject.make()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in trainable(policy.module):
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator).to(parameter))
    trajectories = _sampled(policy)
    before = policy.log_probs(trajectories)
    other: TrainablePolicy = subject.make()
    module = other.module
    with TemporaryDirectory() as directory:
        policy.save(Path(directory))
        other.load(Path(directory))
    expect(other.module is module, "load replaces `module`: optimizers and rewards hold on to the old one")
    for one, loaded in zip(before, other.log_probs(trajectories), strict=True):
        apart = _distance(_values(one), _values(loaded))
        expect(apart == 0, f"log_probs after save and load differ by {apart:.2g}")


def policy_refuses_a_missing_checkpoint(subject: Subject) -> None:
    """A person who resumes from the wrong directory must be told so.

    Raise `CheckpointError` where the files are missing or do not fit.
    """
    policy: TrainablePolicy = subject.make()
    with TemporaryDirectory() as directory:
        try:
            policy.load(Path(directory))
        except CheckpointError:
            return
    expect(False, "load of an empty directory raised nothing")


def _requests(*, n: int = 1, max_tokens: int = MAX_TOKENS, stop: str | None = None) -> list[SampleRequest]:
    """Return requests whose prompts differ in length, so that batching has to pad."""
    problems = [TASK.parse(digits) for digits in ("1", "47", "901", "23456")]
    return [
        SampleRequest(TASK.start(problem), n=n, max_tokens=max_tokens, stop=stop, seed=10 * index)
        for index, problem in enumerate(problems)
    ]


def _sampled(policy: Policy) -> list[Trajectory]:
    requests = _requests()
    answers = policy.sample(requests)
    return [TASK.extend(request.prefix, found[0]) for request, found in zip(requests, answers, strict=True)]


def _without_tokens(policy: Policy) -> list[Trajectory]:
    """Return the policy's own texts as a task would give them: no tokens. What it never writes it need not read."""
    plain = [
        replace(t, steps=tuple(Step(step.text) for step in t.steps if step.text)) for t in _sampled(policy) if t.text
    ]
    if not plain:
        raise CheckSkipped("it writes no text")
    return plain


def _scores_its_samples(subject: Subject) -> Policy:
    policy: Policy = subject.make()
    if _distance_from_scored(policy, _requests(n=2)) > TOLERANCE:
        raise CheckSkipped("its samples have other log-probs when scored: see log-probs-agree-with-sampling")
    return policy


def _distance_from_scored(policy: Policy, requests: Sequence[SampleRequest]) -> float:
    """Sample, score the samples, and return the largest difference between the two log-probs of a token."""
    apart = 0.0
    for request, completions in zip(requests, policy.sample(requests), strict=True):
        before = request.prefix.num_tokens
        scored = policy.log_probs([TASK.extend(request.prefix, completion) for completion in completions])
        for completion, trajectory in zip(completions, scored, strict=True):
            apart = max(apart, _distance(completion.log_probs, _values(trajectory)[before:]))
    return apart


def _flat(answers: Iterable[Iterable[Completion]]) -> list[Completion]:
    return [completion for completions in answers for completion in completions]


def _ids(answers: Iterable[Iterable[Completion]]) -> list[tuple[int | str, ...]]:
    """Return the tokens of each completion, or where they are not known, their texts."""
    return [completion.token_ids or completion.pieces for completion in _flat(answers)]


def _texts(completions: Iterable[Completion]) -> list[str]:
    return [completion.text for completion in completions]


def _values(trajectory: Trajectory) -> list[float]:
    return [value for step in trajectory.steps for value in step.log_probs]


def _step_ids(trajectories: Iterable[Trajectory]) -> list[list[tuple[int, ...]]]:
    return [[step.token_ids for step in trajectory.steps] for trajectory in trajectories]


def _distance(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the largest difference; infinite where the lengths differ."""
    if len(one) != len(other):
        return math.inf
    return max((abs(a - b) for a, b in zip(one, other, strict=True)), default=0.0)


def choices_are_kept(subject: Subject) -> None:
    """Whoever gives choices reads the answer without looking, and learns from its probability among them.

    Let only tokens through that go on with a choice, and take log-probabilities after that mask.
    """
    policy: Policy = subject.make()
    choices = ("12\n", "15\n", "3", "34")
    asked = [replace(request, choices=choices) for request in _requests(n=8)]
    found = _flat(policy.sample(asked))
    strange = sorted({completion.text for completion in found} - set(choices))
    expect(not strange, f"asked for one of {choices}, it writes {strange}")
    for completion in found:
        wanted = "end" if completion.text == "3" else "stop"
        expect(completion.finish == wanted, f"finish is '{completion.finish}' after the choice {completion.text!r}")
    certain = _flat(policy.sample([replace(request, choices=choices[:1]) for request in asked]))
    for completion in certain:
        expect(completion.text == choices[0], f"asked for {choices[0]!r} alone, it writes {completion.text!r}")
        total = sum(completion.log_probs)
        expect(abs(total) < TOLERANCE, f"the only choice has the log-probability {total}, not 0")


def grammars_are_kept(subject: Subject) -> None:
    """Whoever gives a grammar reads the answer without looking, and learns from its probability under it.

    Let only tokens through that go on with a text of the grammar, the end-of-sequence token where the text is whole; the steps
    of the prefix are its beginning. Who cannot go on from steps raises `CapabilityError`; who does not know log-probabilities
    under the grammar gives none, and who cannot score given tokens under it raises `CapabilityError`.
    """
    policy: Policy = subject.make()
    grammar = 'root ::= line line\nline ::= ("12" | "15" | "3") "\\n"\n'
    lines = ("12\n", "15\n", "3\n")
    asked = [replace(r, prefix=replace(r.prefix, grammar=grammar)) for r in _requests(n=8)]
    for request, completions in zip(asked, policy.sample(asked), strict=True):
        for completion in completions:
            fits = completion.text in {one + other for one in lines for other in lines}
            expect(fits, f"asked for two lines of {lines}, it writes {completion.text!r}")
            expect(completion.finish == "end", f"finish is '{completion.finish}' after all that the grammar has")
        begun = replace(request.prefix, steps=(Step("3\n"),))
        try:
            continued = _flat(policy.sample([replace(request, prefix=begun)]))
        except CapabilityError:
            continue
        for completion in continued:
            expect(completion.text in lines, f"after the first of two lines it writes {completion.text!r}")
    certain = 'root ::= "15\\n"\n'
    only = _flat(policy.sample([replace(r, prefix=replace(r.prefix, grammar=certain)) for r in asked]))
    if not all(completion.log_probs for completion in only):
        return
    for completion in only:
        # Without the token that ends it: some models have several, and any of them may.
        total = sum(completion.log_probs[:-1])
        expect(abs(total) < TOLERANCE, f"the only text of a grammar has the log-probability {total}, not 0")
    try:
        apart = _distance_from_scored(policy, asked)
    except CapabilityError:
        return
    expect(apart <= TOLERANCE, f"log_probs of samples under a grammar differs from their sampling by {apart:.2g}")


CHECKS = (
    Check.of("policy", samples_have_the_shape_asked_for),
    Check.of("policy", sampled_log_probs_are_log_probs, {"log-probs"}),
    Check.of("policy", sampling_follows_the_seed),
    Check.of("policy", samples_do_not_depend_on_the_batch),
    Check.of("policy", zero_temperature_takes_the_most_probable),
    Check.of("policy", stop_text_ends_a_completion),
    Check.of("policy", max_tokens_is_kept),
    Check.of("policy", finish_says_how_it_ended),
    Check.of("policy", log_probs_agree_with_sampling, {"log-probs"}),
    Check.of("policy", log_probs_are_of_temperature_one, {"log-probs"}),
    Check.of("policy", prefixes_are_continued, {"log-probs"}),
    Check.of("policy", text_is_given_tokens, {"log-probs"}),
    Check.of("policy", choices_are_kept, {"choices"}),
    Check.of("policy", grammars_are_kept, {"grammar"}),
    Check.of("policy", finished_text_ends_the_sequence, {"trainable"}),
    Check.of("policy", token_log_probs_have_a_gradient, {"trainable"}),
    Check.of("policy", batches_mask_what_the_policy_wrote, {"trainable"}),
    Check.of("policy", module_is_a_causal_language_model, {"trainable"}),
    Check.of("policy", policy_survives_save_and_load, {"trainable"}),
    Check.of("policy", policy_refuses_a_missing_checkpoint, {"trainable"}),
)
