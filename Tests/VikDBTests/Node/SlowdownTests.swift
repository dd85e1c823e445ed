import Testing
import VikDB

/// What the shell applies while level 0 has too many tables, though not yet so many that it must stop.
@Suite struct SlowdownTests {
    private static let bytesPerTick = 3_000
    private static let valueBytes = 1_000

    /// A node whose merge is due, and held back until the test runs it.
    private static func slowedNode() throws -> ShellHarness {
        var engineOptions = EngineOptions()
        engineOptions.memtableMaxBytes = 1 << 20
        engineOptions.level0MergeTables = 3
        engineOptions.level0SlowdownTables = 3
        var options = ShellHarness.impatient
        options.slowedBytesPerSecond = bytesPerTick * 1_000 / options.tickMilliseconds
        let node = try ShellHarness(options: options, engineOptions: engineOptions)
        for _ in 0..<3 {
            #expect(node.engine.pressure == .none)
            let write = node.put([1])
            node.run(.log, .apply)
            #expect(node.isWritten(write))
            node.engine.requestFlush()
            node.runOnce(.background)
        }
        try #require(node.engine.pressure == .slowdown)
        return node
    }

    private static func value(_ bytes: Int) -> [UInt8] { [UInt8](repeating: 7, count: bytes) }

    @Test func writesAreAppliedSlowlyUntilMergesCatchUp() throws {
        let node = try Self.slowedNode()
        let writes = (0..<40).map { _ in node.put(Self.value(Self.valueBytes)) }
        var written: Int { writes.count { node.isWritten($0) } }
        node.run(.log, .apply)
        for ticks in 1...10 {
            // An entry is a little larger than its value, and the last one of a tick may be on credit.
            #expect(written <= ticks * Self.bytesPerTick / Self.valueBytes && written >= 2 * ticks, "\(ticks) ticks")
            node.tick()
        }
        #expect(node.metrics.pressure.current == .slowdown)
        #expect(node.metrics.pressure.slowdowns.count == 1)
        #expect(node.metrics.pressure.slowdowns.milliseconds == 100)
        node.run(.background, .apply)
        #expect(written == writes.count)
        node.tick(5)
        #expect(node.metrics.pressure.current == .none && node.metrics.pressure.stalls.count == 0)
        #expect(node.metrics.pressure.slowdowns.milliseconds == 100)
    }

    @Test func anEntryLargerThanATickIsPaidForByTheNextTicks() throws {
        let node = try Self.slowedNode()
        let (large, small) = (node.put(Self.value(3 * Self.bytesPerTick)), node.put([1]))
        node.run(.log, .apply)
        #expect(node.isWritten(large))
        node.tick(2)
        #expect(!node.isWritten(small))
        node.tick()
        #expect(node.isWritten(small))
    }

    /// What is admitted is applied before its time is up, which is what half of it is for.
    @Test func writesThatWouldWaitTooLongAreRefused() throws {
        let node = try Self.slowedNode()
        let admittedTicks = ShellHarness.impatient.requestWaitTicks / 2
        for _ in 0..<2 {
            let writes = (0..<admittedTicks + 5).map { _ in node.put(Self.value(Self.bytesPerTick)) }
            node.run(.log)
            let refused = writes.filter { node.refusal(of: $0) == .overloaded }
            #expect(refused == Array(writes.suffix(5)))
            node.tick(2 * admittedTicks - 1)
            #expect(writes.count { node.isWritten($0) } == admittedTicks)
        }
    }
}
