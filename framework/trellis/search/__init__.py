"""The search driver: runs sans-I/O searches over many problems in full batches, within budgets."""

from trellis.search.driver import SearchReport, run_searches
from trellis.search.tree import Tree, TreeLines, TreeWriter

__all__ = ["SearchReport", "Tree", "TreeLines", "TreeWriter", "run_searches"]
