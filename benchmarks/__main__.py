"""``python -m benchmarks cluster``."""

import argparse
import sys

from benchmarks import cluster


def main() -> int:
    """Run the named benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = parser.add_subparsers(required=True, metavar="NAME")
    names.add_parser("cluster", help=cluster.__doc__).set_defaults(run=cluster.main)
    return int(parser.parse_args().run())


if __name__ == "__main__":
    sys.exit(main())
