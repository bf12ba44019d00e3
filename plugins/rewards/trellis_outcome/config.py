"""Configuration of outcome rewards."""

from __future__ import annotations

from trellis import Config


class VerifierConfig(Config):
    """The verifier has nothing to set."""
