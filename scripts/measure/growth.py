#!/usr/bin/env python3
"""Writes many small values over few keys to three nodes of this machine, and shows that neither log nor memory grow
with the history, nor the time that a restart takes.

    make build
    scripts/measure/growth.py                      10,000,000 puts over HTTP, each an entry of the log
    scripts/measure/growth.py --ops 1000000

Needs `./vikdb` and `./vikbench`. Leaves nothing behind.
"""
import argparse
import os
import subprocess
import time

from cluster import ROOT, Cluster, wait_for


def directory_mib(path):
    total = 0
    for name in os.listdir(path):
        try:
            total += os.stat(f"{path}/{name}").st_blocks * 512
        except FileNotFoundError:
            pass  # A merge removed it meanwhile.
    return total / 2**20


def sample(node):
    return (directory_mib(f"{node.directory}/wal"), directory_mib(f"{node.directory}/sst"), node.high_water)


def put(node, key):
    node.request("PUT", f"/kv/{key}", '{"value":"eA=="}')


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--ops", type=int, default=10_000_000)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--value-size", type=int, default=16)
    parser.add_argument("--dir", default=None, help="where the nodes' files go (default: $TMPDIR or /tmp)")
    options = parser.parse_args()
    with Cluster(options.dir, []) as cluster:
        measure(cluster, options)


def measure(cluster, options):
    cluster.wait_for_leader()
    start = time.monotonic()
    bench = subprocess.Popen(
        [f"{ROOT}/vikbench", "--target", cluster.urls, "--ops", str(options.ops), "--warmup", "0", "--clients", "256",
         "--keys", str(options.keys), "--value-size", str(options.value_size)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    worst, shown = (0, 0, 0), start
    while bench.poll() is None:
        time.sleep(0.5)
        now = [sample(node) for node in cluster.nodes]
        worst = tuple(max([before, *column]) for before, column in zip(worst, zip(*now)))
        if time.monotonic() - shown > 30:
            shown = time.monotonic()
            print(f"{shown - start:5.0f} s: log {now[0][0]:.0f} MiB, tables {now[0][1]:.0f} MiB, memory's high-water "
                  f"{now[0][2]:.0f} MiB at node1", flush=True)
    report = bench.stdout.read()
    print("\n".join(line for line in report.splitlines() if "commits/s" in line or "verified" in line))
    applied = [int(node.metric("vikdb_applied_index")) for node in cluster.nodes]
    print(f"{min(applied):,} entries applied; largest of all nodes and times: log {worst[0]:.0f} MiB, tables "
          f"{worst[1]:.0f} MiB, memory {worst[2]:.0f} MiB")
    for node in cluster.nodes:
        node.stop(kill=True)
    start = time.monotonic()
    for node in cluster.nodes:
        cluster.start(node)
    wait_for("the first put", lambda: any(succeeds(lambda: put(node, "cmVzdGFydA==")) for node in cluster.nodes))
    took = time.monotonic() - start
    for node in cluster.nodes:
        wait_for("a read", lambda: succeeds(lambda: node.request("GET", "/kv/cmVzdGFydA==?consistency=linearizable")))
    print(f"SIGKILL of all three: first put accepted {took:.2f} s after the start, linearizable reads from every node "
          f"after {time.monotonic() - start:.2f} s")


def succeeds(request):
    try:
        request()
        return True
    except (OSError, ValueError):
        return False


main()
