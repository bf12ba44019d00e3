"""A plugin that cannot be imported."""

raise ImportError("no module named 'warp_drive'")
