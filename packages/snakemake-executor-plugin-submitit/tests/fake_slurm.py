"""Slurm's commands on top of a folder: enough of them for the plugin, and every fault at will.

`install` writes `sbatch`, `squeue`, `sacct`, `scancel`, `scontrol` and `srun` into a folder for
PATH; each runs this file with the standard library alone. The state is plain files, which a test
reads and writes through `FakeSlurm`:

- `jobs/ID/`: `job.json` (what sbatch was told), `state` (`STATE|Reason|wait status`), `script`,
  `step` (process that srun became);
- `faults/NAME`: what goes wrong from now on, see `FakeSlurm.fault`;
- `calls.jsonl`: every call, and the names of the variables of Slurm's that it saw.

It does as the real one was seen to do: squeue heeds SQUEUE_PARTITION; `%%` in the path of an output
is a `%`, and other letters after one stand for what they stand for; an array that is too large for
MaxSubmitJobs is refused as a whole; 24.11 requeues a job that succeeds while it is preempted.
"""

import contextlib
import fcntl
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Never

NAMES = ("sbatch", "squeue", "sacct", "scancel", "scontrol", "srun")

COLUMNS = {"JobArrayID": "id", "State": "state", "Reason": "reason", "exit_code": "status"}


def install(state: Path, binaries: Path) -> "FakeSlurm":
    """Make the commands and an empty cluster."""
    for folder in (binaries, state / "jobs", state / "faults"):
        folder.mkdir(parents=True)
    for name in NAMES:
        path = binaries / name
        words = [sys.executable, "-ES", __file__, str(state), name]
        path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        path.chmod(0o755)
    return FakeSlurm(state)


@dataclass(frozen=True)
class FakeSlurm:
    """The cluster, as its own commands and a test see it."""

    state: Path

    def jobs(self) -> list[dict[str, Any]]:
        """What sbatch was told of each job and each task of an array, in order."""
        found = [json.loads(path.read_text()) for path in self.state.glob("jobs/*/job.json")]
        return sorted(found, key=lambda job: int(job["raw"]))

    def script(self, job_id: str) -> str:
        return (self.state / "jobs" / job_id / "script").read_text()

    def calls(self, name: str) -> list[list[str]]:
        """Arguments of every call of a command."""
        path = self.state / "calls.jsonl"
        lines = map(json.loads, path.read_text().splitlines()) if path.exists() else []
        return [words for caller, _, *words in lines if caller == name]

    def environments(self, name: str) -> list[list[str]]:
        """Names of Slurm's variables that each call of a command saw."""
        lines = map(json.loads, (self.state / "calls.jsonl").read_text().splitlines())
        return [names for caller, names, *_ in lines if caller == name]

    def fault(self, name: str, value: object) -> None:
        """From now on: the cluster behaves otherwise.

        `sbatch` or `scontrol` = [n, message]: the next n calls fail so. `squeue` or `sacct` =
        message: fails so. `requeue` = message: says so, though it did what was asked.
        `squeue-sleeps` = seconds. `hold` = reason: what is submitted stays pending. `forget` =
        [id …]: jobs that neither command knows. `MaxArraySize` = n. `MaxSubmitJobs` = n.
        `preempted` = seconds: a job that ends well is requeued, and starts again after so long.
        None heals it.
        """
        path = self.state / "faults" / name
        if value is None:
            path.unlink(missing_ok=True)
        else:
            _write(path, json.dumps(value))

    def has(self, name: str) -> Any:
        path = self.state / "faults" / name
        return json.loads(path.read_text()) if path.exists() else None

    def state_of(self, job_id: str) -> str:
        return (self.state / "jobs" / job_id / "state").read_text().partition("|")[0]

    def set_state(self, job_id: str, state: str, reason: str = "None", status: int = 0) -> None:
        _write(self.state / "jobs" / job_id / "state", f"{state}|{reason}|{status}")

    def add(self, job_id: str, state: str, reason: str = "None", status: int = 0) -> None:
        """A job that nothing runs."""
        folder = self.state / "jobs" / job_id
        folder.mkdir()
        told = {"id": job_id, "raw": job_id.replace("_", ""), "options": {}}
        _write(folder / "job.json", json.dumps(told))
        self.set_state(job_id, state, reason, status)

    def kill(self, job_id: str, state: str, status: int = 9) -> None:
        """End a job as a cluster does, without a word to its processes."""
        self.set_state(job_id, state, status=status)
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            group = int((self.state / "jobs" / job_id / "group").read_text())
            os.killpg(group, signal.SIGKILL)

    def step(self, job_id: str) -> int:
        """The process to which Slurm sends a job's signals."""
        return int((self.state / "jobs" / job_id / "step").read_text())

    def end(self) -> None:
        """End whatever still runs."""
        for job in self.jobs():
            if self.state_of(job["id"]) in {"RUNNING", "PENDING"}:
                self.set_state(job["id"], "CANCELLED")
            self.kill(job["id"], self.state_of(job["id"]))


