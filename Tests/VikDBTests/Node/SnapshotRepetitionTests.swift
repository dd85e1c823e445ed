import Testing
import VikDB
import VikTestSupport
import VikWire

/// A snapshot that takes longer than the log lasts: its receiver would need the next one at once, and so on for ever.
@Suite struct SnapshotRepetitionTests {
    /// A leader under load, whose log keeps 64 KiB for others. Member 2, which lacks all of it, plays along.
    private final class World {
        static let keyCount = 100
        let node: ShellHarness
        private let ticksOfChunk: Int
        /// Snapshots that member 2 was offered.
        private(set) var snapshots = 0
        private var offer: SnapshotOffer?
        private var hasEnded = false
        private var taken: [(due: Int, sequence: UInt64)] = []
        private var last: LogIndex = 0
        private var connections = 0
        private var now = 0

        /// - Parameters:
        ///   - rate: in bytes of a second; nil: as fast as it goes.
        ///   - ticksOfChunk: how long member 2 takes for a chunk of 4 KiB.
        init(rate: Int? = nil, ticksOfChunk: Int = 0) throws {
            self.ticksOfChunk = ticksOfChunk
            var options = ShellHarness.impatient
            options.logTailEntries = 0
            options.housekeepingTicks = 5
            options.logRetentionMaxBytes = 64 << 10
            options.snapshotBytesPerSecond = rate
            options.snapshotChunkBytes = 4 << 10
            var engineOptions = EngineOptions()
            engineOptions.memtableMaxBytes = EngineOptions.minMemtableBytes
            node = try ShellHarness(
                members: 3, options: options, logOptions: LogOptions(segmentBytes: 4_096),
                engineOptions: engineOptions)
            node.elect()
            try loseMember2()
        }

        /// Member 2 is away until the log does not have what it needs.
        func loseMember2() throws {
            last = node.core.lastIndex
            node.tick(60, answeredBy: [3])
            for number in 0..<3 * Self.keyCount {
                write()
                if number % 5 == 0 { node.tick(1, answeredBy: [3]) }
            }
            node.tick(10, answeredBy: [3])
            try #require(node.status.firstLogIndex > last + 1)
            _ = node.peers.take(to: 2)
            node.handle(.peerDisconnected(ShellHarness.member(2)))
            try #require(node.core.isInstalling(ShellHarness.member(2)))
        }

        private func write() {
            now += 1
            _ = node.put([UInt8](repeating: 7, count: 1_000), key: "k\(now % Self.keyCount)")
            node.run(.log)
            node.acknowledge(from: 3)
            node.run(.apply, .background)
        }

        /// One KiB of log, and what member 2 does meanwhile.
        func tick() {
            write()
            node.tick(1, answeredBy: [2, 3])
            node.run(.log, .apply, .background, .read, .snapshot)
            if node.peers.snapshotConnections > connections {
                connections = node.peers.snapshotConnections
                node.handle(.snapshotConnected(ShellHarness.member(2)))
            }
            for message in node.peers.take(to: 2) { take(message) }
            while let chunk = taken.first, chunk.due <= now {
                taken.removeFirst()
                reply(.wants(sequence: chunk.sequence + 1))
            }
            if hasEnded, taken.isEmpty, let offer {
                (hasEnded, self.offer, last) = (false, nil, offer.index)
                reply(.installed(offer.index), to: offer)
            }
        }

        /// - Returns: whether member 2 has the log within `ticks`, of which it was sent `snapshots`.
        func catchesUp(within ticks: Int) -> Bool {
            for _ in 0..<ticks where last + 5 < node.core.lastIndex { tick() }
            return last + 5 >= node.core.lastIndex
        }

        private func take(_ message: Message) {
            switch message {
            case .snapshotOffer(let offer):
                if offer != self.offer { snapshots += 1 }
                self.offer = offer
                reply(.wants(sequence: 1))
            case .snapshotChunk(let chunk):
                taken.append((max(now, taken.last?.due ?? 0) + ticksOfChunk, chunk.sequence))
            case .snapshotEnd: hasEnded = true
            case .append(let request) where request.previousIndex <= last:
                last = max(last, request.entries.last?.index ?? 0)
                node.acknowledge(through: last, from: 2)
            default: break
            }
        }

        private func reply(_ outcome: SnapshotReply.Outcome, to other: SnapshotOffer? = nil) {
            guard let offer = other ?? offer else { return }
            let reply = SnapshotReply(term: node.core.term, transfer: offer.transfer, outcome: outcome)
            node.step(.snapshotReply(reply), from: 2)
        }

        var warnings: [String] { node.detailedLines.filter { $0.contains("outran") } }
    }

    /// The rate is what is slow: 100 KiB take 100 KiB of log, then half of it.
    @Test func aRateBelowTheGrowthOfTheLog() throws {
        let world = try World(rate: 100 << 10)
        #expect(world.catchesUp(within: 1_500), "\(world.snapshots) snapshots, and no end of it")
        #expect(world.snapshots == 2 && world.node.counters.snapshotsRepeated == 1, "\(world.snapshots)")
        #expect(world.warnings.count == 1)
        for flag in ["-log-retention-max", "-snapshot-rate"] { #expect(world.warnings[0].contains(flag)) }
    }

    /// The receiver is, or the network: no rate helps, only a longer log.
    @Test func aReceiverBelowTheGrowthOfTheLog() throws {
        let world = try World(ticksOfChunk: 6)
        #expect(world.catchesUp(within: 3_000), "\(world.snapshots) snapshots, and no end of it")
        #expect((2...3).contains(world.snapshots), "\(world.snapshots)")
        #expect(world.node.counters.snapshotsRepeated == world.snapshots - 1)
        #expect(world.warnings.count == world.snapshots - 1)
        // The log shrinks again.
        for _ in 0..<50 { world.tick() }
        #expect(world.node.status.logBytes < 100 << 10, "\(world.node.status.logBytes)")
    }

    /// One that is fast enough is none, nor is the next one after a member has caught up.
    @Test func notEverySnapshotIsARepetition() throws {
        let world = try World()
        for round in 1...3 {
            #expect(world.catchesUp(within: 500) && world.snapshots == round)
            for _ in 0..<20 { world.tick() }
            try world.loseMember2()
        }
        #expect(world.node.counters.snapshotsRepeated == 0 && world.warnings.isEmpty)
    }
}
