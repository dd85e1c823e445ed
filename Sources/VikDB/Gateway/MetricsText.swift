import VikWire

/// The answer to `/metrics`: the text format of Prometheus (version 0.0.4), with names as OpenMetrics has them: a unit as
/// suffix, counters end in `_total`.
struct MetricsText {
    private(set) var text = ""

    init(_ status: NodeStatus, _ counters: NodeCounters, _ metrics: NodeMetrics) {
        raft(status, metrics)
        histogram(
            "vikdb_commit_latency_seconds", "From a write's proposal to its being applied.", metrics.commitLatency)
        histogram("vikdb_log_sync_seconds", "Write and fdatasync of one group of the log.", metrics.syncLatency)
        gauge(
            "vikdb_log_write_out_seconds", "How long the write to the log that is out has been so; 0: none is.",
            milliseconds: metrics.logWriteOutMilliseconds)
        gauge(
            "vikdb_apply_behind_seconds", "How long what is committed has waited for the engine at least.",
            milliseconds: metrics.applyBehindMilliseconds)
        histogram("vikdb_log_group_entries", "Entries that shared one fdatasync.", metrics.batchEntries, isTime: false)
        counter("vikdb_log_synced_entries_total", "Entries written to the log.", UInt64(counters.syncedEntries))
        gauge("vikdb_log_size_bytes", "Size of the log's segments.", status.logBytes)
        gauge("vikdb_waiting_writes", "Writes that wait for their entry to be applied.", UInt64(metrics.waitingWrites))
        gauge("vikdb_waiting_reads", "Reads that wait for their index.", UInt64(metrics.waitingReads))
        counter("vikdb_peer_sent_bytes_total", "Bytes sent to other nodes.", counters.wireBytes)
        counter(
            "vikdb_peer_violations_total", "Messages of members that no member sends; their connections were ended.",
            UInt64(counters.peerViolations))
        snapshots(status, counters)
        engine(status, metrics)
        pressure(metrics.pressure)
        work(metrics)
        gauge("vikdb_disk_free_bytes", "Free space of the log's or the tables' disk.", metrics.freeBytes)
        gauge("vikdb_disk_full", "Whether writes are refused because the disk is full.", status.isDiskFull ? 1 : 0)
    }

    private mutating func raft(_ status: NodeStatus, _ metrics: NodeMetrics) {
        gauge(
            "vikdb_loop_silence_seconds", "Time since the node's loop last ran.", milliseconds: status.ageMilliseconds)
        gauge("vikdb_is_leader", "Whether this node leads.", status.role == .leader ? 1 : 0)
        gauge("vikdb_has_leader", "Whether this node knows a leader.", status.leaderID == nil ? 0 : 1)
        gauge("vikdb_term", "Raft's term.", status.term)
        gauge("vikdb_commit_index", "Last entry known to be committed.", status.commitIndex)
        gauge("vikdb_applied_index", "Last entry applied.", status.appliedIndex)
        gauge("vikdb_last_index", "Last entry of the log.", status.lastIndex)
        gauge("vikdb_first_index", "First entry that the log still has.", status.firstLogIndex)
        counter("vikdb_campaigns_total", "Elections that this node stood for.", metrics.campaigns)
        counter("vikdb_elections_won_total", "Elections that this node won.", metrics.electionsWon)
        gauge("vikdb_members", "Members of the cluster.", UInt64(status.members.count))
        let followers = status.members.filter { $0.match != nil }
        guard !followers.isEmpty else { return }
        header("vikdb_follower_lag_entries", "Entries that a follower lacks.", "gauge")
        for member in followers { labelled("vikdb_follower_lag_entries", member, member.lag ?? 0) }
        header("vikdb_follower_last_contact_seconds", "Time since something came from a follower.", "gauge")
        for member in followers {
            text +=
                "vikdb_follower_last_contact_seconds{node_id=\"\(escaped(member.label))\"} "
                + "\(Double(member.lastContactMilliseconds ?? 0) / 1_000)\n"
        }
    }

    private mutating func snapshots(_ status: NodeStatus, _ counters: NodeCounters) {
        counter("vikdb_snapshots_sent_total", "Snapshots sent and installed there.", UInt64(counters.snapshotsSent))
        counter("vikdb_snapshots_installed_total", "Snapshots installed here.", UInt64(counters.snapshotsInstalled))
        counter(
            "vikdb_snapshots_repeated_total", "Snapshots sent again because the log had outrun the one before.",
            UInt64(counters.snapshotsRepeated))
        counter("vikdb_snapshot_raw_bytes_total", "Records of snapshots sent.", counters.snapshotRawBytes)
        counter("vikdb_snapshot_sent_bytes_total", "The same after compression.", counters.snapshotWireBytes)
    }

