"""A real Slurm of four nodes on one machine, in one scratch folder.

::

    eval "$(python -m tests.slurm up)"     # leaves it running; ``down`` ends it
    python -m tests.slurm run -- sinfo     # boots it, runs one command, ends it

munged, MariaDB, slurmdbd, slurmctld and the nodes' slurmd run from Debian's packages (install.sh)
on ports and sockets of their own, beside any other Slurm.
"""

import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil

from .base import Cluster, ClusterError
from .machine import PORTS, PREFIX, free_ports, memory_is_constrained, remove_cgroups

__all__ = ["ClusterError", "SlurmCluster"]

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


class SlurmCluster(Cluster):
    """All on one host, as root: login node and nodes are this machine."""

    prefix = PREFIX
    nodes = ("n1", "n2", "n3", "n4")
    python = sys.executable

    @classmethod
    def available(cls) -> str | None:
        """Why no such cluster can run on this machine, in one line, or None."""
        if sys.platform != "linux" or os.geteuid() != 0:
            return "a Slurm for the tests needs Linux and root"
        missing = [command for command in COMMANDS if shutil.which(command, path=PATH) is None]
        if missing:
            return f"{', '.join(missing)} not found: run tests/slurm/install.sh (Debian)"
        return None

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which sbatch, submitit and Snakemake find this cluster."""
        return {
            **os.environ,
            "PATH": PATH,
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "CLUSTER_FOLDER": str(self.folder),
        }

    def enter(self, command: Sequence[str], folder: Path | None = None) -> list[str]:
        """The command line that runs ``command`` in ``folder``."""
        return [*command] if folder is None else ["env", f"--chdir={folder}", *command]

    @classmethod
    def give(cls, folder: Path) -> None:
        """Nothing is to do: the user is the one who made it."""

    def mount(self, folder: Path, options: str) -> bool:
        """Mount a tmpfs; False where that is not allowed, as in a container."""
        command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
        return subprocess.run(command, check=False).returncode == 0

    def unmount(self, folder: Path) -> None:
        """Undo :meth:`mount`."""
        subprocess.run(["umount", str(folder)], check=True)

    def kill_slurmd(self, node: str) -> None:
        """Let ``node`` die; the controller notices after SlurmdTimeout, twenty seconds."""
        self._kill(node)
        self._kill_all(lambda: self._jobs((node,)))

    def processes(self) -> list[psutil.Process]:
        """All living processes of the cluster and of its jobs."""
        daemons = ("munged", "mariadbd", "slurmdbd", "slurmctld", *self.nodes)
        running = [self._running(name) for name in daemons]
        return [process for process in running if process] + self._jobs(self.nodes)

    def _boot(self) -> None:
        self._write_configuration()
        self._start_munged()
        if self.accounting:
            self._start_mariadbd()
            self.start_slurmdbd()
            self.administer("sacctmgr", "-i", "add", "cluster", "study")
        self.start_slurmctld()
        for node in self.nodes:
            self._start_slurmd(node)

    def _end(self) -> None:
        # the jobs last: their daemons would start what is killed here a second time
        for name in ("slurmctld", *self.nodes, "slurmdbd", "mariadbd", "munged"):
            self._kill(name)
        self._kill_all(lambda: self._jobs(self.nodes))
        remove_cgroups(self.nodes)

    # -- configuration

    def _write_configuration(self) -> None:
        for name in ("munge", "mariadb", "slurmctld", *self.nodes):
            (self.folder / name).mkdir()
        # munged wants its socket within everybody's reach
        (self.folder / "munge").chmod(0o711)
        port = free_ports(2 + len(self.nodes))
        accounting = ACCOUNTING.format(folder=self.folder, port=port + 1)
        fields = {
            "folder": self.folder,
            "host": socket.gethostname(),
            "slurmctld_port": port,
            "slurmdbd_port": port + 1,
            **{node: port + 2 + index for index, node in enumerate(self.nodes)},
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
        self.administer(
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
        self._wait("mariadbd", lambda: self.administer(*ping))

    def _start_slurmd(self, node: str) -> None:
        self._spawn(node, "slurmd", "-D", "-N", node)

    # -- processes

    def _daemon(self, name: str, command: Sequence[str]) -> tuple[str, list[str]]:
        del name
        path = shutil.which(command[0], path=PATH) or command[0]
        return path, [path, *command[1:]]

    def _daemon_environment(self) -> dict[str, str]:
        return {**self.environment, "MYSQL_UNIX_PORT": f"{self.folder}/mariadb/socket"}

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
