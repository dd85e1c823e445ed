import Testing
import VikDB

/// What the shell answers while one of its stages lags.
@Suite struct NodeShellTests {
    /// While flushes are behind, writes are refused at the door; heartbeats and reads go on.
    @Test func aStalledEngineRefusesWrites() throws {
        var options = EngineOptions()
        options.memtableMaxBytes = EngineOptions.minMemtableBytes
        let node = try ShellHarness(engineOptions: options)
        let value = [UInt8](repeating: 7, count: 20_000)
        var writes = 0
        while !node.engine.isStalled, writes < 100 {
            let write = node.put(value)
            node.run(.log, .apply)
            guard case .written? = node.outcome(of: write) else {
                Issue.record("write \(writes) ended as \(String(describing: node.outcome(of: write)))")
                return
            }
            writes += 1
        }
        try #require(node.engine.isStalled)
        let refused = node.put(value)
        let read = node.get()
        node.tick(3)
        #expect(node.metrics.pressure.current == .stall)
        #expect(node.metrics.pressure.stalls.count == 1 && node.metrics.pressure.stalls.milliseconds == 30)
        guard case .notApplied(.overloaded)? = node.outcome(of: refused) else {
            Issue.record("a write at a stalled engine ended as \(String(describing: node.outcome(of: refused)))")
            return
        }
        guard case .answered? = node.outcome(of: read) else {
            Issue.record("a read at a stalled engine ended as \(String(describing: node.outcome(of: read)))")
            return
        }
        node.run(.background)
        let accepted = node.put(value)
        node.run(.log, .apply)
        guard case .written? = node.outcome(of: accepted) else {
            Issue.record("a write after the flush ended as \(String(describing: node.outcome(of: accepted)))")
            return
        }
        node.tick()
        #expect(node.metrics.pressure.current == .none && node.metrics.pressure.stalls.milliseconds == 30)
        #expect(node.metrics.pressure.slowdowns.count == 0)
    }

    @Test func metricsHaveWhatTheEngineAndTheLogDid() throws {
        let node = try ShellHarness()
        node.tick()
        let before = node.metrics.logWrittenBytes
        let write = node.put([UInt8](repeating: 7, count: 1_000))
        node.run(.log, .apply)
        #expect(node.isWritten(write))
        node.engine.requestFlush()
        node.run(.background)
        node.tick()
        #expect(node.metrics.work == node.engine.statistics.work)
        #expect(node.metrics.work.flushes == 1 && node.metrics.work.appliedBytes == 1_003)
        #expect((1_050...1_150).contains(node.metrics.logWrittenBytes - before))
    }

    /// A read whose index a majority has confirmed waited for the engine: no lack of a majority.
    @Test func aReadThatWaitedForTheEngineSaysSo() throws {
        let node = try ShellHarness()
        let write = node.put([1])
        node.run(.log)
        let read = node.get()
        node.run(.log, .read)
        #expect(node.outcome(of: read) == nil)
        node.waitInVain()
        guard case .notAnswered(.behind)? = node.outcome(of: read) else {
            Issue.record("the read ended as \(String(describing: node.outcome(of: read)))")
            return
        }
        guard case .unknown(.timedOut)? = node.outcome(of: write) else {
            Issue.record("the write ended as \(String(describing: node.outcome(of: write)))")
            return
        }
    }
}
