"""Boot the cluster of several hosts by hand: ``python -m tests.slurm24 --help``."""

import sys

from tests.slurm.command import main

from .cluster import NamespaceCluster

if __name__ == "__main__":
    sys.exit(main(NamespaceCluster, "tests.slurm24"))
