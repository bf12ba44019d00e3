"""Exploring a workload: hints are proposed, tried within bounds, verified in pairs, and what pays is decided to be served."""
