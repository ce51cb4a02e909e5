"""``python -m benchmarks NAME``: what the study costs, measured beside what it is compared with."""

import argparse
import sys

from benchmarks import cluster, init_means, losses, reading, scale, startup, study, training

BENCHMARKS = {
    "cluster": cluster,
    "init_means": init_means,
    "losses": losses,
    "reading": reading,
    "scale": scale,
    "startup": startup,
    "study": study,
    "training": training,
}


def main() -> int:
    """Run the named benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = parser.add_subparsers(required=True, metavar="NAME")
    for name, module in BENCHMARKS.items():
        command = names.add_parser(name, help=module.__doc__)
        module.add_options(command)
        command.set_defaults(run=module.main)
    options = vars(parser.parse_args())
    return int(options.pop("run")(**options))


if __name__ == "__main__":
    sys.exit(main())
