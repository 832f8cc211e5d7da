"""`python -m bench`: the table of figures."""

import sys

from bench.compare import main

if __name__ == "__main__":
    sys.exit(main())
