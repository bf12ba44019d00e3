"""Configuration of supervised fine-tuning."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trellis import Config


class SFTConfig(Config):
    """How long and how fast."""

    steps: int = Field(default=400, ge=1)
    """Gradient steps."""
    batch_size: int = Field(default=128, ge=1)
    """Traces per step, drawn without replacement within an epoch."""
    learning_rate: float = Field(default=5e-3, gt=0)
    """AdamW's peak learning rate; about 1e-5 for a pretrained model."""
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    """How the learning rate falls."""
    final_fraction: float = Field(default=0.05, ge=0, le=1)
    """The last learning rate as a share of the peak."""
    warmup: int = Field(default=10, ge=0)
    """Steps of linear warm-up."""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's betas."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's decoupled weight decay."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are clipped to this 2-norm."""
