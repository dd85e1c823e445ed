#!/usr/bin/env bash
# Starts a cluster of three nodes on this machine and stops it with Ctrl-C.
#
# Data and logs go to ./data; a cluster that was stopped goes on with what it had.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly cluster=localhost:8081,localhost:8083,localhost:8085
readonly start_seconds=30 stop_seconds=10
nodes=()

# Nodes run in sessions of their own, so that Ctrl-C reaches this script alone and they are stopped in one way only.
stop_nodes() {
    trap - EXIT
    trap '' INT TERM
    local node waited=0
    for node in "${nodes[@]}"; do kill -TERM "$node" 2>/dev/null || true; done
    while any_alive; do
        if [ "$waited" -ge $((stop_seconds * 10)) ]; then
            echo "A node did not stop within $stop_seconds s and is killed." >&2
            for node in "${nodes[@]}"; do kill -KILL "$node" 2>/dev/null || true; done
            break
        fi
        sleep 0.1
        waited=$((waited + 1))
    done
    wait 2>/dev/null || true
}

any_alive() {
    local node
    for node in "${nodes[@]}"; do kill -0 "$node" 2>/dev/null && return 0; done
    return 1
}

interrupted() {
    echo
    echo "Stopping"
    stop_nodes
    echo "Stopped; the data stays in ./data"
    exit 0
}

trap stop_nodes EXIT
trap interrupted INT TERM

# A process that crashes would hold its ports for the seconds that the backtracer takes.
export SWIFT_BACKTRACE="${SWIFT_BACKTRACE:-enable=no}"
mkdir -p data
for number in 1 2 3; do
    api=$((8078 + 2 * number))
    setsid ./vikdb \
        -addr ":$api" \
        -replication-port "$((api + 1))" \
        -node-id "node$number" \
        -cluster "$cluster" \
        -wal-path "./data/node$number/wal" \
        -sstable-dir "./data/node$number/sstables" \
        2>>"data/node$number.log" &
    nodes+=("$!")
done
echo "Three nodes are starting; they log to ./data/node1.log, ./data/node2.log and ./data/node3.log"

# Prints the API port of the leader, if there is one.
leader_port() {
    local port
    for port in 8080 8082 8084; do
        if curl -s -m 1 "http://localhost:$port/cluster/status" | grep -q '"is_leader": *true'; then
            echo "$port"
            return
        fi
    done
    return 1
}

report_exited() {
    local index
    for index in 0 1 2; do
        if ! kill -0 "${nodes[$index]}" 2>/dev/null; then
            echo "node$((index + 1)) has ended:" >&2
            tail -n 3 "data/node$((index + 1)).log" >&2
            return 0
        fi
    done
    return 1
}

deadline=$((SECONDS + start_seconds))
until leader=$(leader_port); do
    if report_exited; then exit 1; fi
    if [ "$SECONDS" -ge "$deadline" ]; then
        echo "No leader was elected within $start_seconds s; the end of the logs:" >&2
        tail -n 3 data/node?.log >&2
        exit 1
    fi
    sleep 0.1
done

cat <<END

The cluster is ready, its leader serves on port $leader. In another terminal (keys and values are Base64):

  curl -L -X PUT http://localhost:8082/kv/bXkta2V5 \\
    -H "Content-Type: application/json" -d '{"value": "bXktdmFsdWU="}'
  curl http://localhost:8084/kv/bXkta2V5
  curl "http://localhost:8080/kv/range?start=a&end=z"
  curl -L -X DELETE http://localhost:8080/kv/bXkta2V5
  curl http://localhost:8080/cluster/status
  curl http://localhost:8080/health

Ctrl-C stops all three nodes.
END

# A node may be killed on purpose, to see the others go on; the script ends with the last one.
while any_alive; do sleep 0.5; done
echo "All nodes have ended; the reasons are in their logs." >&2
exit 1