    private mutating func engine(_ status: NodeStatus, _ metrics: NodeMetrics) {
        gauge("vikdb_unapplied_entries", "Committed entries that wait for the engine.", metrics.unappliedEntries)
        gauge("vikdb_memtable_size_bytes", "Memory of the memtables.", UInt64(status.memtableBytes))
        gauge("vikdb_sealed_memtables", "Memtables that wait for their flush.", UInt64(metrics.sealedMemtables))
        gauge("vikdb_block_cache_size_bytes", "Memory of cached blocks.", UInt64(metrics.blockCache.bytes))
        counter("vikdb_block_cache_hits_total", "Data blocks that were read from the cache.", metrics.blockCache.hits)
        counter("vikdb_block_cache_misses_total", "Data blocks that were not in the cache.", metrics.blockCache.misses)
        gauge("vikdb_open_tables", "Tables that are open.", UInt64(metrics.openTables.tables))
        gauge(
            "vikdb_open_tables_size_bytes", "Memory of the open tables' filters and indexes.",
            UInt64(metrics.openTables.bytes))
        header("vikdb_tables", "Tables of a level.", "gauge")
        for (level, count) in metrics.tables.enumerated() { text += "vikdb_tables{level=\"\(level)\"} \(count)\n" }
        header("vikdb_tables_size_bytes", "Size of a level's tables.", "gauge")
        for (level, bytes) in metrics.tableBytes.enumerated() {
            text += "vikdb_tables_size_bytes{level=\"\(level)\"} \(bytes)\n"
        }
        header("vikdb_table_entries", "Keys in a level's tables, deleted ones too.", "gauge")
        for (level, count) in metrics.tableEntries.enumerated() {
            text += "vikdb_table_entries{level=\"\(level)\"} \(count)\n"
        }
        header("vikdb_table_tombstones", "Tombstones in each level's tables.", "gauge")
        for (level, count) in metrics.tableTombstones.enumerated() {
            text += "vikdb_table_tombstones{level=\"\(level)\"} \(count)\n"
        }
        gauge(
            "vikdb_sweep_in_progress", "Whether all tables are being merged, as asked for or for want of space.",
            metrics.isSweeping ? 1 : 0)
    }

    private mutating func pressure(_ record: PressureRecord) {
        gauge(
            "vikdb_write_pressure", "How far flushes and merges are behind: 1: writes are slowed down, 2: stalled.",
            UInt64(record.current.rawValue))
        counter("vikdb_write_slowdowns_total", "Times that writes were slowed down.", record.slowdowns.count)
        counter(
            "vikdb_write_slowdown_seconds_total", "Time in which writes were slowed down.",
            milliseconds: record.slowdowns.milliseconds)
        counter("vikdb_write_stalls_total", "Times that writes were stalled.", record.stalls.count)
        counter(
            "vikdb_write_stall_seconds_total", "Time in which writes were stalled.",
            milliseconds: record.stalls.milliseconds)
    }

    /// All since the start.
    private mutating func work(_ metrics: NodeMetrics) {
        let work = metrics.work
        counter("vikdb_applied_bytes_total", "Keys and values of entries that were applied.", work.appliedBytes)
        counter("vikdb_log_written_bytes_total", "Records written to the log.", metrics.logWrittenBytes)
        counter("vikdb_flushes_total", "Memtables that went to level 0.", work.flushes)
        counter("vikdb_flush_written_bytes_total", "Size of tables that flushes wrote.", work.flushWrittenBytes)
        counter("vikdb_merges_total", "Merges that are done.", work.merges)
        header("vikdb_merges_by_cause_total", "The same by what they were done for.", "counter")
        for (cause, count) in metrics.mergesByCause {
            text += "vikdb_merges_by_cause_total{cause=\"\(cause)\"} \(count)\n"
        }
        counter("vikdb_merge_read_bytes_total", "Size of tables that merges replaced.", work.mergeReadBytes)
        counter("vikdb_merge_written_bytes_total", "Size of tables that merges wrote.", work.mergeWrittenBytes)
        counter("vikdb_table_moves_total", "Times that tables changed their level as they were.", work.moves)
        if let amplification = metrics.writeAmplification {
            gauge(
                "vikdb_write_amplification",
                "Bytes that log, flushes and merges wrote, by those of keys and values applied, since the start.",
                ratio: amplification)
        }
        if let amplification = metrics.spaceAmplification {
            gauge(
                "vikdb_space_amplification",
                "Size of all tables by that of the lowest level with any: an upper estimate, deleted keys aside.",
                ratio: amplification)
        }
    }

    // MARK: Lines

    private mutating func header(_ name: String, _ help: String, _ type: String) {
        text += "# HELP \(name) \(help)\n# TYPE \(name) \(type)\n"
    }

    private mutating func gauge(_ name: String, _ help: String, _ value: UInt64) {
        header(name, help, "gauge")
        text += "\(name) \(value)\n"
    }

    private mutating func gauge(_ name: String, _ help: String, ratio: Double) {
        header(name, help, "gauge")
        text += "\(name) \(ratio)\n"
    }

    private mutating func gauge(_ name: String, _ help: String, milliseconds: UInt64) {
        gauge(name, help, ratio: Double(milliseconds) / 1_000)
    }

    private mutating func counter(_ name: String, _ help: String, _ value: UInt64) {
        header(name, help, "counter")
        text += "\(name) \(value)\n"
    }

    private mutating func counter(_ name: String, _ help: String, milliseconds: UInt64) {
        header(name, help, "counter")
        text += "\(name) \(Double(milliseconds) / 1_000)\n"
    }

    private mutating func labelled(_ name: String, _ member: MemberStatus, _ value: UInt64) {
        text += "\(name){node_id=\"\(escaped(member.label))\"} \(value)\n"
    }

    private mutating func histogram(_ name: String, _ help: String, _ histogram: Histogram, isTime: Bool = true) {
        header(name, help, "histogram")
        let scale = isTime ? 1e9 : 1
        var total: UInt64 = 0
        for (bound, count) in zip(histogram.bounds, histogram.counts) {
            total += count
            text += "\(name)_bucket{le=\"\(Double(bound) / scale)\"} \(total)\n"
        }
        text += "\(name)_bucket{le=\"+Inf\"} \(histogram.count)\n"
        text += "\(name)_sum \(Double(histogram.sum) / scale)\n\(name)_count \(histogram.count)\n"
    }

    private func escaped(_ label: String) -> String {
        label.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"")
    }
}
