import Logging
import NIOCore
import Synchronization
import Testing
import VikDB
import VikWire

/// Connections whose other end is gone without a word: found out by the node, not by the kernel.
@Suite struct TransportDeadPeerTests {
    private static let peer = MemberID(rawValue: 3)

    @Sendable private static func impatient(_ options: inout TransportOptions) {
        options.unacknowledgedTimeout = .milliseconds(400)
        options.watchInterval = .milliseconds(20)
    }

    @Sendable private static func probing(_ options: inout TransportOptions) {
        impatient(&options)
        options.idleSecondsBeforeProbe = 1
    }

    private static func gaveUp(_ node: TransportNode) -> Int {
        node.log.warnings.count { $0.contains("does not acknowledge what it is sent") }
    }

    @Test func bytesThatAreNotAcknowledged() async throws {
        try await TransportNode.dialling(Self.impatient, answer: { Hello.from(3, to: 1, $0).answered }) { node, raws in
            try await eventually("both links") { node.seen.withLock { $0.up.count } == 2 }
            for raw in raws() { try await raw.setDeaf(true) }
            try await node.send([.heartbeat(round: 1)], to: Self.peer)
            try await eventually("the end of one") { !node.seen.withLock { $0.disconnected.isEmpty } }
            #expect(node.seen.withLock { $0.disconnected.map(\.channel) } == [.control], "the idle one owes nothing")
            #expect(Self.gaveUp(node) == 1)
            try await eventually("the link again") { node.seen.withLock { $0.up.count } == 2 }
        }
    }

    @Test func idleConnectionsAreProbed() async throws {
        try await TransportNode.dialling(Self.probing, answer: { Hello.from(3, to: 1, $0).answered }) { node, raws in
            try await node.openSnapshotConnection(to: Self.peer)
            try await eventually("all links") { node.seen.withLock { $0.up.count } == 3 }
            for raw in raws() { try await raw.setDeaf(true) }
            try await eventually("the end of all") { node.seen.withLock { $0.disconnected.count } == 3 }
            #expect(Self.gaveUp(node) == 3)
            try await eventually("all links again") { node.seen.withLock { $0.up.count } == 3 }
        }
    }

    /// It sends nothing on a connection that it accepted, so nothing but probes tells.
    @Test func acceptedConnectionsAreProbed() async throws {
        let node = TransportNode(1, logLevel: .debug)
        try await TransportNode.running([node]) {
            try await node.start(configure: Self.probing)
            try await node.setPeers([(Self.peer, try HostPort(host: "127.0.0.1", port: 1))])
            let raw = try await RawPeer.dial(node.port)
            try await raw.send(Hello.from(3, to: 1, .bulk).dialled)
            #expect(try await raw.next(.helloReply) != nil)
            try await raw.setDeaf(true)
            try await eventually("its end") {
                node.log.warnings.contains { $0.contains("the peer's connection ended: the peer's machine does not") }
            }
        }
    }

    @Test func livingIdleConnectionsStay() async throws {
        try await TransportNode.dialling(Self.probing, answer: { Hello.from(3, to: 1, $0).answered }) { node, _ in
            try await eventually("both links") { node.seen.withLock { $0.up.count } == 2 }
            try await Task.sleep(for: .seconds(3))
            #expect(node.seen.withLock { $0.disconnected.isEmpty })
        }
    }
}
