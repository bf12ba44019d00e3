"""The conformance kit: what a contract demands, as checks that an author runs in one line.

`check_component("my/parity")` runs them in Python, `trellis plugins check my/parity` in a shell, and a subclass of a
suite in `trellis.testing.suites` under pytest. See `docs/conformance.md`.
"""

from trellis.testing.check import Check, CheckResult, Subject
from trellis.testing.run import check_component, checks

__all__ = ["Check", "CheckResult", "Subject", "check_component", "checks"]
