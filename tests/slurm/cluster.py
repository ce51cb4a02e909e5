"""A real Slurm of four nodes on one machine, in one scratch folder.

::

    eval "$(python -m tests.slurm up)"     # leaves it running; ``down`` ends it
    python -m tests.slurm run -- sinfo     # boots it, runs one command, ends it

munged, MariaDB, slurmdbd, slurmctld and the nodes' slurmd run from Debian's packages (install.sh)
on ports and sockets of their own, beside any other Slurm. All that a cluster is lies in its
folder, the ids of its processes too, so any process can end one that another has left behind.
"""

import contextlib
import dataclasses
import itertools
import os
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from .machine import (
    PORTS,
    PREFIX,
    free_ports,
    identity,
    memory_is_constrained,
    recorded,
    remove_cgroups,
)

__all__ = ["NODES", "ClusterError", "SlurmCluster", "available"]

NODES = ("n1", "n2", "n3", "n4")

HERE = Path(__file__).parent
COMMANDS = (
    *("munged", "mariadbd", "mariadb-install-db", "mariadb-admin"),
    *("slurmdbd", "slurmctld", "slurmd", "sbatch", "sacctmgr", "scontrol", "sinfo"),
)
# Debian keeps the daemons where not every root shell looks
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])

CONSTRAINED = "TaskPlugin=task/cgroup"
SAMPLED = "TaskPlugin=task/none\nJobAcctGatherParams=OverMemoryKill"
NO_ACCOUNTING = "AccountingStorageType=accounting_storage/none"
ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={folder}/munge/socket
AccountingStorageTRES=gres/gpu"""

_serial = itertools.count()


def _fresh_folder() -> Path:
    # short: a socket's path has 108 characters
    return Path(tempfile.gettempdir(), f"{PREFIX}{os.getpid()}-{next(_serial)}")


class ClusterError(RuntimeError):
    """The cluster cannot be started, or does not do what it was told."""


def available() -> str | None:
    """Why no cluster can run on this machine, in one line, or None."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "a Slurm for the tests needs Linux and root"
    missing = [command for command in COMMANDS if shutil.which(command, path=PATH) is None]
    if missing:
        return f"{', '.join(missing)} not found: run tests/slurm/install.sh (Debian)"
    return None


