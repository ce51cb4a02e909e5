"""Hosts made of namespaces: each has its own network, name, processes, disk and /tmp.

A host is a process that has unshared all of these, and its children. When that process dies, by
whatever cause, the kernel ends all others in its namespaces, and takes the mounts and the network
away with them.
"""

import contextlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["CONTROLLERS", "Host", "bridge", "plug"]

CGROUPS = Path("/sys/fs/cgroup")
CONTROLLERS = ("memory", "cpuset", "freezer")
"""Hierarchies (cgroup v1) of which each host gets a part for itself."""

SCRIPT = Path(__file__).with_name("host.sh")
NETWORK = "10.77.0"
"""The first numbers of all hosts' addresses, which nobody outside the bridge sees."""


@dataclass(frozen=True)
class Host:
    """A host of a cluster.

    Attributes:
        name: its name
        number: the last number of its address
        folder: the cluster's folder
    """

    name: str
    number: int
    folder: Path

    @property
    def address(self) -> str:
        """Its address on the cluster's network."""
        return f"{NETWORK}.{self.number}"

    @property
    def cgroups(self) -> list[Path]:
        """Its part of each hierarchy."""
        return [CGROUPS / name / self.folder.name / self.name for name in CONTROLLERS]

    def boot_command(self, image: Path, shared: Sequence[Path]) -> list[str]:
        """The command that makes it and stays; the cgroups must be there."""
        joins = "".join(f"echo $$ >{path}/cgroup.procs; " for path in self.cgroups)
        spaces = "--mount --uts --ipc --net --pid --cgroup --fork --kill-child"
        words = [str(SCRIPT), self.name, str(self.folder), str(image), *map(str, shared)]
        return ["/bin/sh", "-ec", f'{joins}exec unshare {spaces} /bin/sh "$@"', "sh", *words]

    def init(self) -> psutil.Process | None:
        """Its first process; None before it is there and after it died."""
        with contextlib.suppress(FileNotFoundError, ValueError, psutil.NoSuchProcess):
            holder = psutil.Process(int((self.folder / "pids" / self.name).read_text().split()[0]))
            children = holder.children()
            if children and Path(f"/proc/{children[0].pid}/root/run/booted").exists():
                return children[0]
        return None

    def enter(self, command: Sequence[str], folder: Path | None, user: int = 0) -> list[str]:
        """The command line that runs a command there as a user.

        Raises:
            ProcessLookupError: the host is down.
        """
        init = self.init()
        if init is None:
            raise ProcessLookupError(f"{self.name} is down")
        become = ["--setuid", str(user), "--setgid", str(user)] if user else []
        inside = ["env", f"--chdir={folder or '/'}", *command]
        return ["nsenter", "--target", str(init.pid), "--all", *become, "--", *inside]

    def processes(self) -> list[psutil.Process]:
        """All of its processes."""
        init = self.init()
        if init is None:
            return []
        space = _pid_namespace(init)
        return [one for one in psutil.process_iter() if _pid_namespace(one) == space]

    def make_cgroups(self) -> None:
        """Make its part of each hierarchy anew."""
        self.remove_cgroups()
        for path in self.cgroups:
            path.mkdir(parents=True)
        for path in CGROUPS / "cpuset" / self.folder.name, CGROUPS / "cpuset" / self.cgroup:
            for file in ("cpuset.cpus", "cpuset.mems"):
                (path / file).write_text((path.parent / file).read_text())

    @property
    def cgroup(self) -> str:
        """Its part of a hierarchy, from the hierarchy's root."""
        return f"{self.folder.name}/{self.name}"

    def remove_cgroups(self) -> None:
        """Remove what is left of its cgroups; it must be down.

        Raises:
            OSError: some process is still in one of them.
        """
        for top in self.cgroups:
            for folder, _, _ in os.walk(top, topdown=False):
                _remove_cgroup(Path(folder))
            with contextlib.suppress(OSError):
                # the cluster's, if this was its last host
                top.parent.rmdir()


def _remove_cgroup(folder: Path) -> None:
    # the kernel takes a moment to forget those that were killed
    deadline = time.monotonic() + 10
    while True:
        try:
            folder.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def _pid_namespace(process: psutil.Process) -> str:
    try:
        return str(Path(f"/proc/{process.pid}/ns/pid").readlink())
    except OSError:
        return ""


def bridge(host: Host) -> list[list[str]]:
    """Commands, for ``host`` itself, that make it the one all others are plugged into."""
    return [
        ["ip", "link", "add", "br0", "type", "bridge"],
        ["ip", "address", "add", f"{host.address}/24", "dev", "br0"],
        ["ip", "link", "set", "br0", "up"],
        ["ip", "link", "set", "lo", "up"],
    ]


def plug(host: Host, centre: Host) -> list[tuple[Host | None, list[str]]]:
    """Commands that connect ``host`` to ``centre``, and where each runs: None is this machine."""
    ends = host.init(), centre.init()
    if ends[0] is None or ends[1] is None:
        raise ProcessLookupError(f"{host.name} or {centre.name} is down")
    link = ["ip", "link", "add", host.name, "netns", str(ends[1].pid), "type", "veth"]
    return [
        (None, [*link, "peer", "name", "eth0", "netns", str(ends[0].pid)]),
        (centre, ["ip", "link", "set", host.name, "master", "br0", "up"]),
        (host, ["ip", "address", "add", f"{host.address}/24", "dev", "eth0"]),
        (host, ["ip", "link", "set", "eth0", "up"]),
        (host, ["ip", "link", "set", "lo", "up"]),
    ]
