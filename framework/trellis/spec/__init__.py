"""The pipeline spec: from YAML, with every problem and its place, to a checked `Pipeline`.

document    YAML to data with positions
overrides   `--set` over the data
secrets     `${env:NAME}` in, and never out again
models      the form of a file
sentences   pydantic's errors in a person's words
edges       what parts need of each other
references  stages that configs name
resolve     the order of all that
pipeline    the result
schema      JSON Schema for editors
starter     the file `trellis init` writes
"""

from trellis.spec.pipeline import ComponentSpec, Pipeline, StageSpec
from trellis.spec.resolve import load_pipeline

__all__ = ["ComponentSpec", "Pipeline", "StageSpec", "load_pipeline"]
