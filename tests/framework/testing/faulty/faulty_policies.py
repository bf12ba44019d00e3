"""Policies with one fault each."""

from dataclasses import replace

from faults import CHOICES, TRAINABLE, breaks
from safetensors.torch import load_file, save_file

from trellis.testing.material import Table
from trellis.testing.material.tiny import Tiny


@breaks("samples-have-the-shape-asked-for", "policy")
class IgnoresN(Table):
    def sample(self, requests):
        return [answers[:1] for answers in super().sample(requests)]


@breaks("sampled-log-probs-are-log-probs", "policy")
class MoreThanCertain(Table):
    def next_log_probs(self, prompt, token_ids):
        return [value + 3 for value in super().next_log_probs(prompt, token_ids)]


@breaks("sampling-follows-the-seed", "policy")
class IgnoresTheSeed(Table):
    def sample(self, requests):
        return super().sample([replace(request, seed=1) for request in requests])


@breaks("samples-do-not-depend-on-the-batch", "policy")
class SharedGenerator(Table):
    def sample(self, requests):
        return super().sample([replace(request, seed=request.seed + len(requests)) for request in requests])


@breaks("zero-temperature-takes-the-most-probable", "policy")
class NeverGreedy(Table):
    def sample(self, requests):
        return super().sample([replace(request, temperature=request.temperature or 1.0) for request in requests])


@breaks("stop-text-ends-a-completion", "policy")
class RunsOn(Table):
    def sample(self, requests):
        return super().sample([replace(request, stop=None) for request in requests])


@breaks("max-tokens-is-kept", "policy")
class OneTooMany(Table):
    def sample(self, requests):
        return super().sample([replace(request, max_tokens=request.max_tokens + 1) for request in requests])


@breaks("finish-says-how-it-ended", "policy")
class StopsWithoutAStop(Table):
    def sample(self, requests):
        return [
            [replace(found, finish="stop") if found.finish == "end" else found for found in answers]
            for answers in super().sample(requests)
        ]


@breaks("log-probs-agree-with-sampling", "policy")
class ScoresOtherwise(Table):
    def log_probs(self, trajectories):
        return [
            replace(t, steps=tuple(replace(s, log_probs=tuple(2 * v for v in s.log_probs)) for s in t.steps))
            for t in super().log_probs(trajectories)
        ]


@breaks("log-probs-are-of-temperature-one", "policy")
class SharpenedLogProbs(Table):
    def sample(self, requests):
        return [
            [
                replace(c, log_probs=tuple(value / (request.temperature or 1.0) for value in c.log_probs))
                for c in answers
            ]
            for request, answers in zip(requests, super().sample(requests), strict=True)
        ]


@breaks("prefixes-are-continued", "policy")
class ForgetsThePrefix(Table):
    def sample(self, requests):
        return super().sample([replace(r, prefix=replace(r.prefix, steps=())) for r in requests])


@breaks("text-is-given-tokens", "policy")
class LeavesTextAlone(Table):
    def log_probs(self, trajectories):
        scored = super().log_probs(trajectories)
        return [t if any(not s.token_ids for s in t.steps) else s for t, s in zip(trajectories, scored, strict=True)]


@breaks("finished-text-ends-the-sequence", "policy", capabilities=TRAINABLE)
class NeverEnds(Tiny):
    def batch(self, trajectories):
        bare = [t for t in trajectories if any(not step.token_ids for step in t.steps)]
        opened = [replace(t, finished=False) if t in bare else t for t in trajectories]
        return super().batch(opened)


@breaks("token-log-probs-have-a-gradient", "policy", capabilities=TRAINABLE)
class Detached(Tiny):
    def token_log_probs(self, batch, *, temperature=1.0):
        return super().token_log_probs(batch, temperature=temperature).detach()


@breaks("batches-mask-what-the-policy-wrote", "policy", capabilities=TRAINABLE)
class NoAttention(Tiny):
    def batch(self, trajectories):
        batch = super().batch(trajectories)
        return replace(batch, attention_BT=batch.attention_BT * 0)


@breaks("module-is-a-causal-language-model", "policy", capabilities=TRAINABLE)
class NoHiddenStates(Tiny):
    def __init__(self, config):
        super().__init__(config)
        forward = self.module.forward
        self.module.forward = lambda input_ids, attention_mask=None, output_hidden_states=False: forward(input_ids)


@breaks("policy-survives-save-and-load", "policy", capabilities=TRAINABLE)
class SavesHalf(Tiny):
    def save(self, directory):
        state = {name: value for name, value in self.module.state_dict().items() if "head" in name}
        save_file(state, directory / "half.safetensors")

    def load(self, directory):
        path = directory / "half.safetensors"
        if path.exists():
            self.module.load_state_dict(load_file(path), strict=False)
        else:
            super().load(directory)


@breaks("policy-refuses-a-missing-checkpoint", "policy", capabilities=TRAINABLE)
class LoadsNothing(Tiny):
    def load(self, directory):
        if (directory / "model.safetensors").exists():
            super().load(directory)


@breaks("capabilities-match-the-class", "policy")
class TrainableInSecret(Tiny):
    pass


@breaks("grammars-are-kept", "policy", capabilities=frozenset({"grammar"}))
class IgnoresTheGrammar(Table):
    pass


@breaks("choices-are-kept", "policy", capabilities=CHOICES)
class WritesWhatItLikes(Table):
    def sample(self, requests):
        return super().sample([replace(request, choices=None) for request in requests])


@breaks("choices-are-kept", "policy", capabilities=CHOICES)
class ForgetsTheMask(Table):
    """Its log-probabilities are those without choices."""

    def sample(self, requests):
        answers = super().sample(requests)
        for request, row in zip(requests, answers, strict=True):
            if request.choices is not None:
                row[:] = [replace(each, log_probs=tuple(p - 1 for p in each.log_probs)) for each in row]
        return answers
