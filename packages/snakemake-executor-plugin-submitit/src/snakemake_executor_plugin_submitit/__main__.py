"""Remove what finished runs left: ``python -m snakemake_executor_plugin_submitit clean``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from snakemake_executor_plugin_submitit.cluster import Phase
from snakemake_executor_plugin_submitit.executor import cluster
from snakemake_executor_plugin_submitit.journal import RivalError, Submission
from snakemake_executor_plugin_submitit.leftovers import STORE, clean
from snakemake_executor_plugin_submitit.settings import ExecutorSettings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status, 1 if nothing could be removed."""
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description=__doc__)
    commands = parser.add_subparsers(required=True)
    help_text = "remove logs, submitit's files and journals of runs that are over"
    cleaning = commands.add_parser("clean", help=help_text, description=help_text)
    cleaning.add_argument("folder", type=Path, nargs="?", default=Path(), help="default: here")
    cleaning.add_argument(
        "--logdir", default=ExecutorSettings().logdir, help="as given to --submitit-logdir"
    )
    given = parser.parse_args(arguments)
    store = given.folder / STORE
    try:
        removed = clean(store, given.folder / given.logdir, _gone)
    except (RivalError, OSError) as error:
        print(f"nothing was removed: {error}", file=sys.stderr)
        return 1
    print(f"removed {removed} logs and folders below {store}")
    return 0


def _gone(jobs: list[Submission]) -> set[str]:
    """Return the ids of the jobs that have ended."""
    gone = set()
    for name in {job.cluster for job in jobs}:
        ids = [job.job_id for job in jobs if job.cluster == name]
        states = cluster(ExecutorSettings(cluster=name)).states(ids, finished=ids)
        gone |= {
            job_id
            for job_id in ids
            if (state := states.get(job_id)) is None or state.phase is Phase.ENDED
        }
    return gone


if __name__ == "__main__":
    sys.exit(main())
