"""A Slurm 24.11 of six hosts on one machine, as a cluster of a computing centre is set up.

::

    python -m tests.slurm24 run -- sinfo     # boots it, runs one command, ends it

Each host is made of namespaces (hosts.py) over a folder with Debian 13 (install.sh). ``ctl`` has
the controller and the accounting; on ``login`` the ordinary user ada works, and everything the
tests run for her; ``h1`` to ``h4`` are the nodes. Accounts are enforced: ada's own is ``physics``,
and in ``small`` she may have no more than fifteen jobs in the queue.
"""

import copy
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import psutil

from tests.slurm.base import REPOSITORY, Cluster, ClusterError

from .hosts import Host, bridge, plug

__all__ = ["USER", "NamespaceCluster"]

PLUGIN = "snakemake_executor_plugin_submitit"
"""The package that the users of the cluster have from this checkout, wherever it lies there."""

IMAGE = REPOSITORY / "build" / "slurm24" / "image"
"""What install.sh makes."""

HERE = Path(__file__).parent
USER = 2001
"""The number of the user ada, as in install.sh."""

VENV = "/usr/lib/kdlm"
PATH = f"{VENV}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"

DAEMON_USERS = {"munged": "munge", "mariadbd": "mysql", "slurmdbd": "slurm", "slurmctld": "slurm"}

NO_ACCOUNTING = "AccountingStorageType=accounting_storage/none"
ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=ctl
AccountingStorageTRES=gres/gpu
AccountingStorageEnforce=associations,limits,qos"""


def _source(package: str) -> str:
    """The folder of this checkout from which ``package`` is imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None or not Path(spec.origin).is_relative_to(REPOSITORY):
        raise ClusterError(f"{package} is not installed from {REPOSITORY}: make .venv/.ready")
    return str(Path(spec.origin).parents[1])


