import Testing
import VikDB
import VikTestSupport
import VikWire

/// What a node tells of a disk that hangs, and of an engine that is behind.
@Suite struct StalledDiskTests {
    /// Two seconds in ticks; a request may wait for less here.
    private static let stall = 200

    private static func warnings(_ node: ShellHarness) -> [String] { node.lines.filter { $0.hasPrefix("warning") } }

    @Test func aNodeAlone() throws {
        let node = try ShellHarness()
        let write = node.put([1])
        node.run(.apply)
        node.tick(Self.stall - 1, running: [.apply, .read])
        #expect(node.status.diskStall == nil && Self.warnings(node).isEmpty)
        #expect(node.metrics.logWriteOutMilliseconds == UInt64(Self.stall - 1) * 10)
        guard case .unknown(.timedOut)? = node.outcome(of: write) else {
            Issue.record("the write ended as \(String(describing: node.outcome(of: write)))")
            return
        }
        node.tick(1, running: [.apply, .read])
        #expect(node.status.diskStall == "a write to the log has been out for 2 s")
        #expect(Self.warnings(node).count == 1 && Self.warnings(node)[0].contains("has not come back"))
        // For as long as it takes: one line, and nothing gathers behind it.
        node.tick(5_000, running: [.apply, .read])
        #expect(Self.warnings(node).count == 1)
        #expect(node.waitingJobs(.log) <= 2)
        #expect(node.status.diskStall == "a write to the log has been out for 52 s")
        #expect(node.status.failure == nil && node.failure == nil)

        node.run(.log, .apply)
        node.tick()
        #expect(node.status.diskStall == nil && node.metrics.logWriteOutMilliseconds == 0)
        #expect(Self.warnings(node).count == 1)
        node.tick(1_000)
        #expect(Self.warnings(node).count == 2 && Self.warnings(node)[1].contains("as before"))
        let later = node.put([2])
        node.tick()
        #expect(node.isWritten(later))
    }

    /// Nobody writes, and yet it is noticed: the commit index and the free space are looked after on the same disk.
    @Test func anIdleNode() throws {
        let node = try ShellHarness()
        node.tick(Self.stall + 100, running: [.apply, .read])
        #expect(node.status.diskStall != nil)
        #expect(node.waitingJobs(.log) == 1)
        node.run(.log)
        node.tick()
        #expect(node.status.diskStall == nil)
    }

    /// Again and again too slow, but never for long: two lines, not two for each write.
    @Test func aDiskThatIsSlowAgainAndAgain() throws {
        let node = try ShellHarness()
        for round in 0..<10 {
            _ = node.put([UInt8(round)])
            node.tick(Self.stall + 5, running: [.apply, .read])
            #expect(node.status.diskStall != nil)
            node.run(.log, .apply)
            node.tick(10)
            #expect(node.status.diskStall == nil)
        }
        node.tick(1_000)
        #expect(Self.warnings(node).filter { $0.contains("has not come back") }.count == 1)
        #expect(Self.warnings(node).filter { $0.contains("as before") }.count == 1)
    }

    @Test func aFollower() throws {
        let node = try ShellHarness(members: 3)
        node.step(node.firstAppend, from: 2)
        node.run(.log, .apply)
        node.step(.append(term: 1, after: (1, 1), [1], commit: 2), from: 2)
        node.tick(Self.stall + 1, running: [.apply, .read])
        #expect(node.status.diskStall != nil)
        #expect(node.status.commitIndex == 2 && node.status.appliedIndex == 1)
        #expect(node.status.applyStall == "what was committed 2 s ago is not applied yet")
        #expect(node.metrics.applyBehindMilliseconds == UInt64(Self.stall) * 10)
        node.run(.log, .apply)
        node.tick()
        #expect(node.status.diskStall == nil && node.status.applyStall == nil && node.status.appliedIndex == 2)
    }

    /// It leads no more, and says why it is of no use.
    @Test func aLeader() throws {
        let node = try ShellHarness(members: 3)
        node.elect()
        _ = node.put([1])
        for _ in 0...Self.stall {
            node.tick(1, running: [.apply, .read])
            guard node.core.isLeader else { continue }
            // The others' disks take what its own does not.
            let reply = AppendReply(term: node.core.term, outcome: .matched(node.core.lastIndex))
            for number in [2, 3] { node.step(.appendReply(reply), from: number) }
        }
        #expect(!node.core.isLeader && node.status.diskStall != nil)
    }

    /// The log takes everything, but what is committed is not applied.
    @Test func anEngineThatIsBehind() throws {
        let node = try ShellHarness()
        _ = node.put([1])
        node.run(.log)
        node.tick(Self.stall, running: [.log, .read])
        #expect(node.status.applyStall == nil && Self.warnings(node).isEmpty)
        node.tick(1, running: [.log, .read])
        #expect(node.status.applyStall != nil && node.status.diskStall == nil)
        #expect(node.metrics.applyBehindMilliseconds >= UInt64(Self.stall) * 10)
        #expect(Self.warnings(node).count == 1)
        node.run(.apply)
        node.tick()
        #expect(node.status.applyStall == nil && node.metrics.applyBehindMilliseconds == 0)
        node.tick(1_000)
        #expect(Self.warnings(node).count == 2 && Self.warnings(node)[1].contains("caught up"))
    }

    /// Writes that come all the time, each applied soon: nothing is behind, though never all is applied.
    @Test func anEngineThatKeepsUp() throws {
        let node = try ShellHarness()
        for round in 0..<300 {
            _ = node.put([UInt8(round % 250)])
            node.run(.log)
            _ = node.put([UInt8(round % 250)])
            node.runOnce(.apply)
            node.tick(1, running: [.log])
        }
        #expect(node.status.applyStall == nil && Self.warnings(node).isEmpty)
    }
}
