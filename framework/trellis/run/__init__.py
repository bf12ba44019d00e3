"""The engine: runs a pipeline's stages in a run directory, so that it can be stopped and resumed at any step."""
