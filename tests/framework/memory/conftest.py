import sys
from pathlib import Path

# Other processes import the entries by name.
sys.path.insert(0, str(Path(__file__).parent))
