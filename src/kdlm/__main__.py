"""The command ``python -m kdlm``."""

import gc
import sys

from kdlm.cli import main

if __name__ == "__main__":
    # Importing torch makes hundreds of thousands of objects that live until the process ends.
    # Searching them for garbage takes a fifth of a job's start-up time. `configure_torch` turns
    # garbage collection on again.
    gc.disable()
    sys.exit(main())
