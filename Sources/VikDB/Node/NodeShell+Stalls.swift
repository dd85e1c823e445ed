import Logging
import VikWire

/// A disk that hangs, and an engine that is behind: noticed, told, and said once.
extension NodeShell {
    /// Ticks for which what the log lane has to do now has been out: a group, or the work of housekeeping, which both
    /// wait for the log's disk.
    private var logTicksOut: UInt64 {
        max(core.ticksOfWriteOut ?? 0, housekeepingSince.map { now - $0 } ?? 0)
    }

    /// Once a tick.
    func watchForStalls() {
        switch logWatch.observe(logTicksOut, at: now) {
        case .began:
            logger.warning(
                """
                a write to the log has not come back: its disk is slow or hangs; meanwhile this node acknowledges and \
                applies nothing
                """, metadata: ["out_ms": "\(milliseconds(logWatch.ticksOut))"])
        case .ended(let longest):
            logger.warning("the disk of the log is as before", metadata: ["longest_ms": "\(milliseconds(longest))"])
        case nil: break
        }
        let lag = applyLag.observe(committed: core.commit, applied: applied, at: now)
        switch applyWatch.observe(lag, at: now) {
        case .began:
            logger.warning(
                "what is committed is not applied in time: reads wait for it in vain",
                metadata: [
                    "behind_ms": "\(milliseconds(lag))", "applied": "\(applied)", "committed": "\(core.commit)",
                ])
        case .ended(let longest):
            logger.warning("the engine has caught up", metadata: ["longest_ms": "\(milliseconds(longest))"])
        case nil: break
        }
        metrics.logWriteOutMilliseconds = milliseconds(logTicksOut)
        metrics.applyBehindMilliseconds = milliseconds(lag)
    }

    /// Why clients should not be sent here, if so.
    var diskStall: String? {
        guard logWatch.isStalled else { return nil }
        return "a write to the log has been out for \(milliseconds(logWatch.ticksOut) / 1_000) s"
    }

    var applyStall: String? {
        guard applyWatch.isStalled else { return nil }
        return "what was committed \(milliseconds(applyWatch.ticksOut) / 1_000) s ago is not applied yet"
    }

    private func milliseconds(_ ticks: UInt64) -> UInt64 { ticks * UInt64(options.tickMilliseconds) }
}
