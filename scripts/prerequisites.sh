#!/usr/bin/env bash
# Makes sure that what a task needs is on this machine, and installs Debian's packages where it is missing.
#
#     scripts/prerequisites.sh build|run|test
set -euo pipefail

task=${1:?usage: scripts/prerequisites.sh build|run|test}

if ! command -v "${SWIFT:-swift}" >/dev/null; then
    echo "Swift 6.2 or later is needed: see https://www.swift.org/install/linux/" >&2
    exit 1
fi

packages=()
[ -e /usr/include/zlib.h ] || packages+=(zlib1g-dev)
[ -e /usr/include/libdeflate.h ] || packages+=(libdeflate-dev)
case $task in
    run | test) command -v curl >/dev/null || packages+=(curl) ;;
esac
if [ "$task" = test ]; then
    command -v ip >/dev/null || packages+=(iproute2)
fi
[ ${#packages[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "Please install what Debian calls ${packages[*]}, then try again." >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then
    as_root=()
elif command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
    as_root=(sudo)
else
    echo "Please install the missing packages, then try again: apt-get install ${packages[*]}" >&2
    exit 1
fi
echo "Installing ${packages[*]}"
"${as_root[@]}" apt-get update -q
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${packages[@]}"
