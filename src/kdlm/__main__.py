"""``python -m kdlm``."""

import gc
import sys

from kdlm.cli import main

if __name__ == "__main__":
    # Importing torch makes objects by the hundred thousand that live to the end. To collect among
    # them takes a fifth of what a job needs to start; `configure_torch` turns it on again.
    gc.disable()
    sys.exit(main())
