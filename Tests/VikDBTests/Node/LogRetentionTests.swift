import Testing
import VikDB
import VikTestSupport
import VikWire

/// What of the log is kept beyond what the tables hold.
@Suite struct LogRetentionTests {
    // MARK: The rule

    /// Entries 1 to 100, all of them in tables, and no reason to keep any.
    private static func retention(
        flushed: LogIndex = 100, last: LogIndex = 100, tailEntries: UInt64 = 0, tailStart: LogIndex = 101,
        neededByPeers: LogIndex? = nil, logBytes: UInt64 = 50, maxLogBytes: UInt64 = 1_000
    ) -> LogIndex {
        LogRetention(
            flushed: flushed, last: last, tailEntries: tailEntries, tailStart: tailStart,
            neededByPeers: neededByPeers, logBytes: logBytes, maxLogBytes: maxLogBytes
        ).discardable
    }

    @Test func whatTheTablesLackIsKept() {
        #expect(Self.retention() == 100)
        #expect(Self.retention(flushed: 99) == 99)
        #expect(Self.retention(flushed: 0) == 0)
        // However large the log is.
        #expect(Self.retention(flushed: 40, logBytes: 2_000) == 40)
    }

    @Test(arguments: [(0, 100), (1, 99), (99, 1), (100, 0), (101, 0), (.max, 0)] as [(UInt64, LogIndex)])
    func theNewestEntriesAreKept(tailEntries: UInt64, discardable: LogIndex) {
        // With room for all of them in bytes.
        #expect(Self.retention(tailEntries: tailEntries, tailStart: 1) == discardable)
        #expect(Self.retention(tailEntries: tailEntries, tailStart: 0) == discardable)
    }

    /// The tail has two limits; the narrower one counts.
    @Test func theTailIsNoLargerThanItsBytes() {
        #expect(Self.retention(tailEntries: 50, tailStart: 51) == 50)
        #expect(Self.retention(tailEntries: 50, tailStart: 52) == 51)
        #expect(Self.retention(tailEntries: 50, tailStart: 50) == 50)
        #expect(Self.retention(tailEntries: .max, tailStart: 90) == 89)
        #expect(Self.retention(flushed: 30, tailEntries: 50, tailStart: 90) == 30)
    }

    @Test func whatFollowersNeedIsKept() {
        #expect(Self.retention(neededByPeers: 70) == 70)
        #expect(Self.retention(tailEntries: 50, tailStart: 1, neededByPeers: 70) == 50)
        #expect(Self.retention(tailEntries: 50, tailStart: 1, neededByPeers: 30) == 30)
        #expect(Self.retention(neededByPeers: 0) == 0)
        #expect(Self.retention(neededByPeers: 200) == 100)
    }

    @Test func notPastTheLimit() {
        #expect(Self.retention(neededByPeers: 30, logBytes: 999) == 30)
        #expect(Self.retention(neededByPeers: 30, logBytes: 1_000) == 100)
        #expect(Self.retention(neededByPeers: 30, maxLogBytes: 0) == 100)
        // The tail stays all the same.
        #expect(Self.retention(tailEntries: 50, tailStart: 1, neededByPeers: 30, logBytes: 1_000) == 50)
    }

    // MARK: At a leader

    /// A leader of three with segments of 4 KiB and no tail. Every entry has one KiB.
    private struct Leader {
        let node: ShellHarness

        init(_ change: (inout NodeOptions) -> Void = { _ in }) throws {
            var options = ShellHarness.impatient
            options.logTailEntries = 0
            options.housekeepingTicks = 10
            change(&options)
            var engineOptions = EngineOptions()
            engineOptions.memtableMaxBytes = EngineOptions.minMemtableBytes
            node = try ShellHarness(
                members: 3, options: options, logOptions: LogOptions(segmentBytes: 4_096),
                engineOptions: engineOptions)
            node.elect()
        }

        /// So long does member 2 not answer that it does not count.
        func silence() { node.tick(60, answeredBy: [3]) }

        /// Writes entries that member 3 acknowledges, and member 2 up to `index`, and lets time pass.
        func write(_ count: Int, matchOfOther index: LogIndex?, answeredBy peers: [Int] = [2, 3]) {
            for number in 0..<count {
                _ = node.put([UInt8](repeating: 7, count: 1_000), key: "k\(number % 10)")
                node.run(.log)
                node.acknowledge(from: 3)
                if let index { node.acknowledge(through: index, from: 2) }
                node.run(.apply, .background)
                if number % 5 == 0 { node.tick(1, answeredBy: peers) }
            }
            node.tick(10, answeredBy: peers)
        }

        /// The first entry that the log has.
        var first: LogIndex { node.status.firstLogIndex }
    }

    @Test func theLogGoesOnWithTheSlowerFollower() throws {
        let leader = try Leader()
        leader.write(200, matchOfOther: 50)
        // Whole segments go, so not all of what may.
        #expect(leader.first > 30 && leader.first <= 51, "\(leader.first)")
        leader.node.acknowledge(from: 2)
        leader.write(100, matchOfOther: 150)
        #expect(leader.first > 130 && leader.first <= 202, "\(leader.first)")
    }

    @Test func aFollowerThatDoesNotAnswerKeepsNothing() throws {
        let leader = try Leader()
        leader.write(50, matchOfOther: 20)
        #expect(leader.first <= 21)
        leader.silence()
        leader.write(300, matchOfOther: nil, answeredBy: [3])
        #expect(leader.first > 250, "\(leader.first)")
    }

    @Test func aFollowerKeepsNoMoreThanTheMaximum() throws {
        let leader = try Leader { $0.logRetentionMaxBytes = 128 << 10 }
        leader.write(60, matchOfOther: 20)
        #expect(leader.first <= 21)
        leader.write(300, matchOfOther: 20)
        #expect(leader.first > 200, "\(leader.first)")
    }

    @Test func theTailStays() throws {
        let leader = try Leader { $0.logTailEntries = 100 }
        leader.silence()
        leader.write(300, matchOfOther: nil, answeredBy: [3])
        #expect(leader.first > 150 && leader.first <= leader.node.core.lastIndex - 99, "\(leader.first)")
        let small = try Leader {
            $0.logTailEntries = 100
            $0.logTailBytes = 16 << 10
        }
        small.silence()
        small.write(300, matchOfOther: nil, answeredBy: [3])
        #expect(small.first > 220 && small.first <= small.node.core.lastIndex - 15, "\(small.first)")
    }

    /// What follows a snapshot that is under way stays: its receiver would need the next one at once.
    @Test func aReceiverFindsTheEntryAfterItsSnapshot() throws {
        let leader = try Leader()
        leader.silence()
        leader.write(200, matchOfOther: nil, answeredBy: [3])
        try #require(leader.first > 100)
        // Member 2 is back, and is sent a snapshot of what is there now.
        let member = ShellHarness.member(2)
        leader.node.handle(.peerDisconnected(member))
        try #require(leader.node.core.isInstalling(member))
        let last = leader.node.core.lastIndex
        leader.write(200, matchOfOther: nil)
        #expect(leader.node.core.isInstalling(member))
        #expect(leader.first > last - 20 && leader.first <= last + 1, "\(leader.first), the snapshot ends with \(last)")
    }
}
