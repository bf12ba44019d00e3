"""What is minimised: the clipped surrogate, the divergence from the reference, and how tokens are averaged.

Shape suffixes: B rollouts, T tokens.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import torch

from trellis.nn import masked_mean

Ratio: TypeAlias = Literal["token", "sequence"]
Average: TypeAlias = Literal["tokens", "sequences", "constant"]


class Surrogate(NamedTuple):
    """The surrogate at each token, to be minimised, and the share of tokens clipped; shapes (B, T) and ()."""

    loss_BT: torch.Tensor
    clipped: torch.Tensor


def surrogate(
    log_prob_BT: torch.Tensor,
    old_BT: torch.Tensor,
    advantage_BT: torch.Tensor,
    mask_BT: torch.Tensor,
    *,
    clip: float,
    clip_high: float | None = None,
    ratio: Ratio = "token",
) -> Surrogate:
    """Return -min(ρ A, clip(ρ, 1 - ε, 1 + ε_high) A) at every token.

    PPO (https://arxiv.org/abs/1707.06347), equation 7, with ε_high = ε; DAPO (https://arxiv.org/abs/2503.14476), section
    3.1, raises ε_high alone ("clip-higher"), so that improbable tokens can become probable.

    Args:
        log_prob_BT: log π of each token, with gradient.
        old_BT: The same when the rollouts were sampled.
        advantage_BT: A.
        mask_BT: True at the tokens of steps.
        clip: ε.
        clip_high: ε_high; None takes ε.
        ratio: "token": ρ = π / π_old of the token. "sequence": see `sequence_ratio`.
    """
    ratio_BT = (
        (log_prob_BT - old_BT).exp() if ratio == "token" else sequence_ratio(log_prob_BT, old_BT, mask_BT=mask_BT)
    )
    plain_BT = ratio_BT * advantage_BT
    clipped_BT = ratio_BT.clamp(1 - clip, 1 + (clip if clip_high is None else clip_high)) * advantage_BT
    return Surrogate(-torch.minimum(plain_BT, clipped_BT), masked_mean((clipped_BT < plain_BT).float(), mask_BT))


def importance_weights(log_prob_BT: torch.Tensor, sampled_BT: torch.Tensor, *, cap: float) -> torch.Tensor:
    """Return min(π(y_t) / μ(y_t), C) of each token, without gradient: truncated importance sampling.

    The rollouts come from μ, an inference engine that was given the weights of π and yet computes other probabilities, in other
    kernels and precisions. The ratio makes an expectation under μ one under π; cut at C it is biased a little and of bounded
    variance (Ionides 2008, Truncated importance sampling; Yao et al. 2025, Your Efficient RL Framework Secretly Brings You
    Off-Policy RL Training, https://fengyao.notion.site/off-policy-rl, which multiplies PPO's surrogate by it; in TRL
    `vllm_importance_sampling_correction`, in NeMo-RL `truncated_importance_sampling_ratio`).

    Args:
        log_prob_BT: log π of each token when the rollouts were sampled.
        sampled_BT: log μ of each token, as the rollouts carry it.
        cap: C.
    """
    return (log_prob_BT.detach() - sampled_BT).exp().clamp(max=cap)


def sequence_ratio(log_prob_BT: torch.Tensor, old_BT: torch.Tensor, *, mask_BT: torch.Tensor) -> torch.Tensor:
    """Return s = (π(y) / π_old(y))^(1/|y|) of each sequence y at each of its tokens.

    GSPO (https://arxiv.org/abs/2507.18071), equation 7, in the form of its section 4.3 (GSPO-token): sg(s) π / sg(π), which
    has the value of s, while a token's gradient is that of its own log π. Where all tokens of a sequence have one
    advantage the two have the same gradient; where they differ, each token answers for its own.

    Returns:
        float32 of shape (B, T).
    """
    difference_BT = (log_prob_BT.detach() - old_BT).where(mask_BT, 0.0)
    mean_B1 = difference_BT.sum(1, keepdim=True) / mask_BT.sum(1, keepdim=True).clamp(min=1)
    return mean_B1.exp() * (log_prob_BT - log_prob_BT.detach()).exp()


def average(values_BT: torch.Tensor, mask_BT: torch.Tensor, *, over: Average, max_tokens: int) -> torch.Tensor:
    """Return the average of what stands at the tokens of steps.

    With |y| tokens in each of B sequences y and v of token t of y:

    - "tokens": Σ_y Σ_t v / Σ_y |y|. Every token counts the same (DAPO, section 3.3).
    - "sequences": 1/B Σ_y 1/|y| Σ_t v. Every sequence counts the same, so a long wrong one is blamed less per token
      (DeepSeekMath, https://arxiv.org/abs/2402.03300, equation 3; GSPO, equation 5).
    - "constant": 1/B Σ_y 1/M Σ_t v with M = max_tokens: no length enters (Dr. GRPO, https://arxiv.org/abs/2503.20783,
      section 3).
    """
    if over == "tokens":
        return masked_mean(values_BT, mask_BT)
    total_B = values_BT.where(mask_BT, 0.0).sum(1)
    if over == "sequences":
        return (total_B / mask_BT.sum(1).clamp(min=1)).mean()
    return total_B.mean() / max_tokens


def kl_terms(log_prob_BT: torch.Tensor, reference_BT: torch.Tensor) -> torch.Tensor:
    """Return exp(d) - d - 1 with d = log π_ref - log π: on average KL(π || π_ref), never negative.

    DeepSeekMath, equation 4; the estimator k3 of http://joschu.net/blog/kl-approx.html.
    """
    difference_BT = reference_BT - log_prob_BT
    return difference_BT.exp() - difference_BT - 1
