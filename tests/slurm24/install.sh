#!/bin/sh
# Makes the folder with Debian 13 from which cluster.py boots its hosts: Slurm 24.11, and a Python
# with Snakemake. build/slurm24/image leads to it. The folder itself lies in a temporary place,
# where every clone of this repository finds it again.
# Exits 0 where all is there, 3 where it cannot be had; then one line says why.
set -eu
cd "$(dirname "$0")/../.."

suite=trixie
packages="slurm-wlm slurmdbd mariadb-server munge iproute2 procps git python3-venv"
# what the plugin and its tests import; torch is not among it
modules="snakemake submitit psutil pytest"
# what benchmarks/cluster.py compares the plugin with
other=$(sed -n 's/^OTHER = "\(.*\)"$/\1/p' benchmarks/cluster.py)

refuse() {
    echo "no second Slurm here: $1" >&2
    exit 3
}

PATH="$PATH:/usr/sbin:/sbin"
[ "$(id -u)" = 0 ] || refuse "only root can make hosts of namespaces"
command -v apt-get >/dev/null || refuse "no apt-get, so no Debian to take packages from"
command -v unshare >/dev/null && command -v nsenter >/dev/null || refuse "no unshare and nsenter"
unshare --mount --uts --ipc --net --pid --cgroup --fork true 2>/dev/null ||
    refuse "the kernel allows no namespaces"
grep -q overlay /proc/filesystems || refuse "the kernel has no overlay file system"
for controller in memory cpuset freezer; do
    [ -e "/sys/fs/cgroup/$controller/cgroup.procs" ] || refuse "no cgroup v1 with $controller"
done

digest=$({ cat "tests/slurm24/$(basename "$0")" requirements.lock; echo "$other"; } |
    sha256sum | cut -c 1-12)
image="/var/tmp/kdlm-debian13-$digest"
mkdir -p build/slurm24
log=$PWD/build/slurm24/install.log

# one at a time; who waited finds it made
exec 9>/var/tmp/kdlm-debian13.lock
flock 9
# nobody has used these for two weeks
find /var/tmp -maxdepth 1 -name 'kdlm-debian13-*' -mtime +14 -exec rm -rf {} +
ln -sfn "$image" build/slurm24/image
if [ -e "$image" ]; then
    touch "$image"
    exit 0
fi

debian_mirror() {
    apt-get indextargets 'Created-By: Packages' 'Label: Debian' --format '$(REPO_URI)' | grep -m 1 .
}

make_image() {
    root=$image.part
    rm -rf "$root"
    # the mirror that apt uses here, which an apt without lists does not tell
    mirror=$(debian_mirror) || { apt-get update -qq; mirror=$(debian_mirror); }
    if ! command -v debootstrap >/dev/null; then
        apt-get update -qq
        apt-get install -qq -y --no-install-recommends debootstrap
    fi
    debootstrap --variant=minbase "$suite" "$root" "$mirror"

    # no service is to start, no file needs to survive a loss of power, nobody reads a manual
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod +x "$root/usr/sbin/policy-rc.d"
    printf 'force-unsafe-io\npath-exclude=/usr/share/%s\n' 'man/*' >"$root/etc/dpkg/dpkg.cfg.d/tests"
    printf 'path-exclude=/usr/share/%s/*\n' doc locale info >>"$root/etc/dpkg/dpkg.cfg.d/tests"
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    apt-config dump | grep '^Acquire::' >"$root/etc/apt/apt.conf.d/tests" || true
    unshare --mount --pid --fork --mount-proc="$root/proc" chroot "$root" /bin/sh -ec "
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq
        apt-get install -qq -y --no-install-recommends $packages
        apt-get clean
        useradd --uid 2001 --shell /bin/bash ada"

    # small and forgetful: a cluster lives for minutes
    cat >"$root/etc/mysql/conf.d/tests.cnf" <<END
[mariadbd]
skip-networking
innodb-buffer-pool-size=64M
innodb-log-file-size=16M
innodb-flush-log-at-trx-commit=0
innodb-lock-wait-timeout=900
END
    chroot "$root" /bin/sh -ec '
        rm -rf /var/lib/mysql/*
        mariadb-install-db --user=mysql --skip-test-db --skip-name-resolve \
            --auth-root-authentication-method=socket
        # apt has the key made before there is a cluster
        test -s /etc/munge/munge.key'

    # pip as it is set up on this machine, with the new Python: its /usr instead of ours
    unshare --mount /bin/sh -ec "
        mount --bind '$root/usr' /usr
        /usr/bin/python3 -m venv /usr/lib/kdlm
        /usr/lib/kdlm/bin/python -m pip install --quiet --disable-pip-version-check \
            --constraint requirements.lock $modules
        # an environment of its own, since it would cost each start of Snakemake half a second
        /usr/bin/python3 -m venv /usr/lib/other
        exec /usr/lib/other/bin/python -m pip install --quiet --disable-pip-version-check \
            --constraint requirements.lock snakemake '$other'"
    mv "$root" "$image"
}

# a subshell of its own, for set -e is off inside a condition
set +e
(set -e; make_image) >"$log" 2>&1 9>&-
status=$?
set -e
[ $status -eq 0 ] || refuse "debootstrap, apt-get or pip failed; $log has what they said"