class NamespaceCluster(Cluster):
    """Hosts made of namespaces, with a user, accounts and limits.

    The cluster's user sees this repository, the cluster's home folder and pytest's temporary
    folders, at the same paths on all hosts; every host has a /tmp of its own.
    """

    prefix = "kdlm-slurm24-"
    nodes = ("h1", "h2", "h3", "h4")
    python = f"{VENV}/bin/python"

    def __init__(
        self, folder: Path | None = None, *, accounting: bool = True, shared: Sequence[Path] = ()
    ) -> None:
        """Describe a cluster, whose hosts see ``shared`` besides the repository and ada's home."""
        super().__init__(folder, accounting=accounting, shared=shared)
        self.home = self.folder / "home"
        self._login = "login"
        self._hosts = {
            name: Host(name, number, self.folder)
            for number, name in enumerate(("ctl", "login", *self.nodes), start=1)
        }

    @classmethod
    def available(cls) -> str | None:
        """Why no such cluster can run on this machine, in one line, or None."""
        if sys.platform != "linux" or os.geteuid() != 0:
            return "a Slurm of several hosts needs Linux and root"
        if not IMAGE.exists():
            return f"{IMAGE} is not there: run tests/slurm24/install.sh (Debian)"
        return None

    @property
    def environment(self) -> dict[str, str]:
        """The environment of ada's shell, which knows the cluster without a variable."""
        return {
            "PATH": PATH,
            "HOME": str(self.home),
            "USER": "ada",
            "LOGNAME": "ada",
            "SHELL": "/bin/bash",
            "LANG": "C.UTF-8",
            "PYTHONPATH": _source(PLUGIN),
            # the repository is not ada's to write into
            "PYTHONDONTWRITEBYTECODE": "1",
            "CLUSTER_FOLDER": str(self.folder),
        }

    def enter(self, command: Sequence[str], folder: Path | None = None) -> list[str]:
        """The command line that runs ``command`` as ada, in her home unless told otherwise."""
        return self._hosts[self._login].enter(command, folder or self.home, USER)

    def seen_from(self, host: str) -> Self:
        """This cluster, with ``host`` in the place of the login node."""
        other = copy.copy(self)
        other._login = host
        return other

    def leader(self, pid: int) -> psutil.Process:
        """The process inside the namespaces, whose parent waits outside."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            for child in psutil.Process(pid).children():
                if child.name() not in {"nsenter", "env"}:
                    return child
            time.sleep(0.01)
        raise ClusterError(f"process {pid} runs nothing on a host")

    @classmethod
    def give(cls, folder: Path) -> None:
        """Make ``folder`` one of ada's, and the folder that it is in open to her."""
        os.chown(folder, USER, USER)
        folder.parent.chmod(0o711)

    def mount(self, folder: Path, options: str) -> bool:
        """Mount a tmpfs at ``folder`` on every host."""
        for host in self._hosts.values():
            self._at(host, "mount", "-t", "tmpfs", "-o", options, "none", str(folder))
        return True

    def unmount(self, folder: Path) -> None:
        """Undo :meth:`mount`."""
        for host in self._hosts.values():
            self._at(host, "umount", str(folder))

    def administer(self, *command: str) -> str:
        """What a command says to root on the controller's host.

        Raises:
            ClusterError: if it fails, with what it said.
        """
        return self._at(self._hosts["ctl"], *command)

    def processes(self) -> list[psutil.Process]:
        """All living processes on the hosts."""
        return [process for host in self._hosts.values() for process in host.processes()]

    def kill_slurmd(self, node: str) -> None:
        """Let ``node`` die; nobody who talks to it hears of that."""
        self._switch_off(node)

    # -- from start to end

    def _boot(self) -> None:
        self.home.mkdir(mode=0o700)
        self.give(self.home)
        self._write_configuration()
        for name in self._hosts:
            self._power(name)
        centre = self._hosts["ctl"]
        for command in bridge(centre):
            self._at(centre, *command)
        for name in self._hosts:
            self._connect(name)
        if self.accounting:
            self._start_accounting()
        self.start_slurmctld()
        for node in self.nodes:
            self._spawn(f"slurmd-{node}", "slurmd", "-D")

    def _end(self) -> None:
        for name in self._hosts:
            self._switch_off(name)
        for host in self._hosts.values():
            host.remove_cgroups()

    def _start_slurmd(self, node: str) -> None:
        self._power(node)
        self._connect(node)
        self._spawn(f"slurmd-{node}", "slurmd", "-D")

    def _start_accounting(self) -> None:
        self._spawn("mariadbd", "mariadbd")
        self._wait("mariadbd", lambda: self.administer("mariadb-admin", "ping"))
        # slurmdbd would make the database itself, and then fail with the MariaDB of Debian 13:
        # its connection allows results of no column after a first try that found no database
        rights = (
            "CREATE DATABASE slurm_acct_db;"
            "CREATE USER slurm@localhost IDENTIFIED VIA unix_socket;"
            "GRANT ALL ON slurm_acct_db.* TO slurm@localhost"
        )
        self.administer("mariadb", "--execute", rights)
        self.start_slurmdbd()
        add = ("sacctmgr", "-i", "add")
        self.administer(*add, "cluster", "study24")
        self.administer(*add, "account", "physics,small", "Cluster=study24")
        self.administer(*add, "user", "ada", "Account=physics", "DefaultAccount=physics")
        self.administer(*add, "user", "ada", "Account=small", "MaxSubmitJobs=15")

    def _write_configuration(self) -> None:
        etc = self.folder / "common" / "etc"
        (etc / "slurm").mkdir(parents=True)
        names = [f"{host.address} {name}" for name, host in self._hosts.items()]
        (etc / "hosts").write_text("\n".join(["127.0.0.1 localhost", *names, ""]))
        accounting = ACCOUNTING if self.accounting else NO_ACCOUNTING
        for template in HERE.glob("*.conf"):
            text = template.read_text().replace("{accounting}", accounting)
            # ids name a job's cgroups, and tell the jobs of two clusters apart
            text = text.replace("{first_job}", str(os.getpid() % 60_000 * 1000 + 1))
            (etc / "slurm" / template.name).write_text(text)
        # slurmdbd refuses a configuration that others could read
        record = (IMAGE / "etc" / "passwd").read_text()
        slurm = next(line.split(":") for line in record.splitlines() if line.startswith("slurm:"))
        os.chown(etc / "slurm" / "slurmdbd.conf", int(slurm[2]), int(slurm[3]))
        (etc / "slurm" / "slurmdbd.conf").chmod(0o600)

    # -- hosts and their daemons

    def _power(self, name: str) -> None:
        """Switch a host on, and start what lets it speak with the others."""
        host = self._hosts[name]
        host.make_cgroups()
        (self.folder / name).mkdir(exist_ok=True)
        command = host.boot_command(IMAGE.resolve(), [*self.shared, self.home])
        self._launch(name, command[0], command, self._daemon_environment())
        self._wait(name, host.init)
        self._at(host, "install", "-d", "-o", "munge", "/run/munge")
        self._at(host, "install", "-d", "-o", "mysql", "/run/mysqld")
        self._at(host, "install", "-d", "-o", "slurm", "/run/slurm")
        self._spawn(f"munged-{name}", "munged", "--foreground")

    def _switch_off(self, name: str) -> None:
        """Kill a host's first process, and wait until the kernel has ended the others."""
        host, holder = self._hosts[name], self._running(name)
        init, processes = host.init(), host.processes()
        if init is not None and holder is not None:
            # the holder, its parent, buries it and ends
            init.kill()
            holder.wait(timeout=30)
        self._kill(name)
        _, alive = psutil.wait_procs(processes, timeout=30)
        if alive:
            raise ClusterError(f"{self.folder}: these do not end: {alive}")

    def _connect(self, name: str) -> None:
        if name == "ctl":
            return
        for host, command in plug(self._hosts[name], self._hosts["ctl"]):
            if host is None:
                # with the image's own program: this machine may have none
                space = ["unshare", "--mount", f"--mount-proc={IMAGE.resolve()}/proc"]
                self._call([*space, "chroot", str(IMAGE.resolve()), *command])
            else:
                self._at(host, *command)
        init = self._hosts[name].init()
        socket = Path(f"/proc/{init.pid if init else 0}/root/run/munge/munge.socket.2")
        self._wait(f"munged-{name}", socket.exists)

    def _daemon(self, name: str, command: Sequence[str]) -> tuple[str, list[str]]:
        daemon, _, node = name.partition("-")
        user = DAEMON_USERS.get(daemon)
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"] if user else []
        words = self._hosts[node or "ctl"].enter([*become, *command], None)
        return shutil.which(words[0]) or words[0], words

    def _daemon_environment(self) -> Mapping[str, str]:
        return {"PATH": PATH, "LANG": "C.UTF-8"}

    def _at(self, host: Host, *command: str) -> str:
        return self._call(host.enter(command, None))

    def _call(self, command: Sequence[str]) -> str:
        done = subprocess.run(
            command, env=self._daemon_environment(), capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise ClusterError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout}")
        return done.stdout
