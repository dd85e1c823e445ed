import NIOCore
import NIOPosix
import Synchronization
import Testing
import VikDB
import VikWire

/// Connections that break the protocol: each is closed alone.
@Suite struct TransportRefusalTests {
    /// Node 1, whose peers are 2 (which runs) and 3 (which the test plays).
    private static func pair(
        configure: @escaping @Sendable (inout TransportOptions) -> Void = { _ in },
        _ body: (TransportNode, TransportNode) async throws -> Void
    ) async throws {
        let nodes = [TransportNode(1), TransportNode(2)]
        try await TransportNode.running(nodes) {
            try await nodes[0].start(incarnation: Incarnation(high: 1, low: 1), configure: configure)
            try await nodes[1].start()
            let third = try HostPort(host: "127.0.0.1", port: 1)
            try await nodes[0].setPeers([(nodes[1].member, nodes[1].address), (MemberID(rawValue: 3), third)])
            try await nodes[1].setPeers([nodes[0]])
            try await eventually("both links both ways") {
                nodes.allSatisfy { $0.seen.withLock { $0.up.count == 2 && $0.accepted.count == 2 } }
            }
            try await body(nodes[0], nodes[1])
            try await checkUnharmed(nodes[0], nodes[1])
        }
    }

    private static func checkUnharmed(_ node: TransportNode, _ other: TransportNode) async throws {
        let messages: [Message] = [.heartbeat(round: 99), .append(after: 0, count: 1, bytes: 10)]
        try await other.send(messages, to: node.member)
        try await eventually("messages from the other peer") {
            node.seen.withLock { seen in
                messages.allSatisfy { message in seen.messages.contains { $0 == (message, other.member) } }
            }
        }
        #expect(other.seen.withLock { $0.disconnected.isEmpty })
        #expect(node.seen.withLock { $0.disconnected.isEmpty })
        try await eventually("the end of the last read") { node.seen.withLock { $0.unfinished } == 0 }
    }

    private static func header(length: UInt32, type: UInt8 = 1) -> ByteBuffer {
        var bytes = ByteBuffer()
        bytes.writeMultipleIntegers(length, type, UInt8(0), UInt16(0), UInt32(0))
        return bytes
    }

    private static func hello(_ change: (inout Hello) -> Void) -> ByteBuffer {
        var hello = Hello.from(3, to: 1, .control)
        change(&hello)
        return hello.dialled
    }

