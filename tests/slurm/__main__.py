"""Boot the cluster by hand: ``python -m tests.slurm --help``."""

import argparse
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from .cluster import ClusterError, SlurmCluster


def _up(cluster: SlurmCluster) -> int:
    cluster.start()
    cluster.release()
    print(f"export SLURM_CONF={shlex.quote(cluster.environment['SLURM_CONF'])}")
    return 0


def _run(cluster: SlurmCluster, command: list[str]) -> int:
    def interrupt(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, interrupt)
    with cluster, subprocess.Popen(command, env=cluster.environment) as child:
        # the terminal sends it to the command too, whose answer is awaited
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            return child.wait()
        except SystemExit:
            child.terminate()
            raise


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="A Slurm of four nodes in a scratch folder.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    up = verbs.add_parser("up", help="boot it, print what to export, leave it running")
    down = verbs.add_parser("down", help="end what `up` left running")
    run = verbs.add_parser("run", help="boot it, run a command, end it")
    for verb in (up, down):
        verb.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir(), "kdlm-slurm"))
    for verb in (up, run):
        verb.add_argument("--no-accounting", dest="accounting", action="store_false")
    run.add_argument("command", nargs="+", help="after --")
    return parser


def main() -> int:
    """The command line; `run` exits as its command does, a cluster that fails with 1."""
    options = _parser().parse_args()
    try:
        if options.verb == "run":
            return _run(SlurmCluster(accounting=options.accounting), options.command)
        folder = options.folder.resolve()
        if options.verb == "up":
            return _up(SlurmCluster(folder, options.accounting))
        SlurmCluster(folder).stop()
    except ClusterError as error:
        print(f"tests.slurm: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
