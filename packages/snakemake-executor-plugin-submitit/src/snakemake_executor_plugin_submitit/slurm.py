"""Submit jobs to Slurm with sbatch, and follow them with squeue, sacct, scancel and scontrol."""

import contextlib
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

from submitit.core.utils import DelayedSubmission

from snakemake_executor_plugin_submitit.cluster import NoRoomError, Phase, State, SubmissionError
from snakemake_executor_plugin_submitit.payload import JobCommand
from snakemake_executor_plugin_submitit.resources import Request
from snakemake_executor_plugin_submitit.words import ENDED, HELD, NEVER, NO_ROOM, TRANSIENT

logger = logging.getLogger(__name__)

INHERITED = frozenset({"account", "constraint", "partition", "qos", "reservation"})
"""Options that the user's SBATCH_… variables may set for a job that does not request them. Other
such variables are hidden from sbatch, because they would override the options in a script."""

KEPT = re.compile(r"SLURM_(CONF|JWT|SACK_\w+)")
"""Variables that name the cluster and identify the user; Slurm's others change what its commands
print."""

THEIRS = re.compile(r"(SLURMD?|SBATCH|SALLOC|SRUN|SQUEUE|SACCT|SACCTMGR|SCANCEL|SCONTROL|SINFO)_")
"""Prefixes of the variables that Slurm's commands read."""

COLUMNS = {"JobArrayID": 40, "State": 20, "Reason": 60, "exit_code": 12}
"""Columns of squeue and their widths. The output is cut by these widths, because no separator is
available in every version."""


