"""Configuration of the AIRL reward."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from trellis import Config
from trellis.fitting.config import LearningConfig, Reads


class HardNegativesConfig(Config):
    """Correct traces with one step replaced by another legal one and finished by the policy."""

    share: float = Field(default=0.0, ge=0, le=1)
    """Share of the negatives that are hard ones, as far as there are traces to make them of; 0 makes none, above 0 takes a
    `task` that knows its legal steps."""
    max_tokens: int = Field(default=128, ge=1)
    """At most so many tokens when the policy finishes one."""
    refresh: int | None = Field(default=None, ge=1)
    """A trace's negative is made anew after so many updates, as the policy moves; None keeps it."""


class AIRLConfig(LearningConfig):
    """The discriminator's form, whom it tells from whom, and what RL and search get of it."""

    form: Literal["policy-skip", "scalar-head", "shaped", "lm-density", "gail"] = "policy-skip"
    """What the network gives. "policy-skip": the logit l, and f = l + log π. "scalar-head": f, the logit is f - log π.
    "shaped": f = g + γ h(s') - h(s) with h(terminal) = 0, the logit is f - log π. "lm-density": f = log q of a trainable
    copy of the language model. "gail": the logit, and no log π anywhere."""
    reads: Reads = "tokens"
    """Whether the network is the policy's trunk, which reads tokens, or linear in the words that the `task` has for each step:
    join orders of few measured queries are learned in seconds by the latter, with a learning rate of about 0.03. Not in the
    forms "shaped" and "lm-density"."""
    gamma: float = Field(default=1.0, gt=0, le=1)
    """γ of the shaped form."""

    experts: Literal["traces", "rollouts", "graded"] = "traces"
    """Whose steps are the experts': given traces (those of the collaborator `experts` where there is one, e.g. a `jsonl`
    task that reads a file; else the training task's); the policy's own rollouts that the verifier found correct; or, where
    the verifier measures a gain, every rollout to a degree: exp(gain / `grade_temperature`), relative to the others of its
    problem (draw batches by problem). All rollouts are then negatives too, and the logit alone is the gain up to a constant of
    the problem: where they are not the present policy's own, steer search by it (`search_score: l`)."""
    grade_temperature: float = Field(default=0.5, gt=0)
    """How far a graded expert's gain, a natural logarithm, has to lie above another's to count e times as much."""
    negatives: Literal["all", "wrong"] = "all"
    """Which rollouts are told from the experts: all, as AIRL has it, or those the verifier found wrong."""
    hard_negatives: HardNegativesConfig = HardNegativesConfig()
    """Correct traces made wrong, so that what is learned is what is right and not the traces' style."""
    match: Literal["none", "problem", "age"] = "none"
    """Weighs experts so that each problem (or each training step in which rollouts were sampled) has the same share among
    the experts' trajectories as among the negatives', and leaves out those without an expert: else the discriminator
    learns which problems are easy, or how old a rollout is. "age" is for `experts: rollouts`."""
    mask_shared_prefix: bool = False
    """Leaves out of the loss the steps that an expert and a negative of the same problem begin with alike."""
    replay: int = Field(default=0, ge=0)
    """So many rollouts of earlier updates are kept, and each update draws as many of them as it has new ones."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Expert labels are 1 - this, the negatives' are this."""

    rl_reward: Literal["l", "f", "g", "softplus"] = "l"
    """What RL is paid: the logit l = f - log π (AIRL's), f, the shaped form's g, or softplus(l) = -log(1 - D) (GAIL's)."""
    reward_clip: float = Field(default=3.0, gt=0)
    """What RL is paid is clipped to ± this."""
    search_score: Literal["f", "l", "g"] = "f"
    """What search is steered by: f, the logit l alone, or the shaped form's g."""
    log_pi_weight: float = Field(default=1.0, ge=0)
    """Policy-skip and f only: the weight of log π in search (the discriminator itself knows 1)."""
    log_pi_span: Literal["prefix", "step"] = "prefix"
    """Policy-skip and f only: whether search adds log π of all steps so far or of the newest. A discriminator that sees
    whole prefixes makes l of the *last* step plus log π of the *prefix* the log-density of the expert's trace; so aggregate
    with "last"."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if "g" in (self.rl_reward, self.search_score) and self.form != "shaped":
            raise ValueError(f"there is a g in the form 'shaped' only, not in '{self.form}'")
        if self.reads == "words" and self.form in ("shaped", "lm-density"):
            raise ValueError(f"the form '{self.form}' is a network that reads tokens: leave 'reads: words' out")
        if self.experts == "graded" and (self.negatives == "wrong" or self.match != "none" or self.mask_shared_prefix):
            raise ValueError(
                "'experts: graded' compares all rollouts of a problem by their gain: leave 'negatives', 'match' and "
                "'mask_shared_prefix' out"
            )
        if self.match == "age" and self.experts == "traces":
            raise ValueError("'match: age' goes with 'experts: rollouts': given traces have no age")
        return self
