"""Small models are fastest on one thread; tests reach for no hub, and see no settings of whoever runs them."""

import os
import tempfile
from importlib.util import find_spec

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["TRELLIS_CONFIG_DIR"] = tempfile.mkdtemp(prefix="trellis-tests-")
for name in ("TRELLIS_DISABLE_PLUGINS", "TRELLIS_STRICT_PLUGINS"):
    os.environ.pop(name, None)


def pytest_configure(config):
    """Let pass what chromadb leaks, where it is installed: it never closes its HTTP client, whoever's test is running then."""
    if find_spec("chromadb"):
        config.addinivalue_line("filterwarnings", "ignore:unclosed <socket:ResourceWarning")
