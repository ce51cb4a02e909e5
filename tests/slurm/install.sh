#!/bin/sh
# Installs what cluster.py boots, from Debian's packages, and starts none of it.
# Exits 0 where all is there, 3 where it cannot be installed.
set -eu

packages="slurm-wlm slurmdbd mariadb-server munge"

# the commands tell, wherever they came from; Debian keeps the daemons in sbin
PATH="$PATH:/usr/sbin:/sbin"
missing=
for command in slurmctld slurmd slurmdbd munged mariadbd mariadb-install-db; do
    command -v $command >/dev/null || missing=$command
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" != 0 ]; then
    echo "no Slurm here, and only root can install one: apt-get install $packages" >&2
    exit 3
fi
if ! command -v apt-get >/dev/null; then
    echo "no Slurm here, and no apt-get to install one: it needs $packages, as on Debian" >&2
    exit 3
fi

# Debian starts a service as soon as it is installed, unless this file says no
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086  # one word a package
if ! { apt-get update -qq && apt-get install -qq -y --no-install-recommends $packages >/dev/null; }; then
    echo "no Slurm here, and apt-get cannot install one: it needs $packages" >&2
    exit 3
fi
