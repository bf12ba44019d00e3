"""Small models are fastest on one thread; tests reach for no hub, and see no settings of whoever runs them."""

import os
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["TRELLIS_CONFIG_DIR"] = tempfile.mkdtemp(prefix="trellis-tests-")
for name in ("TRELLIS_DISABLE_PLUGINS", "TRELLIS_STRICT_PLUGINS"):
    os.environ.pop(name, None)
