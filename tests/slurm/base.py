"""What every Slurm of the tests offers, whichever version it is and wherever its daemons run."""

import abc
import contextlib
import itertools
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import psutil

from .machine import identity, recorded

__all__ = ["REPOSITORY", "Cluster", "ClusterError"]

REPOSITORY = Path(__file__).parents[2]

_serial = itertools.count()


class ClusterError(RuntimeError):
    """The cluster cannot be started, or does not do what it was told."""


class Cluster(abc.ABC):
    """A cluster with the partitions ``normal``, the default, and ``urgent``, which preempts it.

    Preempted jobs get SIGTERM, then twenty seconds, then are requeued. Each of four nodes has two
    cores, 8 GB and two GPUs, all of it pretended. The first two nodes have the feature ``old``,
    the others ``new``.

    All that a cluster is lies in its folder, the ids of its processes too, so any process can end
    a cluster that another process has left behind.

    Attributes:
        folder: the scratch folder; made by :meth:`start`, deleted by :meth:`stop`
        accounting: whether slurmdbd records the jobs, so that sacct answers
    """

    prefix: ClassVar[str]
    """How the names of such clusters' folders begin."""
    nodes: ClassVar[tuple[str, ...]]

    def __init__(
        self, folder: Path | None = None, *, accounting: bool = True, shared: Sequence[Path] = ()
    ) -> None:
        """Describe a cluster; without a folder it gets a fresh one.

        Its hosts see the folders ``shared``, at the same paths as this machine.
        """
        # short: a socket's path has 108 characters
        fresh = Path(tempfile.gettempdir(), f"{self.prefix}{os.getpid()}-{next(_serial)}")
        self.folder = folder or fresh
        self.accounting = accounting
        self.shared = (REPOSITORY, *shared)

    # -- what differs

    @classmethod
    @abc.abstractmethod
    def available(cls) -> str | None:
        """Why no such cluster can run on this machine, in one line, or None."""

    @property
    @abc.abstractmethod
    def environment(self) -> dict[str, str]:
        """The environment in which sbatch, submitit and Snakemake find this cluster."""

    @property
    @abc.abstractmethod
    def python(self) -> str:
        """The Python of its users, which has Snakemake and the plugin."""

    @abc.abstractmethod
    def enter(self, command: Sequence[str], folder: Path | None = None) -> list[str]:
        """The command line that runs ``command`` as a user on a login node, in ``folder``."""

    @classmethod
    @abc.abstractmethod
    def give(cls, folder: Path) -> None:
        """Make ``folder``, which all nodes see, one of the user's."""

    @abc.abstractmethod
    def mount(self, folder: Path, options: str) -> bool:
        """Mount a tmpfs wherever ``folder`` is seen; False where that is not allowed."""

    @abc.abstractmethod
    def unmount(self, folder: Path) -> None:
        """Undo :meth:`mount`."""

    @abc.abstractmethod
    def processes(self) -> list[psutil.Process]:
        """All living processes of the cluster and of its jobs."""

    @abc.abstractmethod
    def _boot(self) -> None:
        """Start everything in the folder, which is empty."""

    @abc.abstractmethod
    def _end(self) -> None:
        """End every process, and undo what is outside the folder."""

    @abc.abstractmethod
    def _start_slurmd(self, node: str) -> None: ...

    @abc.abstractmethod
    def kill_slurmd(self, node: str) -> None:
        """Let ``node`` die, as by loss of power: the daemon and all that runs there, at once.

        The controller notices after SlurmdTimeout, twenty seconds.
        """

    @abc.abstractmethod
    def _daemon(self, name: str, command: Sequence[str]) -> tuple[str, list[str]]:
        """The program and its words that start the daemon ``name``."""

    def leader(self, pid: int) -> psutil.Process:
        """The process of a command that :meth:`enter` made, where ``pid`` was started for it."""
        return psutil.Process(pid)

    def administer(self, *command: str) -> str:
        """What a command says to the cluster's administrator.

        Raises:
            ClusterError: if it fails, with what it said.
        """
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode != 0:
            raise ClusterError(f"{shlex.join(command)}: {done.stderr.strip() or done.stdout}")
        return done.stdout

    # -- from start to end

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
        reason = self.available()
        if reason is not None:
            raise ClusterError(reason)
        self._clear_orphans()
        if self.folder.exists():
            if self._running("slurmctld") is not None:
                raise ClusterError(f"{self.folder}: a cluster runs here; end it first")
            self.stop()
        try:
            for name in ("pids", "log"):
                (self.folder / name).mkdir(parents=True)
            # what the daemons make there is within everybody's reach
            self.folder.chmod(0o711)
            (self.folder / "owner").write_text(identity(psutil.Process()))
            self._boot()
            for node in self.nodes:
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
        self._end()
        shutil.rmtree(self.folder)

    def release(self) -> None:
        """Let the cluster outlive this process; without this the next start clears it away."""
        (self.folder / "owner").unlink()

    @classmethod
    def _clear_orphans(cls) -> None:
        """End the clusters whose owners were killed."""
        for folder in Path(tempfile.gettempdir()).glob(f"{cls.prefix}*"):
            if (folder / "owner").exists() and recorded(folder / "owner") is None:
                cls(folder).stop()

    # -- daemons

    def start_slurmctld(self) -> None:
        """Start the controller, and wait until it answers."""
        self._spawn("slurmctld", "slurmctld", "-D")
        self._wait("slurmctld", lambda: self.administer("scontrol", "ping"))
        if self.accounting and self._running("slurmdbd") is not None:
            # until it has registered it records nothing
            self._wait("slurmctld", self._is_registered)

    def stop_slurmctld(self) -> None:
        """End the controller as an administrator does: it saves its state, the jobs run on."""
        self._terminate("slurmctld")

    def start_slurmdbd(self) -> None:
        """Start the accounting, and wait until it answers."""
        self._spawn("slurmdbd", "slurmdbd", "-D")
        self._wait("slurmdbd", lambda: self.administer("sacctmgr", "show", "cluster"))

    def stop_slurmdbd(self) -> None:
        """End the accounting: sacct fails from here on, the controller keeps its records."""
        self._terminate("slurmdbd")

    def start_slurmd(self, node: str) -> None:
        """Bring ``node`` back, and wait until it takes jobs."""
        self._start_slurmd(node)
        self._wait_for_node(node)

    def _wait_for_node(self, node: str) -> None:
        state = ("sinfo", "--noheader", "--partition=normal", f"--nodes={node}", "--format=%T")
        self._wait(node, lambda: self.administer(*state).strip() in {"idle", "mixed", "allocated"})

    def _is_registered(self) -> bool:
        clusters = self.administer("sacctmgr", "-nP", "show", "cluster", "format=ControlPort")
        return clusters.strip() not in {"", "0"}

    # -- processes

    def _spawn(self, name: str, *command: str) -> None:
        """Start a daemon, put its output into a log and its process on record."""
        if self._running(name) is not None:
            raise ClusterError(f"{name} runs already")
        program, words = self._daemon(name, command)
        self._launch(name, program, words, self._daemon_environment())

    def _daemon_environment(self) -> Mapping[str, str]:
        return self.environment

    def _launch(
        self, name: str, program: str, words: list[str], environment: Mapping[str, str]
    ) -> None:
        log = self.folder / "log" / f"{name}.out"
        append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        # a session of its own, so that the Ctrl-C for a test does not reach it
        pid = os.posix_spawn(
            program,
            words,
            environment,
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
        self.leader(process.pid).terminate()
        process.wait(timeout=30)

    def _kill(self, name: str) -> None:
        process = self._running(name)
        if process is not None:
            process.kill()
            process.wait(timeout=30)

    def _kill_all(self, living: Callable[[], Iterable[psutil.Process]]) -> None:
        """Kill processes until none is left."""
        deadline = time.monotonic() + 30
        while processes := list(living()):
            if time.monotonic() > deadline:
                raise ClusterError(f"{self.folder}: these do not end: {processes}")
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(processes, timeout=2)

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
