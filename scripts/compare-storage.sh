#!/usr/bin/env bash
# Measures VikDB's log and engine beside RocksDB: the same workloads of `vikbench storage` and of db_bench, in turns on
# this machine. Prints the operations per second of both, medians and ranges, and the ratio of the
# medians.
#
#     scripts/compare-storage.sh [RUNS] [KEYS] [WORKLOAD,…] [CACHE-MIB] [THREADS]
#
# Reads at random are a million at most, so that a large store is not read as often as it has keys.
# In $TMPDIR, or /tmp, it takes about 1.5 KB for each key.
set -euo pipefail
cd "$(dirname "$0")/.."

runs=${1:-5}
keys=${2:-1000000}
workloads=${3:-fillseq,fillrandom,readrandom,readmissing,readseq,readreverse,seekrandom,fillsync}
cache_mib=${4:-512}
threads=${5:-1}
readonly key_bytes=16 value_bytes=256 cache_bytes=$((cache_mib << 20)) memtable_bytes=$((64 << 20)) seek_nexts=100
random_reads=$((keys < 1000000 ? keys : 1000000))
# Each waits for the disk.
readonly synced_writes=10000

if ! command -v db_bench >/dev/null; then
    echo "db_bench is needed: it is in Debian's package rocksdb-tools" >&2
    exit 1
fi
if ! [ -x ./vikbench ]; then
    echo "./vikbench is needed: make build" >&2
    exit 1
fi

directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT

# A line "PROGRAM WORKLOAD OPERATIONS-PER-SECOND" for each line of figures.
figures() {
    awk -v program="$1" '$2 == ":" && $6 == "ops/sec" { print program, $1, $5; fflush() }'
}

rocksdb() {
    local store=$1 workloads=$2
    shift 2
    db_bench --db="$directory/rocksdb-$store" --benchmarks="$workloads" --num="$keys" --key_size=$key_bytes \
        --value_size=$value_bytes --cache_size=$cache_bytes --write_buffer_size=$memtable_bytes --bloom_bits=10 \
        --compression_type=none --threads="$threads" --seek_nexts=$seek_nexts "$@" 2>"$directory/errors" | figures db_bench
}

vikdb() {
    local store=$1 workloads=$2
    shift 2
    ./vikbench storage "$workloads" --db "$directory/vikdb-$store" --num "$keys" --key-size $key_bytes \
        --value-size $value_bytes --cache-size $cache_bytes --memtable-size $memtable_bytes --threads "$threads" \
        --seek-nexts $seek_nexts --no-histogram "$@" | figures vikbench
}

# Both on the same workload, one after the other; who begins takes turns.
both() {
    local run=$1 workload=$2
    local rocksdb=() vikdb=() store=$workload first=
    case $workload in
        readrandom | readmissing | seekrandom)
            rocksdb=(--reads=$random_reads)
            vikdb=(--reads "$random_reads")
            ;;
    esac
    case $workload in
        fillsync)
            rocksdb=(--writes=$synced_writes)
            vikdb=(--writes $synced_writes)
            ;;
        fill*) ;;
        # They read what fillrandom left, all merges done.
        *)
            rocksdb+=(--use_existing_db=1)
            store=fillrandom
            first=waitforcompaction,
            ;;
    esac
    if [ $((run % 2)) = 1 ]; then rocksdb $store "$first$workload" "${rocksdb[@]}"; fi
    vikdb $store "$workload" "${vikdb[@]}"
    if [ $((run % 2)) = 0 ]; then rocksdb $store "$first$workload" "${rocksdb[@]}"; fi
}

for run in $(seq "$runs"); do
    is_filled=
    for workload in ${workloads//,/ }; do
        case $workload in
            fillrandom) is_filled=1 ;;
            fill*) ;;
            *)
                [ "$is_filled" ] || both "$run" fillrandom >/dev/null
                is_filled=1
                ;;
        esac
        both "$run" "$workload" | tee -a "$directory/figures" >&2
    done
done

sort -k2,2 -k1,1 -k3,3n "$directory/figures" | awk -v workloads="$workloads" '
    { value[$2, $1, ++count[$2, $1]] = $3 }
    function median(workload, program,   n) {
        n = count[workload, program]
        if (n % 2) return value[workload, program, (n + 1) / 2]
        return (value[workload, program, n / 2] + value[workload, program, n / 2 + 1]) / 2
    }
    function shown(workload, program) {
        return sprintf("%d (%d-%d)", median(workload, program), value[workload, program, 1], \
            value[workload, program, count[workload, program]])
    }
    END {
        printf "%-12s %28s %28s %8s\n", "operations/s", "RocksDB", "VikDB", "ratio"
        n = split(workloads, names, ",")
        for (i = 1; i <= n; i++) {
            printf "%-12s %28s %28s %8.2f\n", names[i], shown(names[i], "db_bench"), shown(names[i], "vikbench"), \
                median(names[i], "vikbench") / median(names[i], "db_bench")
        }
    }'
