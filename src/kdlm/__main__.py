"""``python -m kdlm``."""

import sys

from kdlm.cli import main

if __name__ == "__main__":
    sys.exit(main())
