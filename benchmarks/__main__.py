"""``python -m benchmarks cluster``, ``scale``, ``startup`` or ``study``."""

import argparse
import sys

from benchmarks import cluster, scale, startup, study


def main() -> int:
    """Run the named benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = parser.add_subparsers(required=True, metavar="NAME")
    names.add_parser("cluster", help=cluster.__doc__).set_defaults(run=cluster.main)
    for name, module in (("scale", scale), ("startup", startup), ("study", study)):
        added = names.add_parser(name, help=module.__doc__)
        module.add_options(added)
        added.set_defaults(run=module.main)
    options = vars(parser.parse_args())
    return int(options.pop("run")(**options))


if __name__ == "__main__":
    sys.exit(main())