class Slurm:
    """The Slurm cluster that SLURM_CONF names, or else Slurm's default."""

    def __init__(self, *, setup: Sequence[str], parallelism: int | None, patience: float) -> None:
        """Store the options of the run.

        Args:
            setup: shell lines that run before each job.
            parallelism: how many jobs of one array run at a time; None for no limit.
            patience: seconds for which a submission is tried again while Slurm is unreachable.
        """
        self._setup = list(setup)
        self._parallelism = parallelism
        self._patience = patience
        self._accounting = True
        self._stopped = threading.Event()

    @cached_property
    def largest_array(self) -> int:
        """See `Cluster.largest_array`; MaxArraySize, since indices run from 0 to one below it."""
        pauses = self._pauses()
        while True:
            try:
                text = command("scontrol", "show", "config")
                break
            except OSError as error:
                self._wait_or_raise(pauses, str(error))
        match = re.search(r"MaxArraySize\s*=\s*(\d+)", text)
        return max(1, int(match[1])) if match else 1001

    def submit(
        self, folder: Path, request: Request, name: str, tag: str, commands: Sequence[JobCommand]
    ) -> list[str]:
        """See `Cluster.submit`; try again with growing pauses while slurmctld is unreachable."""
        pauses = self._pauses()
        while True:
            try:
                return self._submit(folder, request, name, tag, commands)
            except OSError as error:
                message = _message(error)
            if NO_ROOM.search(message):
                shutil.rmtree(folder, ignore_errors=True)
                raise NoRoomError(message)
            self._wait_or_raise(pauses, message)
            # slurmctld may have accepted the jobs although its answer was lost.
            with contextlib.suppress(OSError):
                self.cancel_tagged(tag)

    def stop_waiting(self) -> None:
        """See `Cluster.stop_waiting`."""
        self._stopped.set()

    def _pauses(self) -> Iterator[float]:
        """Yield growing pauses between tries, in seconds, for as long as the patience lasts."""
        end = time.monotonic() + self._patience
        pause = 1.0
        while time.monotonic() + pause <= end:
            yield pause
            pause = min(2 * pause, 60)

    def _wait_or_raise(self, pauses: Iterator[float], message: str) -> None:
        """Wait until the next try.

        Raises:
            SubmissionError: no try is left, another try could not succeed, or waiting was stopped.
        """
        pause = next(pauses, None) if TRANSIENT.search(message) else None
        if pause is None:
            raise SubmissionError(message)
        logger.warning("Slurm: %s; next try in %.0f s", message, pause)
        if self._stopped.wait(pause):
            raise SubmissionError(message)

    def _submit(
        self, folder: Path, request: Request, name: str, tag: str, commands: Sequence[JobCommand]
    ) -> list[str]:
        comment = f"{commands[0].title if len(commands) == 1 else name} {tag}"
        script = folder / "submission.sh"
        script.write_text(self._script(folder, request, name, comment, commands))
        pickles = []
        for number, one in enumerate(commands):
            delayed = DelayedSubmission(one)
            delayed.set_timeout(request.runtime, 1 << 30)
            pickles.append(folder / f"{number}.pkl")
            delayed.dump(pickles[-1])
        # For sbatch, variables override the options in a script.
        kept = {f"SBATCH_{option.upper()}" for option in INHERITED - dict(request.options).keys()}
        said = command("sbatch", str(script), keep=kept, folder=Path(commands[0].folder))
        match = re.search(r"\bjob (\d+)", said)
        if match is None:
            raise OSError(f"sbatch: what it said names no job: {said.strip()!r}")
        ids = [match[1]]
        if len(commands) > 1:
            ids = [f"{match[1]}_{number}" for number in range(len(commands))]
        # submitit's process on the node waits for a pickle of this name.
        for pickle, job_id in zip(pickles, ids, strict=True):
            pickle.rename(folder / f"{job_id}_submitted.pkl")
        return ids

    def _script(
        self,
        folder: Path,
        request: Request,
        name: str,
        comment: str,
        commands: Sequence[JobCommand],
    ) -> str:
        """Return the script for sbatch.

        The folder's path may contain a `%`, which Slurm and submitit would take for a pattern. For
        Slurm it is written as `%%`; submitit is given `/proc/self/cwd` in place of the path.
        """
        options: dict[str, str | bool] = {
            "comment": comment,
            "cpus-per-task": str(request.cpus),
            "export": "ALL",
            "job-name": name,
            "nodes": "1",
            "open-mode": "append",
            "output": f"{str(folder).replace('%', '%%')}/%j_0_log.out",
            "requeue": True,
            "signal": f"USR2@{commands[0].notice}",
            "time": str(request.runtime),
        }
        output = "%j_%t_log.out"
        if (count := len(commands)) > 1:
            parallel = min(count, self._parallelism or count)
            options["array"] = f"0-{count - 1}%{parallel}"
            options["output"] = str(options["output"]).replace("%j_0_", "%A_%a_0_")
            output = "%A_%a_%t_log.out"
        options |= dict(request.options)
        lines = [
            f"#SBATCH --{option}" if value is True else f"#SBATCH --{option}={_quoted(str(value))}"
            for option, value in sorted(options.items())
        ]
        # Only one of several tasks starts Snakemake; the rule's command starts the tasks by srun.
        # With --overlap the step of the first task shares its CPUs with them.
        step = ["srun", "--unbuffered", "--output", output, "--ntasks=1", "--nodes=1"]
        step += [f"--cpus-per-task={request.cpus}", "--overlap"]
        step += [sys.executable, "-u", "-m", "submitit.core._submit", "/proc/self/cwd"]
        return "\n".join(
            [
                "#!/bin/bash",
                *lines,
                *self._setup,
                "export SUBMITIT_EXECUTOR=slurm",
                f"cd {shlex.quote(str(folder))} || exit 1",
                shlex.join(step),
                "",
            ]
        )

    def states(self, job_ids: Iterable[str], finished: Collection[str] = ()) -> dict[str, State]:
        """See `Cluster.states`; one squeue, then one sacct for the jobs that squeue lacks."""
        wanted = set(job_ids)
        states = {
            job: state for job, state in _parse_squeue(self._squeue()).items() if job in wanted
        }
        if missing := wanted - states.keys() - {*finished}:
            states.update(self._sacct(missing))
        return states

    def _squeue(self) -> str:
        columns = ",".join(f"{name}:{width}" for name, width in COLUMNS.items())
        return command("squeue", "--me", "--noheader", "--array", "--states=all", "-O", columns)

    def _sacct(self, job_ids: set[str]) -> dict[str, State]:
        arrays = sorted({job_id.partition("_")[0] for job_id in job_ids})
        try:
            text = command(
                *("sacct", "--allocations", "--noheader", "--parsable2", "--array"),
                *("--format=JobID,State,ExitCode", f"--jobs={','.join(arrays)}"),
            )
        except OSError as error:
            # There is no accounting, or it is unreachable; the answer of squeue has to do.
            if self._accounting:
                logger.debug("sacct: %s", error)
            self._accounting = False
            return {}
        self._accounting = True
        return {job: state for job, state in _parse_sacct(text).items() if job in job_ids}

    def cancel(self, job_ids: Iterable[str]) -> None:
        """See `Cluster.cancel`."""
        ids = list(job_ids)
        for start in range(0, len(ids), 500):
            command("scancel", "--quiet", *ids[start : start + 500])

    def cancel_tagged(self, tag: str) -> None:
        """See `Cluster.cancel_tagged`."""
        text = command("squeue", "--me", "--noheader", "--format=%F %k")
        jobs = {line.split()[0] for line in text.splitlines() if line.endswith(tag)}
        if jobs:
            self.cancel(jobs)


