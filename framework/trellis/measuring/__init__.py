"""Timing queries under hints against their default plans: `trellis.measuring.measure.measure`."""
