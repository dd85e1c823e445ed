/// The answers to `/livez` and `/readyz`: one line a check, and whether all of them passed. A plain value.
struct ProbeText {
    private(set) var text = ""
    private(set) var isPassed = true

    /// Whether the process should go on: it has not failed, and its loop runs.
    static func live(_ status: NodeStatus) -> ProbeText {
        running(status, silence: status.silence(pastMilliseconds: NodeStatus.maxSilenceMilliseconds))
    }

    private static func running(_ status: NodeStatus, silence: String?) -> ProbeText {
        var probe = ProbeText()
        let trouble = status.failure ?? silence
        probe.check("running", trouble == nil, trouble ?? "")
        return probe
    }

    /// Whether clients should be sent here: it serves reads and sends writes to a leader.
    static func ready(_ status: NodeStatus) -> ProbeText {
        var probe = running(status, silence: status.silence())
        probe.check("member", status.trouble == nil, status.trouble ?? "")
        probe.check("leader", status.leaderID != nil || !status.isReplicated, "no leader is known")
        let full = "the disk is full, writes are refused" + (status.refusedFile.map { ": no room for \($0)" } ?? "")
        let disk = status.isDiskFull ? full : status.diskStall
        probe.check("disk", disk == nil, disk ?? "")
        let applied =
            status.incomingSnapshotPercent.map { "a snapshot is coming in: \($0) %" } ?? status.applyStall
        probe.check("applied", applied == nil, applied ?? "")
        return probe
    }

    private mutating func check(_ name: String, _ isPassed: Bool, _ reason: String) {
        text += isPassed ? "ok \(name)\n" : "failed \(name): \(reason)\n"
        if !isPassed { self.isPassed = false }
    }
}