def _write(path: Path, text: str) -> None:
    """So that no reader sees half of it."""
    new = path.with_name(f"{path.name}.{os.getpid()}")
    new.write_text(text)
    new.replace(path)


def _die(name: str, message: str) -> Never:
    print(f"{name}: error: {message}", file=sys.stderr)
    raise SystemExit(1)


def _sbatch(slurm: FakeSlurm, words: list[str]) -> None:
    with (slurm.state / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fault = slurm.has("sbatch")
        if fault and fault[0] > 0:
            slurm.fault("sbatch", [fault[0] - 1, fault[1]])
            _die("sbatch", fault[1])
        counter = slurm.state / "counter"
        first = int(counter.read_text()) if counter.exists() else 100
        text = Path(words[-1]).read_text()
        options = dict(_options(text))
        match = re.match(r"0-(\d+)", options.get("array", ""))
        tasks = range(int(match[1]) + 1) if match else [None]
        queued = [job for job in _known(slurm) if job["state"] in {"PENDING", "RUNNING"}]
        if len(queued) + len(tasks) > (slurm.has("MaxSubmitJobs") or 1 << 30):
            print("sbatch: error: AssocMaxSubmitJobLimit", file=sys.stderr)
            _die(
                "sbatch",
                "Batch job submission failed: Job violates accounting/QOS policy (job submit limit,"
                " user's size and/or time limits)",
            )
        counter.write_text(str(first + len(tasks)))
    if len(tasks) > (slurm.has("MaxArraySize") or 1001):
        _die("sbatch", "Batch job submission failed: Invalid job array specification")
    reason = slurm.has("hold")
    for task in tasks:
        job_id = str(first) if task is None else f"{first}_{task}"
        folder = slurm.state / "jobs" / job_id
        folder.mkdir()
        (folder / "script").write_text(text)
        raw = first + (task or 0)
        told = {"id": job_id, "array": str(first), "task": task, "raw": raw, "options": options}
        _write(folder / "job.json", json.dumps(told))
        slurm.set_state(job_id, "PENDING" if reason else "RUNNING", reason or "None")
        if not reason:
            subprocess.Popen(
                [sys.executable, "-ES", __file__, str(slurm.state), "slurmd", job_id],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
    print(f"Submitted batch job {first}")


def _options(script: str) -> Iterator[tuple[str, str]]:
    for line in script.splitlines():
        if line.startswith("#SBATCH "):
            (word,) = shlex.split(line.removeprefix("#SBATCH "))
            name, _, value = word.removeprefix("--").partition("=")
            yield name, value


def _slurmd(slurm: FakeSlurm, words: list[str]) -> None:
    """Run one job until it has ended or was ended; again after a requeue."""
    (job_id,) = words
    folder = slurm.state / "jobs" / job_id
    told = json.loads((folder / "job.json").read_text())
    environment = os.environ | {
        "SLURM_JOB_ID": str(told["raw"]),
        "SLURM_NTASKS": told["options"].get("ntasks", "1"),
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_NODEID": "0",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "FAKE_SLURM_JOB": str(folder),
    }
    if told["task"] is not None:
        environment["SLURM_ARRAY_JOB_ID"] = told["array"]
        environment["SLURM_ARRAY_TASK_ID"] = str(told["task"])
    output = _pattern(told["options"]["output"], environment)
    for restarts in range(10):
        with output.open("a") as file:
            shell = subprocess.Popen(
                ["/bin/bash", folder / "script"],
                env=environment | {"SLURM_RESTART_COUNT": str(restarts)},
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        _write(folder / "group", str(shell.pid))
        while shell.poll() is None and _runs_on(slurm, job_id):
            time.sleep(0.05)
        if shell.poll() is None:
            os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
        pause = slurm.has("preempted")
        if slurm.state_of(job_id) == "RUNNING" and shell.returncode == 0 and pause is not None:
            slurm.set_state(job_id, "PENDING", "BeginTime")
            end = time.monotonic() + pause
            while time.monotonic() < end and slurm.state_of(job_id) == "PENDING":
                time.sleep(0.05)
            if slurm.state_of(job_id) == "PENDING":
                slurm.set_state(job_id, "RUNNING")
                slurm.fault("preempted", None)
                continue
        if slurm.state_of(job_id) != "RUNNING" or not (folder / "requeue").exists():
            break
        (folder / "requeue").unlink()
    if slurm.state_of(job_id) == "RUNNING":
        status = shell.returncode
        slurm.set_state(job_id, "FAILED" if status else "COMPLETED", status=(status & 255) << 8)


def _runs_on(slurm: FakeSlurm, job_id: str) -> bool:
    asked_again = (slurm.state / "jobs" / job_id / "requeue").exists()
    return slurm.state_of(job_id) == "RUNNING" and not asked_again


def _pattern(path: str, environment: dict[str, str]) -> Path:
    values = {"%": "%", "n": "0", "N": "node", "u": "user", "x": "name", "s": "0", "t": "0"}
    variables = {"j": "SLURM_JOB_ID", "A": "SLURM_ARRAY_JOB_ID", "a": "SLURM_ARRAY_TASK_ID"}
    values |= {letter: environment.get(name, "4294967294") for letter, name in variables.items()}

    def value(match: re.Match[str]) -> str:
        width, letter = match.groups()
        return values[letter].zfill(int(width or 0)) if letter in values else match[0]

    return Path(re.sub(r"%(\d*)(.)", value, path))


def _srun(slurm: FakeSlurm, words: list[str]) -> None:
    """Become the step."""
    del slurm
    while words[0].startswith("--"):
        option = words.pop(0)
        if option == "--output":
            output = _pattern(words.pop(0), dict(os.environ))
            with output.open("a") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
    _write(Path(os.environ["FAKE_SLURM_JOB"], "step"), str(os.getpid()))
    os.execvp(words[0], words)  # noqa: S606


def _known(slurm: FakeSlurm) -> Iterator[dict[str, str]]:
    for job in slurm.jobs():
        if job["id"] not in (slurm.has("forget") or []):
            text = (slurm.state / "jobs" / job["id"] / "state").read_text()
            state, reason, status = text.split("|")
            comment = slurm.state / "jobs" / job["id"] / "comment"
            yield {
                "id": job["id"],
                "array": job.get("array", job["id"]),
                "comment": comment.read_text()
                if comment.exists()
                else job["options"].get("comment", ""),
                "state": state,
                "reason": reason,
                "status": status,
                "partition": job["options"].get("partition", "default"),
            }


def _squeue(slurm: FakeSlurm, words: list[str]) -> None:
    time.sleep(slurm.has("squeue-sleeps") or 0)
    if message := slurm.has("squeue"):
        _die("squeue", message)
    if words[:-1] and words[-2] == "-O":
        columns = [column.split(":") for column in words[-1].split(",")]
        partition = os.environ.get("SQUEUE_PARTITION")
        for job in _known(slurm):
            if partition and partition != job["partition"]:
                continue
            cells = [job[COLUMNS[name]][: int(width)].ljust(int(width)) for name, width in columns]
            print("".join(cells))
        return
    assert words[-1] == "--format=%F %k", words
    for job in _known(slurm):
        if job["state"] in {"PENDING", "RUNNING"}:
            print(job["array"], job["comment"])


def _sacct(slurm: FakeSlurm, words: list[str]) -> None:
    if message := slurm.has("sacct"):
        _die("sacct", message)
    assert "--format=JobID,State,ExitCode" in words, words
    wanted = words[-1].removeprefix("--jobs=").split(",")
    for job in _known(slurm):
        if job["id"].partition("_")[0] in wanted:
            status = int(job["status"])
            print(job["id"], job["state"], f"{status >> 8}:{status & 127}", sep="|")


def _scancel(slurm: FakeSlurm, words: list[str]) -> None:
    named = {word for word in words if not word.startswith("-")}
    for job in _known(slurm):
        if {job["id"], job["id"].partition("_")[0]} & named:
            if job["state"] == "PENDING":
                slurm.set_state(job["id"], "CANCELLED", status=15)
            elif job["state"] == "RUNNING":
                slurm.kill(job["id"], "CANCELLED", 15)


def _scontrol(slurm: FakeSlurm, words: list[str]) -> None:
    fault = slurm.has("scontrol")
    if fault and fault[0] > 0:
        slurm.fault("scontrol", [fault[0] - 1, fault[1]])
        _die("scontrol", fault[1])
    if words == ["show", "config"]:
        print(f"MaxArraySize            = {slurm.has('MaxArraySize') or 1001}")
    elif words[0] == "update":
        job_id, comment = (word.partition("=")[2] for word in words[1:])
        _write(slurm.state / "jobs" / job_id / "comment", comment)
    elif words[0] == "requeue":
        (slurm.state / "jobs" / words[1] / "requeue").touch()
        if message := slurm.has("requeue"):
            _die("scontrol", message)


def main(state: str, name: str, *words: str) -> None:
    slurm = FakeSlurm(Path(state))
    if name != "slurmd":
        with (slurm.state / "calls.jsonl").open("a") as file:
            theirs = ("SLURM", "SBATCH_", "SQUEUE_", "SACCT_", "SCANCEL_", "SCONTROL_")
            seen = sorted(variable for variable in os.environ if variable.startswith(theirs))
            file.write(json.dumps([name, seen, *words]) + "\n")
    does: dict[str, Callable[[FakeSlurm, list[str]], None]]
    does = {"sbatch": _sbatch, "squeue": _squeue, "sacct": _sacct, "scancel": _scancel}
    does |= {"scontrol": _scontrol, "srun": _srun, "slurmd": _slurmd}
    does[name](slurm, list(words))


if __name__ == "__main__":
    main(*sys.argv[1:])
