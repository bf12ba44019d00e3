"""`python -m trellis` is `trellis`: launchers such as torchrun start modules."""

from trellis.cli import main

if __name__ == "__main__":
    main()
