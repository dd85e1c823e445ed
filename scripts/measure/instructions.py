#!/usr/bin/env python3
"""Counts the instructions of log and engine for each operation, under valgrind's callgrind: unlike times, they repeat.

    scripts/measure/instructions.py [--profile]

Each workload of `vikbench storage` runs twice, the second time with more operations; what the thread that does them
took more is divided by what it did more, so that start and end do not count. --profile shows the functions that took
the most. Needs ./vikbench (make build), valgrind and binutils; takes about two minutes.
"""

import argparse
import glob
import os
import re
import subprocess
import sys
import tempfile

KEYS = 20_000
FEWER, MORE = 20_000, 60_000
# What is counted, and the workload whose operations it is. A put goes to log and memtable; gets and steps find their
# blocks in the cache after the first 20,000, seekrandom's are 100 steps each.
OPERATIONS = [
    ("put", "fillseq", "--writes", FEWER, MORE, []),
    ("put, keys at random", "fillrandom", "--writes", FEWER, MORE, []),
    ("get, found", "readrandom", "--reads", FEWER, MORE, []),
    ("get, not there", "readmissing", "--reads", FEWER, MORE, []),
    ("next, blocks from the file", "readseq", "--reads", KEYS // 4, KEYS, []),
    ("previous, blocks from the file", "readreverse", "--reads", KEYS // 4, KEYS, []),
    ("seek", "seekrandom", "--reads", 2_000, 6_000, ["--seek-nexts", "0"]),
    ("seek and 100 nexts", "seekrandom", "--reads", 1_000, 3_000, ["--seek-nexts", "100"]),
]


def vikbench(scratch, directory, workload, arguments, prefix=()):
    command = [*prefix, f"{scratch}/vikbench", "storage", workload, "--db", directory, "--num", str(KEYS), "--no-histogram",
               "--seed", "1", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.stderr}")


def counted(scratch, workload, flag, count, arguments, profile=False):
    """Instructions of the thread that ran the workload: the one that was started last."""
    store = os.path.join(scratch, "puts" if workload.startswith("fill") else "store")
    output = os.path.join(scratch, "callgrind")
    for old in glob.glob(output + "*"):
        os.remove(old)
    vikbench(scratch, store, workload, [flag, str(count), *arguments],
             ["valgrind", "--tool=callgrind", "--separate-threads=yes", f"--callgrind-out-file={output}"])
    last = max(glob.glob(output + "-*"), key=lambda path: int(path.rsplit("-", 1)[1]))
    if profile:
        print(subprocess.run(["callgrind_annotate", last], capture_output=True, text=True).stdout[:6_000])
    with open(last) as file:
        return int(re.search(r"^(?:totals|summary): (\d+)", file.read(), re.MULTILINE).group(1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", action="store_true", help="also show where the instructions went")
    flags = parser.parse_args()
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
    with tempfile.TemporaryDirectory() as scratch:
        # Valgrind 3.19 gives up on the debugging information of newer compilers.
        subprocess.run(["strip", "--strip-debug", "-o", f"{scratch}/vikbench", "vikbench"], check=True)
        vikbench(scratch, os.path.join(scratch, "store"), "fillseq", [])
        print(f"{'instructions for each':32}{'':>10}")
        for name, workload, flag, fewer, more, arguments in OPERATIONS:
            few = counted(scratch, workload, flag, fewer, arguments)
            many = counted(scratch, workload, flag, more, arguments, flags.profile)
            print(f"{name:32}{(many - few) / (more - fewer):10.0f}", flush=True)


if __name__ == "__main__":
    main()
