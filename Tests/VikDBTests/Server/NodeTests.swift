import Foundation
import Glibc
import Logging
import Testing
import VikDB
import VikWire

/// Whole nodes in this process, as `vikbench` starts them.
@Suite struct NodeTests {
    /// What a write cost on the wire is counted when it is answered, and not with the next tick: a measurement ends with
    /// the last answer.
    @Test func bytesOnTheWireAreCountedWithTheAnswer() async throws {
        let counts = try await onThread { try Self.bytesOnTheWire(writes: 8, valueBytes: 64 << 10) }
        #expect(counts.count == 8)
        for count in counts { #expect(count >= 64 << 10, "\(counts)") }
    }

    /// - Returns: what the leader had sent for each write by the time it was answered.
    private static func bytesOnTheWire(writes: Int, valueBytes: Int) throws -> [UInt64] {
        var counts: [UInt64] = []
        try withTemporaryDirectory { directory in
            let nodes = try startCluster(in: directory)
            defer { for node in nodes { node.stop() } }
            var leader: Node?
            try wait("a leader") {
                leader = nodes.first { $0.status.role == .leader }
                return leader != nil
            }
            let replies = ReplyRecorder()
            for token in 0...UInt64(writes) {
                let before = leader!.wireBytes
                let command = Command.put(key: [1], value: [UInt8](repeating: 7, count: valueBytes))
                leader!.write(command, token: token, replyTo: replies)
                try wait("an answer") { replies.outcomes[token] != nil }
                guard case .written? = replies.outcomes[token] else {
                    throw NodeTestError(description: "the write ended as \(replies.outcomes[token]!)")
                }
                // The first one may have waited until the follower's log was known.
                if token > 0 { counts.append(leader!.wireBytes - before) }
            }
        }
        return counts
    }

    /// Two nodes whose clock ticks far more slowly than writes are answered.
    private static func startCluster(in directory: String) throws -> [Node] {
        // An address of loopback that nobody else listens on.
        let network = "127.\(Int.random(in: 1...254)).\(Int.random(in: 1...254))"
        let cluster = try (1...2).map { try HostPort(host: "\(network).\($0)", port: 20_001) }
        var nodes: [Node] = []
        do {
            for (place, address) in cluster.enumerated() {
                let root = "\(directory)/node\(place + 1)"
                var settings = NodeSettings(logDirectory: root + "/wal", tableDirectory: root + "/tables")
                settings.replication = NodeSettings.Replication(
                    label: "node\(place + 1)", cluster: cluster, ownAddress: address)
                settings.node.tickMilliseconds = 300
                settings.node.raft.electionTicks = 2...5
                settings.node.raft.heartbeatTicks = 1
                nodes.append(
                    try Node.start(settings, logger: Logger(label: "node") { _ in SwiftLogNoOpLogHandler() }))
            }
        } catch {
            for node in nodes { node.stop() }
            throw error
        }
        return nodes
    }

    private static func wait(_ what: String, until condition: () -> Bool) throws {
        for _ in 0..<300_000 {
            if condition() { return }
            usleep(100)
        }
        throw NodeTestError(description: "\(what) did not come within 30 seconds")
    }

    /// Nodes block their caller.
    private func onThread<Result: Sendable>(
        _ body: @escaping @Sendable () throws -> Result
    ) async throws -> Result {
        try await withCheckedThrowingContinuation { continuation in
            Thread.detachNewThread { continuation.resume(with: Swift.Result { try body() }) }
        }
    }
}

private struct NodeTestError: Error, CustomStringConvertible {
    let description: String
}
