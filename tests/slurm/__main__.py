"""Boot the cluster by hand: ``python -m tests.slurm --help``."""

import sys

from .cluster import SlurmCluster
from .command import main

if __name__ == "__main__":
    sys.exit(main(SlurmCluster, "tests.slurm"))
