"""`python -m benchmarks`; `benchmarks/run` finds the right Python first."""

import sys

from benchmarks.command import main

if __name__ == "__main__":
    sys.exit(main())
