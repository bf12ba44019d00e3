import sys
from pathlib import Path

# The faulty plugins are modules that other processes import by name, as an installed plugin's would be.
sys.path.insert(0, str(Path(__file__).parent / "faulty"))
