"""``python -m benchmarks cluster``."""

import argparse
import sys
from pathlib import Path

from benchmarks import cluster


def main() -> int:
    """Run the named benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = parser.add_subparsers(required=True, metavar="NAME")
    command = names.add_parser("cluster", help=cluster.__doc__)
    command.set_defaults(run=lambda arguments: cluster.main(arguments.other))
    command.add_argument(
        "--other",
        type=Path,
        metavar="PYTHON",
        help="of an environment with the other plugin; default: one is made, with pip",
    )
    arguments = parser.parse_args()
    return int(arguments.run(arguments))


if __name__ == "__main__":
    sys.exit(main())
