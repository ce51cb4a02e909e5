#!/bin/sh
# Installs the browser that the tests of the report drive, from Debian's packages.
# Exits 0 where it is there, 3 where it cannot be installed: those tests are then skipped.
set -eu

command -v chromium >/dev/null && exit 0
if [ "$(id -u)" != 0 ]; then
    echo "no Chromium here, and only root can install it: apt-get install chromium" >&2
    exit 3
fi
if ! command -v apt-get >/dev/null; then
    echo "no Chromium here, and no apt-get to install it: it needs chromium, as on Debian" >&2
    exit 3
fi
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium >/dev/null; }; then
    echo "no Chromium here, and apt-get cannot install one: it needs the package chromium" >&2
    exit 3
fi
