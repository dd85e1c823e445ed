#!/usr/bin/env python3
"""Measures the transfer of a snapshot to a follower whose disk was wiped, on three nodes of this machine.

    make build
    scripts/measure/snapshot.py                    1 GiB, compressible 3:1, as fast as it goes, no load
    scripts/measure/snapshot.py --values random    the same, incompressible
    scripts/measure/snapshot.py --load             at the default -snapshot-rate, under an open loop of puts at a
                                                   quarter of the peak: latency before and during the transfer
    scripts/measure/snapshot.py --kills 5          the receiver killed at random points first; it ends equal

Needs `./vikdb` and `./vikbench`, and a machine that does nothing else. Leaves nothing behind.
"""
import argparse
import base64
import http.client
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import time
import zlib
from datetime import datetime

from cluster import ROOT, Cluster, wait_for


def value(kind, size):
    if kind == "random":
        return os.urandom(size)
    filler = b"lorem ipsum " * (size // 12 + 1)
    return (os.urandom(size // 3) + filler)[:size]


def load(node, options):
    connection = http.client.HTTPConnection("127.0.0.1", node.api)
    for first in range(0, options.keys, 500):
        keys = range(first, min(first + 500, options.keys))
        body = json.dumps({
            "keys": [base64.b64encode(b"key%013d" % key).decode() for key in keys],
            "values": [base64.b64encode(value(options.values, options.value_size)).decode() for _ in keys]})
        while True:
            connection.request("POST", "/kv/batch", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
            if response.status == 200:
                break
            if response.status != 429:
                sys.exit(f"loading failed: {response.status} {answer}")
            time.sleep(0.02)


def zlib_alone(options):
    """MB/s of zlib level 1 on one core, over chunks like those of a snapshot."""
    record = lambda key: b"\x00\x1e\x00\x00\x04\x00\x01key%013d" % key + bytes(13)
    raw = b"".join(record(key) + value(options.values, options.value_size) for key in range(50_000))
    chunks = [raw[start:start + (256 << 10)] for start in range(0, len(raw), 256 << 10)]
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        for chunk in chunks:
            zlib.compress(chunk, 1)
        best = min(best, time.perf_counter() - start)
    return len(raw) / best / 1e6


def puts(nodes, directory, seconds, rate=None, seed=1):
    """Runs vikbench against the cluster; its report."""
    path = f"{directory}/report.json"
    operations = int(rate * seconds) if rate else 100_000
    subprocess.run(
        [f"{ROOT}/vikbench", "--target", ",".join(f"http://127.0.0.1:{node.api}" for node in nodes), "--ops",
         str(operations), "--warmup", "0" if rate else "20000", "--clients", "64", "--seed", str(seed), "--json", path,
         *(["--rate", str(rate)] if rate else [])],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    with open(path) as report:
        return json.load(report)


def moment(line):
    return datetime.fromisoformat(line.split()[0].replace("Z", "+00:00")).timestamp()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--value-size", type=int, default=1024)
    parser.add_argument("--values", choices=["text", "random"], default="text")
    parser.add_argument("--load", action="store_true", help="puts meanwhile, and the default -snapshot-rate")
    parser.add_argument("--kills", type=int, default=0, help="how often the receiver is killed in the midst")
    parser.add_argument("--dir", default=None, help="where the nodes' files go (default: $TMPDIR or /tmp)")
    options = parser.parse_args()
    # A short tail, so that the wiped follower needs the snapshot and not the log.
    flags = ["-log-tail-entries", "100", "-log-tail-bytes", "1048576"]
    flags += [] if options.load else ["-snapshot-rate", "0"]
    with Cluster(options.dir, flags) as cluster:
        measure(cluster, options)


def measure(cluster, options):
    nodes, directory = cluster.nodes, cluster.directory
    leader = cluster.wait_for_leader()
    print(f"loading {options.keys} keys of {options.value_size} B, values {options.values}", file=sys.stderr)
    load(leader, options)
    rate = 0
    if options.load:
        peak = puts(nodes, directory, 5)["commits_per_second"]
        rate = int(peak / 4)
        print(f"peak {peak:,.0f} puts/s over HTTP, 64 clients; open loop at {rate:,}/s")
        time.sleep(10)  # for the merges that the load left
        before = [puts(nodes, directory, 5, rate, seed) for seed in (2, 3, 4, 5, 6)]
        for report in before:
            print(f"before the transfer: {latencies(report)}")

    time.sleep(2)
    victim = next(node for node in nodes if node is not leader)
    victim.stop(kill=True)
    shutil.rmtree(victim.directory)
    if options.load:
        without = puts([node for node in nodes if node is not victim], directory, 5, rate, 7)
        print(f"two nodes, the third away: {latencies(without)}")
    leader.reset_high_water()
    cluster.start(victim)
    for kill in range(options.kills):
        os.truncate(victim.log_path, 0)
        wait_for("the transfer's begin", lambda: victim.log_line("receiving a snapshot"))
        pause = random.uniform(0.2, 4)
        time.sleep(pause)
        victim.stop(kill=True)
        print(f"killed {pause:.1f} s after the transfer's begin")
        os.truncate(victim.log_path, 0)
        cluster.start(victim)
    if options.load:
        during = []
        wait_for("the transfer's begin", lambda: victim.log_line("receiving a snapshot"))
        while not victim.log_line("the snapshot is installed"):
            during.append(puts([node for node in nodes if node is not victim], directory, 5, rate, 8 + len(during)))
        if len(during) > 1:
            during.pop()  # It may have outlasted the transfer.
        for report in during:
            print(f"during the transfer: {latencies(report)}")
        p99 = [statistics.median(report["latency_us"]["p99"] for report in part) for part in (before, during)]
        print(f"median p99 before {p99[0]:,.0f} us, during the transfer {p99[1]:,.0f} us: {p99[1] / p99[0]:.2f} times")
    wait_for("the installation", lambda: victim.log_line("the snapshot is installed"))
    seconds = moment(victim.log_line("the snapshot is installed")) - moment(victim.log_line("receiving a snapshot"))
    sent = wait_for("the leader's word", lambda: leader.log_line("is installed at="), 10)
    raw, wire = (int(re.search(rf"{name}=(\d+)", sent)[1]) / 1e6 for name in ("bytes", "compressed"))
    print(f"{raw:,.0f} MB raw, {wire:,.0f} MB on the wire in {seconds:.2f} s: {raw / seconds:.1f} MB/s raw, "
          f"{wire / seconds:.1f} MB/s on the wire")
    wait_for("the log's end", lambda: victim.metric("vikdb_applied_index") == leader.metric("vikdb_applied_index"))
    hashes = [node.request("GET", "/cluster/state-hash") for node in nodes]
    print(f"state of all nodes {'equal' if len(set(hashes)) == 1 else 'NOT EQUAL'}: {hashes[0]}")
    print(f"memory high-water since the transfer's begin: leader {leader.high_water:.0f} MiB, "
          f"receiver {victim.high_water:.0f} MiB")
    if not options.load:
        alone = zlib_alone(options)
        print(f"zlib level 1 alone on one core: {alone:.1f} MB/s; ratio {raw / seconds / alone:.2f}")


def latencies(report):
    figures = report["latency_us"]
    failed = report["not_applied"] + report["unknown"]
    return (f"p50 {figures['p50']:,.0f} us, p99 {figures['p99']:,.0f} us, p99.9 {figures['p999']:,.0f} us"
            + (f", {failed} failed" if failed else ""))


main()
