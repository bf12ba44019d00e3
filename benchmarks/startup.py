"""How long `import trellis`, `trellis --help` and `trellis check` take, as whole processes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from measure import spread, write

RUNS = 21
ROOT = Path(__file__).parents[1]
TRELLIS = str(Path(sys.executable).with_name("trellis"))
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "python -c 'import trellis'": [sys.executable, "-c", "import trellis"],
    "trellis --help": [TRELLIS, "--help"],
    "trellis check pipelines/airl_s.yaml": [TRELLIS, "check", str(ROOT / "pipelines" / "airl_s.yaml")],
}


def seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    for command in COMMANDS.values():
        seconds(command)
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(RUNS):
        for name, command in COMMANDS.items():
            taken[name].append(1000 * seconds(command))
    write("startup", {"unit": "ms", **{name: spread(values) for name, values in taken.items()}})


if __name__ == "__main__":
    main()