@dataclasses.dataclass(frozen=True)
class SlurmCluster:
    """A cluster of two cores, 8 GB and two GPUs on each of four nodes, all of it pretended.

    The partition ``urgent`` preempts ``normal``, the default: jobs there get SIGTERM, then twenty
    seconds, then are requeued. ``n1`` and ``n2`` have the feature ``old``, the others ``new``.

    Attributes:
        folder: the scratch folder; made by :meth:`start`, deleted by :meth:`stop`
        accounting: whether slurmdbd records the jobs, so that sacct answers
    """

    folder: Path = dataclasses.field(default_factory=_fresh_folder)
    accounting: bool = True

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which sbatch, submitit and Snakemake find this cluster."""
        return {**os.environ, "PATH": PATH, "SLURM_CONF": str(self.folder / "slurm.conf")}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Boot, and wait until all nodes are idle; what a killed session left behind goes first.

        Raises:
            ClusterError: if the machine cannot run it, the folder is taken, or a daemon fails
        """
        reason = available()
        if reason is not None:
            raise ClusterError(reason)
        _clear_orphans()
        if self.folder.exists():
            if self._running("slurmctld") is not None:
                raise ClusterError(f"{self.folder}: a cluster runs here; end it first")
            self.stop()
        try:
            self._write_configuration()
            self._start_munged()
            if self.accounting:
                self._start_mariadbd()
                self.start_slurmdbd()
                self._command("sacctmgr", "-i", "add", "cluster", "study")
            self.start_slurmctld()
            for node in NODES:
                self._start_slurmd(node)
            for node in NODES:
                self._wait_for_node(node)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End every process of the cluster and of its jobs, and delete its folder.

        Raises:
            ClusterError: if the folder holds something else
        """
        if not self.folder.exists():
            return
        if any(self.folder.iterdir()) and not (self.folder / "pids").is_dir():
            raise ClusterError(f"{self.folder}: not a cluster's folder; it stays as it is")
        # the jobs last: their daemons would start what is killed here a second time
        for name in ("slurmctld", *NODES, "slurmdbd", "mariadbd", "munged"):
            self._kill(name)
        self._kill_jobs(NODES)
        remove_cgroups(NODES)
        shutil.rmtree(self.folder)

    def release(self) -> None:
        """Let the cluster outlive this process; without this the next start clears it away."""
        (self.folder / "owner").unlink()

    def start_slurmctld(self) -> None:
        """Start the controller, and wait until it answers."""
        self._spawn("slurmctld", "slurmctld", "-D")
        self._wait("slurmctld", lambda: self._command("scontrol", "ping"))
        if self.accounting and self._running("slurmdbd") is not None:
            # until it has registered it records nothing
            self._wait("slurmctld", self._is_registered)

    def stop_slurmctld(self) -> None:
        """End the controller as an administrator does: it saves its state, the jobs run on."""
        self._terminate("slurmctld")

    def start_slurmdbd(self) -> None:
        """Start the accounting, and wait until it answers."""
        self._spawn("slurmdbd", "slurmdbd", "-D")
        self._wait("slurmdbd", lambda: self._command("sacctmgr", "show", "cluster"))

    def stop_slurmdbd(self) -> None:
        """End the accounting: sacct fails from here on, the controller keeps its records."""
        self._terminate("slurmdbd")

    def start_slurmd(self, node: str) -> None:
        """Bring ``node`` back, and wait until it takes jobs."""
        self._start_slurmd(node)
        self._wait_for_node(node)

    def kill_slurmd(self, node: str) -> None:
        """Let ``node`` die, as by loss of power: the daemon and all that runs there, at once.

        The controller notices after SlurmdTimeout, twenty seconds.
        """
        self._kill(node)
        self._kill_jobs((node,))

    def processes(self) -> list[psutil.Process]:
        """All living processes of the cluster and of its jobs."""
        daemons = ("munged", "mariadbd", "slurmdbd", "slurmctld", *NODES)
        running = [self._running(name) for name in daemons]
        return [process for process in running if process] + self._jobs(NODES)

    # -- configuration

    def _write_configuration(self) -> None:
        for name in ("pids", "log", "munge", "mariadb", "slurmctld", *NODES):
            (self.folder / name).mkdir(parents=True)
        # munged wants its socket within everybody's reach
        self.folder.chmod(0o711)
        (self.folder / "munge").chmod(0o711)
        (self.folder / "owner").write_text(identity(psutil.Process()))
        port = free_ports(2 + len(NODES))
        accounting = ACCOUNTING.format(folder=self.folder, port=port + 1)
        fields = {
            "folder": self.folder,
            "host": socket.gethostname(),
            "slurmctld_port": port,
            "slurmdbd_port": port + 1,
            **{node: port + 2 + index for index, node in enumerate(NODES)},
            "first_job": (port - PORTS.start) * 1000 + 1,
            "memory": CONSTRAINED if memory_is_constrained() else SAMPLED,
            "accounting": accounting if self.accounting else NO_ACCOUNTING,
        }
        for template in HERE.glob("*.conf"):
            target = self.folder / template.name
            # slurmdbd refuses a configuration that others could read
            target.touch(0o600)
            target.write_text(template.read_text().format(**fields))
        for gpu in ("gpu0", "gpu1"):
            os.mknod(self.folder / gpu, stat.S_IFCHR | 0o600, os.makedev(1, 3))

    # -- daemons

    def _start_munged(self) -> None:
        munge = self.folder / "munge"
        key = munge / "key"
        key.touch(0o600)
        key.write_bytes(os.urandom(128))
        paths = {"key-file": key, "socket": munge / "socket", "pid-file": munge / "pid"}
        paths |= {"log-file": munge / "log", "seed-file": munge / "seed"}
        options = [f"--{name}={path}" for name, path in paths.items()]
        self._spawn("munged", "munged", "--foreground", "--num-threads=10", *options)
        self._wait("munged", (munge / "socket").exists)

    def _start_mariadbd(self) -> None:
        data = f"--datadir={self.folder}/mariadb/data"
        door = f"--socket={self.folder}/mariadb/socket"
        root = ("--auth-root-authentication-method=socket", "--auth-root-socket-user=root")
        self._command(
            *("mariadb-install-db", "--no-defaults", "--user=root", data, *root, "--skip-test-db"),
            "--skip-name-resolve",
        )
        # small and forgetful: the folder lives for minutes
        size = ("--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M")
        speed = ("--innodb-flush-log-at-trx-commit=0", "--innodb-lock-wait-timeout=900")
        pid = f"--pid-file={self.folder}/mariadb/pid"
        self._spawn(
            *("mariadbd", "mariadbd", "--no-defaults", "--user=root", data, door, pid),
            *("--skip-networking", *size, *speed),
        )
        ping = ("mariadb-admin", "--no-defaults", door, "ping")
        self._wait("mariadbd", lambda: self._command(*ping))

    def _start_slurmd(self, node: str) -> None:
        self._spawn(node, "slurmd", "-D", "-N", node)

    def _wait_for_node(self, node: str) -> None:
        state = ("sinfo", "--noheader", "--partition=normal", f"--nodes={node}", "--format=%T")
        self._wait(node, lambda: self._command(*state).strip() in {"idle", "mixed", "allocated"})

    def _is_registered(self) -> bool:
        clusters = self._command("sacctmgr", "-nP", "show", "cluster", "format=ControlPort")
        return clusters.strip() not in {"", "0"}

    # -- processes

    def _spawn(self, name: str, command: str, *arguments: str) -> None:
        if self._running(name) is not None:
            raise ClusterError(f"{name} runs already")
        path = shutil.which(command, path=PATH) or command
        log = self.folder / "log" / f"{name}.out"
        append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        # a session of its own, so that the Ctrl-C for a test does not reach it
        pid = os.posix_spawn(
            path,
            [path, *arguments],
            {**self.environment, "MYSQL_UNIX_PORT": f"{self.folder}/mariadb/socket"},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        (self.folder / "pids" / name).write_text(identity(psutil.Process(pid)))

    def _running(self, name: str) -> psutil.Process | None:
        return recorded(self.folder / "pids" / name)

    def _terminate(self, name: str) -> None:
        process = self._running(name)
        if process is None:
            raise ClusterError(f"{name} does not run")
        process.terminate()
        process.wait(timeout=30)

    def _kill(self, name: str) -> None:
        process = self._running(name)
        if process is not None:
            process.kill()
            process.wait(timeout=30)

    def _kill_jobs(self, nodes: tuple[str, ...]) -> None:
        deadline = time.monotonic() + 30
        while jobs := self._jobs(nodes):
            if time.monotonic() > deadline:
                raise ClusterError(f"{self.folder}: these do not end: {jobs}")
            for process in jobs:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(jobs, timeout=2)

    def _jobs(self, nodes: tuple[str, ...]) -> list[psutil.Process]:
        """The step daemons of ``nodes``, known by their sockets there, and the jobs' processes."""
        spools = tuple(f"{self.folder / node}/" for node in nodes)
        unix = psutil.net_connections(kind="unix")
        daemons = {link.pid for link in unix if link.pid and str(link.laddr).startswith(spools)}
        return [
            process
            for process in psutil.process_iter()
            if process.pid in daemons or self._is_job(process, nodes)
        ]

    def _is_job(self, process: psutil.Process, nodes: tuple[str, ...]) -> bool:
        try:
            environment = process.environ()
        except psutil.Error:
            return False
        ours = environment.get("SLURM_CONF") == str(self.folder / "slurm.conf")
        return ours and environment.get("SLURMD_NODENAME") in nodes

    # -- talking to it

    def _command(self, *command: str) -> str:
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode != 0:
            raise ClusterError(f"{shlex.join(command)}: {done.stderr.strip() or done.stdout}")
        return done.stdout

    def _wait(self, name: str, ready: Callable[[], object]) -> None:
        """Wait for the daemon ``name``, until ``ready`` is true and raises nothing."""
        deadline = time.monotonic() + 60
        refusal = ""
        while True:
            try:
                if ready():
                    return
            except ClusterError as error:
                refusal = f"{error}\n"
            if self._running(name) is None or time.monotonic() > deadline:
                log = (self.folder / "log" / f"{name}.out").read_text(errors="replace")
                raise ClusterError(f"{name} does not answer. {refusal}It said:\n{log[-2000:]}")
            time.sleep(0.1)


def _clear_orphans() -> None:
    """End the clusters whose owners were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if (folder / "owner").exists() and recorded(folder / "owner") is None:
            SlurmCluster(folder).stop()
