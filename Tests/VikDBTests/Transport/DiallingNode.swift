import NIOCore
import Synchronization
import Testing
import VikDB
import VikWire

extension TransportNode {
    /// Node 1, which dials a listener that the test plays: member 3.
    ///
    /// - Parameters:
    ///   - incarnation: the node's.
    ///   - accepted: speaks for the listener on each connection.
    static func dialling(
        incarnation: Incarnation = .zero, _ configure: @escaping @Sendable (inout TransportOptions) -> Void = { _ in },
        accepted: @escaping @Sendable (RawPeer) async throws -> Void,
        _ body: (TransportNode, _ connections: () -> [RawPeer]) async throws -> Void
    ) async throws {
        let connections = Mutex<[RawPeer]>([])
        let listener = try await RawPeer.listen { raw in
            connections.withLock { $0.append(raw) }
            Task { try await accepted(raw) }
        }
        let node = TransportNode(1)
        try await TransportNode.running([node]) {
            try await node.start(incarnation: incarnation, configure: configure)
            let address = try HostPort(host: "127.0.0.1", port: listener.localAddress!.port!)
            try await node.setPeers([(MemberID(rawValue: 3), address)])
            try await body(node) { connections.withLock { $0 } }
        }
        try await listener.close()
        for raw in connections.withLock({ $0 }) { try await raw.close() }
    }

    /// The listener answers each Hello as the test says.
    static func dialling(
        incarnation: Incarnation = .zero, _ configure: @escaping @Sendable (inout TransportOptions) -> Void = { _ in },
        answer: @escaping @Sendable (VikWire.Channel) -> ByteBuffer,
        _ body: (TransportNode, _ connections: () -> [RawPeer]) async throws -> Void
    ) async throws {
        let accepted: @Sendable (RawPeer) async throws -> Void = { raw in
            guard let frame = try await raw.next(.hello) else { return }
            try await raw.send(answer(try Hello(from: frame).channel))
        }
        try await dialling(incarnation: incarnation, configure, accepted: accepted, body)
    }
}
