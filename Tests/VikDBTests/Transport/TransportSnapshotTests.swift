import NIOCore
import Synchronization
import Testing
import VikDB
import VikWire

/// The third connection, which is there while a snapshot is sent.
@Suite struct TransportSnapshotTests {
    private static func offer(_ transfer: UInt64) -> Message {
        .snapshotOffer(SnapshotOffer(term: 1, transfer: transfer, index: 5, indexTerm: 1, estimatedBytes: 0))
    }

    private static func chunk(_ sequence: UInt64, bytes: Int) -> Message {
        .snapshotChunk(
            SnapshotChunk(
                term: 1, transfer: 1, sequence: sequence, encoding: .stored, rawBytes: UInt32(bytes), rawChecksum: 0,
                bytes: ByteBuffer(repeating: 1, count: bytes)))
    }

    private static func link(_ node: TransportNode, to other: TransportNode) -> Bool {
        node.seen.withLock { $0.up.contains(.init(member: other.member, channel: .snapshot)) }
    }

    @Test func openedOnDemandAndClosed() async throws {
        try await TransportNode.cluster(2) { nodes in
            let (sender, receiver) = (nodes[0], nodes[1])
            // Not connected, so dropped.
            try await sender.send([Self.offer(1)], to: receiver.member)
            try await sender.openSnapshotConnection(to: receiver.member)
            try await sender.openSnapshotConnection(to: receiver.member)
            try await eventually("the link") {
                Self.link(sender, to: receiver) && receiver.seen.withLock { $0.accepted.last!.channel == .snapshot }
            }
            #expect(receiver.seen.withLock { $0.accepted.count } == 3)
            let messages = [
                Self.offer(2), Self.chunk(1, bytes: 100), Self.chunk(2, bytes: WireLimits.maxSnapshotChunkBytes),
                .snapshotEnd(
                    SnapshotEnd(term: 1, transfer: 1, chunks: 2, records: 2, rawBytes: 100, checksum: 0)),
            ]
            try await sender.send(messages, to: receiver.member)
            try await eventually("all messages") { receiver.seen.withLock { $0.messages.count } == 4 }
            #expect(receiver.seen.withLock { $0.messages }.map(\.message) == messages)

            try await sender.closeSnapshotConnection(to: receiver.member)
            try await sender.closeSnapshotConnection(to: receiver.member)
            try await eventually("word of its end") { !Self.link(sender, to: receiver) }
            try await sender.send([Self.offer(3), .heartbeat(round: 9)], to: receiver.member)
            try await eventually("the heartbeat") { receiver.seen.withLock { $0.messages.count } == 5 }
            #expect(receiver.seen.withLock { $0.messages.last!.message } == .heartbeat(round: 9))

            try await sender.openSnapshotConnection(to: receiver.member)
            try await eventually("the link again") { Self.link(sender, to: receiver) }
            // The others have not noticed any of it.
            #expect(sender.seen.withLock { $0.disconnected.map(\.channel) } == [.snapshot])
            #expect(receiver.seen.withLock { $0.disconnected.isEmpty })
        }
    }

    @Test func cutAndDialledAgainUntilClosed() async throws {
        try await TransportNode.dialling(answer: { Hello.from(3, to: 1, $0).answered }) { node, connections in
            let member = MemberID(rawValue: 3)
            try await eventually("both links") { node.seen.withLock { $0.up.count == 2 } }
            try await node.openSnapshotConnection(to: member)
            for round in 1...3 {
                try await eventually("the link, time \(round)") { node.seen.withLock { $0.up.count == 3 } }
                #expect(connections().count == 2 + round)
                try await connections().last!.close()
                try await eventually("word of the cut") {
                    node.seen.withLock { $0.disconnected.count { $0.channel == .snapshot } == round }
                }
            }
            try await node.closeSnapshotConnection(to: member)
            try await Task.sleep(for: .milliseconds(50))
            let count = connections().count
            try await Task.sleep(for: .milliseconds(200))
            #expect(connections().count == count, "what is closed is not dialled again")
            #expect(node.seen.withLock { $0.disconnected.allSatisfy { $0.channel == .snapshot } })
        }
    }

    @Test func unknownPeerHasNone() async throws {
        try await TransportNode.cluster(2) { nodes in
            try await nodes[0].openSnapshotConnection(to: MemberID(rawValue: 9))
            try await nodes[0].send([Self.offer(1)], to: MemberID(rawValue: 9))
            try await nodes[0].closeSnapshotConnection(to: MemberID(rawValue: 9))
            #expect(nodes[0].seen.withLock { $0.up.count == 2 })
        }
    }

    @Test func goneWithItsPeer() async throws {
        try await TransportNode.cluster(3) { nodes in
            for other in nodes[1...] { try await nodes[0].openSnapshotConnection(to: other.member) }
            try await eventually("both") { nodes[1...].allSatisfy { Self.link(nodes[0], to: $0) } }
            try await nodes[0].setPeers([nodes[2]])
            try await eventually("the end of one") { !Self.link(nodes[0], to: nodes[1]) }
            #expect(Self.link(nodes[0], to: nodes[2]))
            // As a peer anew it is dialled, but its snapshot is another matter.
            try await nodes[0].setPeers([nodes[1], nodes[2]])
            try await eventually("its links") { nodes[0].seen.withLock { $0.up.count == 5 } }
            #expect(!Self.link(nodes[0], to: nodes[1]))
        }
    }

    @Test func newerReplacesTheOlder() async throws {
        let node = TransportNode(1)
        try await TransportNode.running([node]) {
            try await node.start()
            try await node.setPeers([(MemberID(rawValue: 3), try HostPort(host: "127.0.0.1", port: 1))])
            let older = try await RawPeer.dial(node.port)
            try await older.send(Hello.from(3, to: 1, .snapshot).dialled)
            #expect(try await older.next(.helloReply) != nil)
            let newer = try await RawPeer.dial(node.port)
            try await newer.send(Hello.from(3, to: 1, .snapshot).dialled)
            try await eventually("the end of the older one") { older.isClosed }
            try await newer.send(Self.chunk(1, bytes: 10).frame)
            try await eventually("its chunk") { node.seen.withLock { $0.messages.count == 1 } }
            // Each channel has its own frames.
            try await newer.send(Message.heartbeat(round: 1).frame)
            try await eventually("its end") { newer.isClosed }
        }
    }

    @Test func queueIsBounded() async throws {
        let limit = 1 << 20
        let size = 256 << 10
        try await TransportNode.dialling(
            { $0.maxSnapshotQueueBytes = limit }, answer: { Hello.from(3, to: 1, $0).answered }
        ) { node, connections in
            let member = MemberID(rawValue: 3)
            try await eventually("both links") { node.seen.withLock { $0.up.count } == 2 }
            try await node.openSnapshotConnection(to: member)
            try await eventually("the third") { node.seen.withLock { $0.up.count } == 3 }
            for raw in connections() { try await raw.stopReading() }
            var sequence: UInt64 = 0
            while node.seen.withLock({ $0.disconnected.isEmpty }) {
                sequence += 1
                try await node.send([Self.chunk(sequence, bytes: size)], to: member)
                try #require(sequence < 256, "the queue has no bound")
            }
            #expect(node.seen.withLock { $0.disconnected.map(\.channel) } == [.snapshot])
            try await eventually("the link again") { node.seen.withLock { $0.up.count } == 3 }
        }
    }
}
