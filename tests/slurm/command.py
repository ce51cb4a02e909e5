"""The command that boots a cluster by hand, runs something on it, and ends it."""

import argparse
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from .base import Cluster, ClusterError

__all__ = ["main"]


def _up(cluster: Cluster) -> int:
    cluster.start()
    cluster.release()
    if "SLURM_CONF" in cluster.environment:
        print(f"export SLURM_CONF={shlex.quote(cluster.environment['SLURM_CONF'])}")
    else:
        variables = [f"{name}={value}" for name, value in cluster.environment.items()]
        print(shlex.join(cluster.enter(["env", "-i", *variables, "bash", "--login"])))
    return 0


def _run(cluster: Cluster, command: list[str]) -> int:
    def interrupt(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, interrupt)
    with (
        cluster,
        subprocess.Popen(cluster.enter(command), env=cluster.environment) as child,
    ):
        # the terminal sends it to the command too, whose answer is awaited
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            return child.wait()
        except SystemExit:
            child.terminate()
            raise


def _parser(kind: type[Cluster], program: str) -> argparse.ArgumentParser:
    summary = (kind.__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=summary)
    verbs = parser.add_subparsers(dest="verb", required=True)
    up = verbs.add_parser("up", help="boot it, print how to use it, leave it running")
    down = verbs.add_parser("down", help="end what `up` left running")
    run = verbs.add_parser("run", help="boot it, run a command, end it")
    default = Path(tempfile.gettempdir(), f"{kind.prefix.rstrip('-')}")
    for verb in (up, down):
        verb.add_argument("--folder", type=Path, default=default)
    for verb in (up, run):
        verb.add_argument("--no-accounting", dest="accounting", action="store_false")
        verb.add_argument(
            "--share", type=Path, action="append", default=[], help="a folder that all hosts see"
        )
    run.add_argument("command", nargs="+", help="after --")
    return parser


def main(kind: type[Cluster], program: str) -> int:
    """The command line; `run` exits as its command does, a cluster that fails with 1."""
    options = _parser(kind, program).parse_args()
    try:
        if options.verb == "down":
            kind(options.folder.resolve()).stop()
            return 0
        folder = options.folder.resolve() if options.verb == "up" else None
        shared = [path.resolve(strict=True) for path in options.share]
        cluster = kind(folder, accounting=options.accounting, shared=shared)
        return _up(cluster) if options.verb == "up" else _run(cluster, options.command)
    except ClusterError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    return 0
