#!/usr/bin/env bash
# Links the release build's programs at the root, where the guide runs them.
set -euo pipefail
cd "$(dirname "$0")/.."

products=$("${SWIFT:-swift}" build -c release --show-bin-path)
for program in vikdb vikbench; do
    ln -sfn "${products#"$PWD/"}/$program" "$program"
done