    static let refusedHellos: [String: ByteBuffer] = [
        "HTTP": ByteBuffer(string: "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        "length 0": header(length: 0),
        "length 0x401": header(length: 0x401),
        "length 0x7fffffff": header(length: 0x7fff_ffff),
        "length 0xffffffff": header(length: 0xffff_ffff),
        "a message before the hello": Message.heartbeat(round: 1).frame,
        "an append before the hello": Message.append(after: 0, count: 1, bytes: 1).frame,
        "an answer instead of a hello": Hello.from(3, to: 1, .control).answered,
        "a type for later": header(length: 40, type: 32),
        "a bad checksum": Hello.from(3, to: 1, .control).dialled.damaged(at: 8),
        "another magic": Hello.from(3, to: 1, .control).dialled.damaged(at: 12),
        "a later version": hello { ($0.minVersion, $0.maxVersion) = (2, 3) },
        "an unknown member": hello { $0.member = MemberID(rawValue: 4) },
        "the node's own member id": hello { $0.member = MemberID(rawValue: 1) },
        "the node's own label": hello { $0.label = "node1" },
        "a flag that only an answer may have": hello { $0.isPeerUnknown = true },
        "another member meant": hello { $0.peer = MemberID(rawValue: 2) },
        "another cluster": hello { $0.incarnation = Incarnation(high: 1, low: 2) },
        "a challenge that this node has no secret for": header(length: 44, type: 3),
    ]

    @Test(arguments: refusedHellos.keys.sorted())
    func refusedHello(_ name: String) async throws {
        try await Self.pair { node, _ in
            let raw = try await RawPeer.dial(node.port)
            try await raw.send(Self.refusedHellos[name]!)
            try await eventually("the end of the connection") { raw.isClosed }
            #expect(raw.received.readableBytes == 0)
            #expect(node.seen.withLock { $0.accepted.count } == 2)
        }
    }

    @Test func refusalIsLoggedOnceForEachCause() async throws {
        try await Self.pair { node, _ in
            let before = node.log.warnings.count
            // In turn, as two nodes on one machine would be.
            for _ in 0..<5 {
                for name in ["an unknown member", "another cluster"] {
                    let raw = try await RawPeer.dial(node.port)
                    try await raw.send(Self.refusedHellos[name]!)
                    try await eventually("the end of the connection") { raw.isClosed }
                }
            }
            let refusals = node.log.warnings.filter { $0.contains("refused a replication connection") }
            #expect(refusals.count == 2 && node.log.warnings.count <= before + 4, "\(refusals)")
        }
    }

    static let violations: [String: (channel: VikWire.Channel, bytes: ByteBuffer)] = [
        "garbage": (.control, ByteBuffer(repeating: 0xa5, count: 4_000)),
        "length 0": (.control, header(length: 0, type: 20)),
        "length 0x7fffffff": (.bulk, header(length: 0x7fff_ffff, type: 18)),
        "length 0xffffffff": (.bulk, header(length: 0xffff_ffff, type: 18)),
        "a second hello": (.control, Hello.from(3, to: 1, .control).dialled),
        "an append on control": (.control, Message.append(after: 0, count: 1, bytes: 1).frame),
        "a heartbeat on bulk": (.bulk, Message.heartbeat(round: 1).frame),
        "a reserved type": (.bulk, header(length: 16, type: 33)),
        "an impossible term": (.control, Message.heartbeat(Heartbeat(term: .max, commit: 0, round: 0)).frame),
    ]

    @Test(arguments: violations.keys.sorted())
    func violationAfterTheHandshake(_ name: String) async throws {
        let (channel, bytes) = Self.violations[name]!
        try await Self.pair { node, _ in
            let raw = try await RawPeer.dial(node.port)
            let hello = Hello.from(3, to: 1, channel)
            let good: Message = channel == .bulk ? .append(after: 0, count: 2, bytes: 5) : .heartbeat(round: 5)
            try await raw.send(hello.dialled)
            try await eventually("the answer") { raw.received.readableBytes > 0 }
            var last = good.frame
            last.writeImmutableBuffer(bytes)
            try await raw.send(last)
            try await eventually("the end of the connection") { raw.isClosed }
            let received = node.seen.withLock { $0.messages }.filter { $0.from == hello.member }.map(\.message)
            #expect(received == [good], "what came before is used, what came with the violation is not")
        }
    }

    @Test func silentAndTricklingStrangersAreClosed() async throws {
        try await Self.pair(configure: { $0.handshakeTimeout = .milliseconds(300) }) { node, _ in
            let silent = try await RawPeer.dial(node.port)
            let trickling = try await RawPeer.dial(node.port)
            for byte in Hello.from(3, to: 1, .control).dialled.readableBytesView where !trickling.isClosed {
                try? await trickling.send(ByteBuffer(integer: byte))
                try await Task.sleep(for: .milliseconds(5))
            }
            try await eventually("the end of both") { silent.isClosed && trickling.isClosed }
            #expect(node.seen.withLock { $0.accepted.count } == 2)
        }
    }

    @Test func tricklingPeerHoldsUpNobody() async throws {
        try await Self.pair { node, other in
            let raw = try await RawPeer.dial(node.port)
            let message = Message.append(after: 0, count: 2, bytes: 3)
            try await raw.send(Hello.from(3, to: 1, .bulk).dialled)
            for byte in message.frame.readableBytesView {
                try await raw.send(ByteBuffer(integer: byte))
                try await other.send([.heartbeat(round: 1)], to: node.member)
            }
            try await eventually("all of it") {
                node.seen.withLock { $0.messages.contains { $0 == (message, MemberID(rawValue: 3)) } }
            }
            try await raw.close()
        }
    }

    @Test func strangersAreLimited() async throws {
        try await Self.pair(configure: { $0.maxStrangers = 4 }) { node, _ in
            var raws: [RawPeer] = []
            for _ in 0..<20 { raws.append(try await RawPeer.dial(node.port)) }
            try await eventually("the end of all but four") { raws.count { $0.isClosed } == 16 }
            for raw in raws { try await raw.close() }
            let raw = try await RawPeer.dial(node.port)
            let hello = Hello.from(3, to: 1, .control)
            try await raw.send(hello.dialled)
            try await eventually("the answer") { raw.received.readableBytes > 0 }
            try await raw.close()
        }
    }

    @Test func newerConnectionReplacesTheOlder() async throws {
        try await Self.pair { node, _ in
            let hello = Hello.from(3, to: 1, .control)
            let older = try await RawPeer.dial(node.port)
            try await older.send(hello.dialled)
            try await eventually("the answer") { older.received.readableBytes > 0 }
            let bulk = try await RawPeer.dial(node.port)
            try await bulk.send(Hello.from(3, to: 1, .bulk).dialled)
            let newer = try await RawPeer.dial(node.port)
            try await newer.send(hello.dialled)
            try await eventually("the end of the older one") { older.isClosed }
            try await newer.send(Message.heartbeat(round: 7).frame)
            try await eventually("its message") {
                node.seen.withLock { $0.messages.contains { $0 == (.heartbeat(round: 7), hello.member) } }
            }
            #expect(!newer.isClosed && !bulk.isClosed)
            try await newer.close()
            try await bulk.close()
        }
    }

    @Test func wrongAnswerIsRefusedAndLoggedOnce() async throws {
        try await TransportNode.dialling(answer: { Hello.from(4, to: 1, $0).answered }) { node, connections in
            try await eventually("several attempts") { connections().count >= 8 }
            #expect(node.seen.withLock { $0.connected.isEmpty })
            #expect(node.log.warnings.count == 2, "one line for each channel: \(node.log.warnings)")
        }
    }

    @Test func closingStopsRetriesThatAreDue() async throws {
        for _ in 0..<5 {
            try await TransportNode.dialling(answer: { Hello.from(4, to: 1, $0).answered }) { node, connections in
                try await eventually("a pause between attempts") { connections().count >= 4 }
                try await node.closeTogetherWithTimers(stall: .milliseconds(60))
                let before = connections().count
                try await Task.sleep(for: .milliseconds(60))
                #expect(connections().count <= before + 2, "at most what was on its way")
            }
        }
    }

    @Test func acceptorMayNotSpeakAfterItsHello() async throws {
        try await TransportNode.dialling(answer: { Hello.from(3, to: 1, $0).answered }) { node, connections in
            try await eventually("both links") { node.seen.withLock { $0.up.count } == 2 }
            let first = connections()
            try await first[0].send(Message.heartbeat(round: 1).frame)
            try await eventually("its end and another attempt") {
                first[0].isClosed && connections().count == 3 && node.seen.withLock { $0.connected.count } == 3
            }
            #expect(!first[1].isClosed)
            #expect(node.seen.withLock { $0.messages.isEmpty })
        }
    }

    @Test func bulkConnectionThatIsNotReadIsClosedAtItsLimit() async throws {
        let limit = 1 << 20
        let size = 256 << 10
        try await TransportNode.dialling(
            { $0.maxBulkQueueBytes = limit }, answer: { Hello.from(3, to: 1, $0).answered }
        ) { node, connections in
            try await eventually("both links") { node.seen.withLock { $0.up.count } == 2 }
            for raw in connections() { try await raw.stopReading() }
            var sent = 0
            while node.seen.withLock({ $0.disconnected.isEmpty }) {
                try await node.send([.append(after: 0, count: 1, bytes: size)], to: MemberID(rawValue: 3))
                sent += size
                try #require(sent < 64 << 20, "the queue has no bound")
            }
            #expect(node.seen.withLock { $0.disconnected.map(\.channel) } == [.bulk])
            try await eventually("the link again") { node.seen.withLock { $0.up.count } == 2 }
        }
    }
}
