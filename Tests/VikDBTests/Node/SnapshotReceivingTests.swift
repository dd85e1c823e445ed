import NIOCore
import Testing
import VikDB
import VikTestSupport
import VikWire

/// A follower that is sent a snapshot, as its parts come, and as they do not (snapshot-chunks).
@Suite struct SnapshotReceivingTests {
    /// A follower of member 2 whose log has one entry.
    private static func follower(on fileSystem: MemoryFileSystem = MemoryFileSystem()) throws -> ShellHarness {
        let node = try ShellHarness(members: 3, fileSystem: fileSystem)
        if node.core.lastIndex == 0 { node.step(node.firstAppend, from: 2) }
        node.run(.log, .apply)
        _ = node.peers.take(to: 2)
        return node
    }

    private static func snapshot(
        _ transfer: UInt64, term: Term = 1, index: LogIndex = 50, value: [UInt8] = [1], for node: ShellHarness
    ) -> SentSnapshot {
        SentSnapshot(transfer, term: term, index: index, value: value, node.configuration)
    }

    private static func expectState(_ value: [UInt8], through index: LogIndex, _ node: ShellHarness) throws {
        #expect(node.core.lastIndex == index && node.core.baseIndex == index && node.core.commit == index)
        #expect(node.failure == nil && node.core.configuration == node.configuration)
        #expect(
            try node.engine.view().execute(.get(key: Array("key".utf8)))
                == .value(StoredValue(bytes: value, version: index)))
    }

    @Test func takenInChunkByChunk() throws {
        let node = try Self.follower()
        let sent = Self.snapshot(7, for: node)
        #expect(node.answers(to: .snapshotOffer(sent.offer)) == [.wants(sequence: 1)])
        #expect(node.answers(to: .snapshotChunk(sent.chunks[0])) == [.wants(sequence: 2)])
        node.tick()
        #expect(node.status.incomingSnapshotPercent ?? 0 > 0)
        #expect(node.answers(to: .snapshotChunk(sent.chunks[1])) == [.wants(sequence: 3)])
        #expect(node.core.lastIndex == 1)
        #expect(node.answers(to: .snapshotEnd(sent.end)) == [.installed(50)])
        try Self.expectState([1], through: 50, node)
        node.tick()
        #expect(node.status.incomingSnapshotPercent == nil)
        // The log goes on after it.
        node.step(.append(term: 1, after: (50, 1), [1]), from: 2)
        node.run(.log)
        #expect(node.peers.take(to: 2).contains(.matched(51, term: 1)))
    }

    /// A chunk that is doubled, early, of another transfer, or comes before any offer is dropped, and so is an early end.
    @Test func partsOutOfPlaceAreDropped() throws {
        let node = try Self.follower()
        let (sent, other) = (Self.snapshot(7, for: node), Self.snapshot(8, value: [2], for: node))
        #expect(node.answers(to: .snapshotChunk(sent.chunks[0])) == [])
        #expect(node.answers(to: .snapshotOffer(sent.offer)) == [.wants(sequence: 1)])
        for dropped: Message in [
            .snapshotChunk(sent.chunks[1]), .snapshotChunk(other.chunks[0]), .snapshotEnd(sent.end),
            .snapshotEnd(other.end),
        ] {
            #expect(node.answers(to: dropped) == [])
        }
        #expect(node.answers(to: .snapshotChunk(sent.chunks[0])) == [.wants(sequence: 2)])
        for dropped: Message in [
            .snapshotChunk(sent.chunks[0]), .snapshotChunk(other.chunks[1]), .snapshotEnd(sent.end),
        ] {
            #expect(node.answers(to: dropped) == [])
        }
        // Asked again, as after a broken connection, it says what it lacks.
        #expect(node.answers(to: .snapshotOffer(sent.offer)) == [.wants(sequence: 2)])
        #expect(node.answers(to: .snapshotChunk(sent.chunks[1])) == [.wants(sequence: 3)])
        #expect(node.answers(to: .snapshotEnd(sent.end)) == [.installed(50)])
        try Self.expectState([1], through: 50, node)
        for late: Message in [.snapshotChunk(sent.chunks[1]), .snapshotEnd(sent.end)] {
            #expect(node.answers(to: late) == [])
        }
        #expect(node.answers(to: .snapshotOffer(sent.offer)) == [.installed(50)])
    }

    /// Damaged parts, and an end that is not that of what came, end the transfer and change nothing; the next one works.
    @Test func spoiltTransfersAreRefused() throws {
        let fileSystem = MemoryFileSystem()
        let node = try Self.follower(on: fileSystem)
        let files = try fileSystem.list("/tables")
        func begin(_ transfer: UInt64) -> SentSnapshot {
            let sent = Self.snapshot(transfer, for: node)
            #expect(node.answers(to: .snapshotOffer(sent.offer)) == [.wants(sequence: 1)])
            return sent
        }
        var chunk = begin(1).chunks[0]
        chunk.rawChecksum ^= 1
        #expect(node.answers(to: .snapshotChunk(chunk)) == [.refused])
        chunk = begin(2).chunks[0]
        chunk.encoding = .zlib
        #expect(node.answers(to: .snapshotChunk(chunk)) == [.refused])
        // Whole, but no records.
        chunk = begin(3).chunks[0]
        chunk.bytes = ByteBuffer(string: "no record")
        chunk.rawBytes = UInt32(chunk.bytes.readableBytes)
        chunk.rawChecksum = Checksum.crc32(chunk.bytes)
        #expect(node.answers(to: .snapshotChunk(chunk)) == [.refused])
        for (offset, spoil) in [
            { $0.checksum ^= 1 }, { $0.records += 1 }, { $0.rawBytes -= 1 },
        ].enumerated() as EnumeratedSequence<[(inout SnapshotEnd) -> Void]> {
            let sent = begin(UInt64(4 + offset))
            for chunk in sent.chunks { #expect(node.answers(to: .snapshotChunk(chunk)).count == 1) }
            var end = sent.end
            spoil(&end)
            #expect(node.answers(to: .snapshotEnd(end)) == [.refused])
        }
        #expect(node.core.lastIndex == 1 && node.core.mayServeReads && node.failure == nil)
        #expect(try fileSystem.list("/tables") == files, "nothing is left behind")
        try take(begin(9), node)
        try Self.expectState([1], through: 50, node)
    }

    private func take(_ sent: SentSnapshot, _ node: ShellHarness, from leader: Int = 2) throws {
        for chunk in sent.chunks { _ = node.answers(to: .snapshotChunk(chunk), from: leader) }
        #expect(node.answers(to: .snapshotEnd(sent.end), from: leader) == [.installed(sent.offer.index)])
    }

    /// The next leader sends its own snapshot; what the one before sent counts for nothing in it.
    @Test func anotherLeaderBeginsAnew() throws {
        let node = try Self.follower()
        let (old, new) = (Self.snapshot(7, for: node), Self.snapshot(8, term: 2, index: 60, value: [2], for: node))
        _ = node.answers(to: .snapshotOffer(old.offer))
        _ = node.answers(to: .snapshotChunk(old.chunks[0]))
        #expect(node.answers(to: .snapshotOffer(new.offer), from: 3) == [.wants(sequence: 1)])
        #expect(node.answers(to: .snapshotChunk(old.chunks[1])) == [])
        try take(new, node, from: 3)
        try Self.expectState([2], through: 60, node)
    }

    /// A leader that has compacted again offers a newer one at once (etcd#18055).
    @Test func twoInQuickSuccession() throws {
        let node = try Self.follower()
        let first = Self.snapshot(7, for: node)
        let second = Self.snapshot(8, index: 60, value: [2], for: node)
        _ = node.answers(to: .snapshotOffer(first.offer))
        for chunk in first.chunks { _ = node.answers(to: .snapshotChunk(chunk)) }
        // The first one is whole, and is being installed, when the second one is offered: it has to wait.
        node.step(.snapshotEnd(first.end), from: 2)
        #expect(node.core.isInstalling)
        node.step(.snapshotOffer(second.offer), from: 2)
        node.step(.snapshotChunk(second.chunks[0]), from: 2)
        #expect(node.answers(to: .heartbeat(1)) == [.installed(50)])
        try Self.expectState([1], through: 50, node)
        #expect(node.answers(to: .snapshotOffer(second.offer)) == [.wants(sequence: 1)])
        try take(second, node)
        try Self.expectState([2], through: 60, node)
    }

    /// Restarted in the midst of a transfer it knows nothing of it, and has no files of it (logcabin#174).
    @Test func restartedInTheMidst() throws {
        let fileSystem = MemoryFileSystem()
        var node = try Self.follower(on: fileSystem)
        let sent = Self.snapshot(7, for: node)
        _ = node.answers(to: .snapshotOffer(sent.offer))
        _ = node.answers(to: .snapshotChunk(sent.chunks[0]))
        var random = SplitMix64(seed: 1)
        fileSystem.crash(keep: .all, using: &random)
        node = try Self.follower(on: fileSystem)
        #expect(node.core.lastIndex == 1)
        #expect(node.answers(to: .snapshotChunk(sent.chunks[1])) == [])
        #expect(node.answers(to: .snapshotOffer(sent.offer)) == [.wants(sequence: 1)])
        try take(sent, node)
        try Self.expectState([1], through: 50, node)
        fileSystem.crash(keep: .none, using: &random)
        try Self.expectState([1], through: 50, try Self.follower(on: fileSystem))
    }

    /// A node that has caught up through its log meanwhile needs no snapshot.
    @Test func overtakenByTheLog() throws {
        let node = try Self.follower()
        let sent = Self.snapshot(7, index: 3, for: node)
        _ = node.answers(to: .snapshotOffer(sent.offer))
        for chunk in sent.chunks { _ = node.answers(to: .snapshotChunk(chunk)) }
        node.step(.append(term: 1, after: (1, 1), [1, 1, 1], commit: 4), from: 2)
        node.run(.log, .apply)
        #expect(node.answers(to: .snapshotEnd(sent.end)) == [])
        #expect(node.core.lastIndex == 4 && node.core.baseIndex == 0)
        node.tick()
        #expect(node.status.incomingSnapshotPercent == nil && node.status.appliedIndex == 4)
    }

    /// One for which the disk has no room is refused before a byte of it is taken.
    @Test func refusedForLackOfSpace() throws {
        let node = try Self.follower()
        let sent = Self.snapshot(7, for: node)
        let needed = ShellHarness.impatient.minFreeBytes + sent.offer.estimatedBytes
        node.handle(.freeSpace(bytes: needed - 1))
        #expect(node.answers(to: .snapshotOffer(sent.offer)) == [.refused])
        node.handle(.freeSpace(bytes: needed))
        #expect(node.answers(to: .snapshotOffer(sent.offer)) == [.wants(sequence: 1)])
    }
    // MARK: Senders that are not what they should be

    /// Memory is bounded by the window, whatever a sender sends.
    @Test func chunksBeyondTheWindowAreRefused() throws {
        let node = try Self.follower()
        let sent = Self.snapshot(7, for: node)
        _ = node.answers(to: .snapshotOffer(sent.offer))
        func chunk(_ sequence: Int) -> Message {
            var chunk = sent.chunks[0]
            chunk.sequence = UInt64(sequence)
            return .snapshotChunk(chunk)
        }
        let window = WireLimits.maxSnapshotWindow
        for dropped in [2, window] { #expect(node.answers(to: chunk(dropped)) == []) }
        #expect(node.peers.refused.isEmpty)
        for refused in [window + 1, window + 2, 1 << 48] { #expect(node.answers(to: chunk(refused)) == []) }
        #expect(node.peers.refused.count == 3 && node.failure == nil)
        // It moves with what is taken in.
        _ = node.answers(to: .snapshotChunk(sent.chunks[0]))
        #expect(node.answers(to: chunk(window + 1)) == [] && node.peers.refused.count == 3)
        #expect(node.answers(to: chunk(window + 2)) == [] && node.peers.refused.count == 4)
        _ = node.answers(to: .snapshotChunk(sent.chunks[1]))
        #expect(node.answers(to: .snapshotEnd(sent.end)) == [.installed(50)])
    }

    @Test(arguments: [0, 3, .max - 1, .max] as [UInt64])
    func anEndWithAnotherNumberOfChunksIsDropped(chunks: UInt64) throws {
        let node = try Self.follower()
        let sent = Self.snapshot(7, for: node)
        _ = node.answers(to: .snapshotOffer(sent.offer))
        var end = sent.end
        end.chunks = chunks
        for chunk in sent.chunks {
            #expect(chunks == 0 || node.answers(to: .snapshotEnd(end)) == [])
            _ = node.answers(to: .snapshotChunk(chunk))
        }
        #expect(node.answers(to: .snapshotEnd(end)) == [])
        #expect(node.answers(to: .snapshotEnd(sent.end)) == [.installed(50)])
    }

    /// Without members there is no cluster to go on with: nothing is replaced.
    @Test func oneWithoutAConfigurationIsRefused() throws {
        let fileSystem = MemoryFileSystem()
        let node = try Self.follower(on: fileSystem)
        let files = try fileSystem.list("/tables")
        let value = TestRecord(key: Array("key".utf8), index: 50, value: [1])
        try expectRefused(SentSnapshot(1, index: 50, [value]), node)
        func stored(_ value: [UInt8], key: String = "configuration", index: LogIndex = 1) -> TestRecord {
            TestRecord(space: 0, key: Array(key.utf8), index: index, value: value)
        }
        let configuration = Array(node.configuration.encoded().readableBytesView)
        let noMembers = Array(configuration.prefix(16)) + [0, 0]
        var stranger = node.configuration
        stranger.incarnation = Incarnation(high: 9, low: 9)
        for (transfer, record) in [
            stored(configuration, key: "configuratio"), stored([]), stored(noMembers), stored(configuration + [0]),
            stored(configuration, index: 51), stored(configuration, index: 0),
            stored(Array(stranger.encoded().readableBytesView)),
        ].enumerated() {
            try expectRefused(SentSnapshot(UInt64(2 + transfer), index: 50, [record, value]), node)
        }
        #expect(try fileSystem.list("/tables") == files, "nothing is left behind")
        let good = Self.snapshot(20, for: node)
        #expect(node.answers(to: .snapshotOffer(good.offer)) == [.wants(sequence: 1)])
        try take(good, node)
        try Self.expectState([1], through: 50, node)
    }

    /// Refused at its first wrong part, or at its end.
    private func expectRefused(_ sent: SentSnapshot, _ node: ShellHarness) throws {
        #expect(node.answers(to: .snapshotOffer(sent.offer)) == [.wants(sequence: 1)])
        var answers: [SnapshotReply.Outcome] = []
        for chunk in sent.chunks where answers.last != .refused { answers += node.answers(to: .snapshotChunk(chunk)) }
        if answers.last != .refused { answers += node.answers(to: .snapshotEnd(sent.end)) }
        #expect(answers.last == .refused, "transfer \(sent.offer.transfer)")
        #expect(node.failure == nil && node.core.lastIndex == 1 && node.core.mayServeReads)
    }

    /// The estimate of an offer binds nobody: the room that there is is looked at for every chunk, and when it is measured.
    @Test func givenUpWhenTheRoomEnds() throws {
        let node = try Self.follower()
        let sent = Self.snapshot(7, for: node)
        let (first, second) = (UInt64(sent.chunks[0].rawBytes), UInt64(sent.chunks[1].rawBytes))
        let least = ShellHarness.impatient.minFreeBytes
        let estimate = sent.offer.estimatedBytes
        #expect(estimate < first + second)
        // Room for the estimate, not for what comes.
        node.handle(.freeSpace(bytes: least + first + second - 1))
        _ = node.answers(to: .snapshotOffer(sent.offer))
        #expect(node.answers(to: .snapshotChunk(sent.chunks[0])) == [.wants(sequence: 2)])
        #expect(node.answers(to: .snapshotChunk(sent.chunks[1])) == [.refused])
        // Somebody else takes the room meanwhile.
        node.handle(.freeSpace(bytes: least + first + second))
        _ = node.answers(to: .snapshotOffer(Self.snapshot(8, for: node).offer))
        node.handle(.freeSpace(bytes: least - 1))
        node.run(.snapshot, .log)
        #expect(
            node.peers.take(to: 2).contains(
                .snapshotReply(SnapshotReply(term: 1, transfer: 8, outcome: .refused))))
        // What is written shows in the next measurement, and is not counted twice.
        node.handle(.freeSpace(bytes: least + first))
        let last = Self.snapshot(9, for: node)
        _ = node.answers(to: .snapshotOffer(last.offer))
        _ = node.answers(to: .snapshotChunk(last.chunks[0]))
        node.handle(.freeSpace(bytes: least + second))
        _ = node.answers(to: .snapshotChunk(last.chunks[1]))
        #expect(node.answers(to: .snapshotEnd(last.end)) == [.installed(50)])
    }
}

extension ShellHarness {
    /// What the node says of a transfer after a message from its leader.
    fileprivate func answers(to message: Message, from leader: Int = 2) -> [SnapshotReply.Outcome] {
        step(message, from: leader)
        run(.snapshot, .background, .log, .apply)
        return peers.take(to: leader).compactMap {
            if case .snapshotReply(let reply) = $0 { reply.outcome } else { nil }
        }
    }
}