def command(*words: str, keep: Collection[str] = (), folder: Path | None = None) -> str:
    """Run one of Slurm's commands and return its output.

    Variables by which the user's shell sets defaults for Slurm's commands are hidden from it, and
    so are the variables of a job in which the controller itself may run.

    Args:
        words: the command and its arguments.
        keep: names of such variables that the command may see.
        folder: its working directory; by default the present one.

    Raises:
        OSError: the command failed, or took more than two minutes. sbatch itself may try for more
            than one minute.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in keep or KEPT.fullmatch(name) or not THEIRS.match(name)
    }
    try:
        done = subprocess.run(  # noqa: S603
            words,
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
            stdin=subprocess.DEVNULL,
            env=environment,
            cwd=folder,
        )
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"{words[0]} did not answer within two minutes") from None
    if done.returncode != 0:
        raise OSError(f"{words[0]}: {done.stderr.strip() or f'exit status {done.returncode}'}")
    return done.stdout


def _quoted(value: str) -> str:
    """Return a value quoted as sbatch reads it in a script."""
    return shlex.quote(value)


def _message(error: Exception) -> str:
    lines = [line.strip() for line in str(error).removeprefix("sbatch: ").splitlines()]
    said = [line for line in lines if line.startswith("sbatch:")]
    return "; ".join(said or [line for line in lines if line][-1:])


def _parse_squeue(text: str) -> dict[str, State]:
    states = {}
    for line in text.splitlines():
        cells, start = [], 0
        for width in COLUMNS.values():
            cells.append(line[start : start + width].strip())
            start += width
        job, name, reason, status = cells
        if name in ENDED:
            state = State(Phase.ENDED, name, _exit(status))
        elif name in HELD or (name == "PENDING" and NEVER.fullmatch(reason)):
            state = State(Phase.STUCK, name, reason)
        else:
            state = State(Phase.ALIVE, name, "" if reason == "None" else reason)
        states[job] = state
    return states


def _parse_sacct(text: str) -> dict[str, State]:
    states = {}
    for line in text.splitlines():
        job, name, status = line.split("|")
        name, _, by = name.partition(" ")  # CANCELLED by 1000
        # Accounting lags behind squeue, so that only the ends of jobs are taken from it.
        if name in ENDED:
            states[job] = State(Phase.ENDED, name, " ".join([*by.split(), f"exit {status}"]))
    return states


def _exit(status: str) -> str:
    """Return a status of `wait` as sacct prints it, with the exit code and the signal."""
    if not status.isdigit():
        return ""
    return f"exit {int(status) >> 8}:{int(status) & 127}"
