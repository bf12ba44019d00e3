"""Records in Chroma: a directory of this machine's, or a server.

`{use: chroma, with: {path: vectors}}` or `{use: chroma-server, with: {host: chroma.example}}` in a pipeline, after
`pip install 'trellis[chroma]'`. Vectors come from the pipeline's embedder; Chroma downloads and reports nothing.
"""

from collections.abc import Iterable

from trellis import Component, hookimpl
from trellis_chroma.config import ChromaConfig, ChromaServerConfig


@hookimpl
def trellis_retrieval_stores() -> Iterable[Component]:
    """Return the stores of this plugin."""
    for name, summary, config, factory in (
        ("chroma", "Chroma in a directory; nearly exact", ChromaConfig, "Chroma"),
        ("chroma-server", "a Chroma server; nearly exact", ChromaServerConfig, "ChromaServer"),
    ):
        yield Component(
            name,
            summary,
            config,
            f"trellis_chroma.store:{factory}",
            capabilities=frozenset({"persistent"}),
            extra="chroma",
            modules=("chromadb",),
        )
