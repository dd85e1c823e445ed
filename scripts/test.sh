#!/usr/bin/env bash
# Builds everything and runs all tests: first those within one process, in parallel, then, one at a time, those that
# watch the clock or start real nodes. The last lines are the test runner's own summaries.
#
#     VIK_SEED=… scripts/test.sh      replays the random tests with a seed that an earlier run printed
set -euo pipefail
cd "$(dirname "$0")/.."

swift=${SWIFT:-swift}
output=$(mktemp -d)
running=
trap 'rm -rf "$output"' EXIT
trap '[ -z "$running" ] || kill -TERM "$running"; exit 130' INT TERM

# By itself `swift test` plans a build with testable imports, which `swift build` does not have: each of the two would
# then build anew what the other has built. The tests see what they need by `package` access.
#
# `timeout` has the run in a process group of its own and ends all of it, nodes too, should it hang or be interrupted.
run_tests() {
    local name=$1 seconds=$2
    shift 2
    echo
    echo "== $name"
    local status=0 tee log
    exec {log}> >(tee "$output/$name.log")
    tee=$!
    timeout --kill-after=10 "$seconds" \
        "$swift" test -c release --skip-build --disable-testable-imports --disable-xctest "$@" >&"$log" 2>&1 &
    running=$!
    exec {log}>&-
    wait "$running" || status=$?
    # Nodes that a crashed test left behind.
    kill -KILL -- "-$running" 2>/dev/null || true
    running=
    wait "$tee"
    return "$status"
}

"$swift" build -c release --build-tests

readonly alone="ProcessTests|Gateway(Timeout|Rate|Silence)Tests|HungLoopTests|Transport[A-Za-z]*Tests|JoinClientTests"
status=0
run_tests "tests in one process" 600 --parallel --skip "$alone" || status=$?
run_tests "tests with a clock or real nodes" 600 --no-parallel --filter "$alone" || status=$?

echo
echo "== summary"
for log in "$output"/*.log; do
    if ! grep -E '^.{0,4}Test run with [1-9]' "$log"; then
        echo "$(basename "$log" .log): no summary of tests that ran, see above"
        status=1
    fi
done
exit "$status"
