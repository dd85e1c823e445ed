import Glibc
import NIOCore
import Synchronization
import Testing
import VikDB
import VikWire

/// Transports that keep the protocol, among themselves.
@Suite struct TransportTests {
    @Test func handshakeTellsEachSideWhoTheOtherIs() async throws {
        let nodes = [TransportNode(1), TransportNode(2)]
        let incarnation = Incarnation(high: 5, low: 6)
        try await TransportNode.running(nodes) {
            try await nodes[0].start()
            try await nodes[1].start(incarnation: incarnation, state: .entries)
            try await nodes[0].setPeers([nodes[1]])
            try await nodes[1].setPeers([nodes[0]])
            try await eventually("both links both ways") {
                nodes.allSatisfy { node in
                    node.seen.withLock { $0.greeted.count == 2 && $0.accepted.count == 2 }
                }
            }
            for hello in nodes[0].seen.withLock({ $0.greeted + $0.accepted }) {
                #expect(hello.member == nodes[1].member)
                #expect(hello.peer == nodes[0].member)
                #expect(hello.store == nodes[1].store)
                #expect(hello.incarnation == incarnation)
                #expect(hello.state == .entries)
                #expect(hello.label == "node2")
                #expect(hello.address == "127.0.0.1:9002")
                #expect(hello.apiAddress == "127.0.0.1:8002")
            }
            for hello in nodes[1].seen.withLock({ $0.greeted + $0.accepted }) {
                #expect(hello.member == nodes[0].member)
                #expect(hello.incarnation == .zero)
                #expect(hello.state == .empty)
            }
            #expect(Set(nodes[0].seen.withLock { $0.accepted }.map(\.channel)) == [.control, .bulk])
        }
    }

    /// Without descriptors or memory for a connection the listener waits a moment, and goes on.
    @Test(.timeLimit(.minutes(1)), arguments: [EMFILE, ENFILE, ENOBUFS, ENOMEM])
    func whatCannotBeAcceptedWaits(code: CInt) async throws {
        try await TransportNode.cluster(2) { nodes in
            #expect(try await !nodes[0].failAccept(code))
            #expect(nodes[0].log.warnings.contains { $0.contains("cannot accept replication connections") })
            try await nodes[0].startsAccepting()
            #expect(try await nodes[0].failAccept(ECONNABORTED))
        }
    }

    @Test func everyMessageArrives() async throws {
        try await TransportNode.cluster(3) { nodes in
            let messages: [Message] = [
                .voteRequest(VoteRequest(term: 7, isPreVote: false, lastIndex: 9, lastTerm: 6)),
                .voteReply(VoteReply(term: 7, isPreVote: false, isGranted: true)),
                .append(after: 3, count: 3, bytes: 100),
                .appendReply(AppendReply(term: 7, outcome: .matched(9))),
                .heartbeat(round: 3),
                .heartbeatReply(HeartbeatReply(term: 7, round: 3, verified: 2)),
                .readIndexRequest(ReadIndexRequest(term: 7, context: 8)),
                .readIndexReply(ReadIndexReply(term: 7, context: 8, index: 9)),
            ]
            try await nodes[0].send(messages, to: nodes[1].member)
            try await nodes[0].send(messages, to: nodes[2].member)
            try await nodes[2].send(messages, to: nodes[1].member)
            try await eventually("all messages") { nodes[1].seen.withLock { $0.messages.count } == 16 }
            try await eventually("all messages") { nodes[2].seen.withLock { $0.messages.count } == 8 }
            for sender in [nodes[0].member, nodes[2].member] {
                let received = nodes[1].seen.withLock { $0.messages }.filter { $0.from == sender }.map(\.message)
                #expect(received.filter { $0.channel == .control } == messages.filter { $0.channel == .control })
                #expect(received.filter { $0.channel == .bulk } == messages.filter { $0.channel == .bulk })
            }
            #expect(nodes[0].seen.withLock { $0.messages.isEmpty })
        }
    }

    @Test func manyMessagesComeInOrderAndInBatches() async throws {
        try await TransportNode.cluster(2) { nodes in
            let heartbeats = (0..<20_000).map { Message.heartbeat(round: $0) }
            let appends = (0..<300).map { Message.append(after: $0 * 40, count: 40, bytes: 300) }
            try await nodes[0].send(heartbeats + appends, to: nodes[1].member)
            try await eventually("all messages") { nodes[1].seen.withLock { $0.messages.count } == 20_300 }
            try await eventually("the end of the last read") { nodes[1].seen.withLock { $0.unfinished } == 0 }
            let seen = nodes[1].seen.withLock { $0 }
            #expect(seen.messages.map(\.message).filter { $0.channel == .control } == heartbeats)
            #expect(seen.messages.map(\.message).filter { $0.channel == .bulk } == appends)
            #expect(seen.batches < 2_000)
        }
    }

    @Test func largestAppendArrives() async throws {
        try await TransportNode.cluster(2) { nodes in
            let messages: [Message] = [
                .append(after: 0, count: 1, bytes: WireLimits.maxCommandPayloadBytes),
                .append(after: 1, count: 4_096, bytes: 0),
                .append(after: 4_097, count: 1, bytes: 1),
            ]
            try await nodes[0].send(messages, to: nodes[1].member)
            try await eventually("all appends") { nodes[1].seen.withLock { $0.messages.count } == 3 }
            #expect(nodes[1].seen.withLock { $0.messages }.map(\.message) == messages)
        }
    }

    @Test func peerThatRestartsIsDialledAgain() async throws {
        try await TransportNode.cluster(3) { nodes in
            let port = nodes[1].port
            try await nodes[1].stop()
            try await eventually("the loss of both links") {
                nodes[0].seen.withLock { $0.disconnected.count } == 2
            }
            // Dropped, not kept for later.
            try await nodes[0].send([.heartbeat(round: 1)], to: nodes[1].member)
            let again = TransportNode(2)
            try await TransportNode.running([again]) {
                try await again.start(port: port)
                try await again.setPeers([nodes[0], nodes[2]])
                try await eventually("all links again") {
                    nodes.allSatisfy { $0 === nodes[1] || $0.seen.withLock { $0.up.count == 4 } }
                        && again.seen.withLock { $0.up.count == 4 }
                }
                try await nodes[0].send([.heartbeat(round: 2)], to: again.member)
                try await eventually("the heartbeat") { again.seen.withLock { !$0.messages.isEmpty } }
                #expect(again.seen.withLock { $0.messages }.map(\.message) == [.heartbeat(round: 2)])
            }
        }
    }

    @Test func unreachablePeerIsLoggedOnce() async throws {
        let (node, other) = (TransportNode(1), TransportNode(2))
        try await TransportNode.running([node]) {
            try await other.start()
            let address = try other.address
            try await other.stop()
            try await node.start()
            try await node.setPeers([(other.member, address)])
            try await Task.sleep(for: .milliseconds(500))
            #expect(node.log.warnings.count == 2, "one line for each channel, not one for each attempt")
            #expect(node.log.warnings.allSatisfy { $0.contains("refused") })
        }
    }

    @Test func formerPeerIsLetGo() async throws {
        try await TransportNode.cluster(3) { nodes in
            try await nodes[0].setPeers([nodes[2]])
            let gone = nodes[1].member
            try await eventually("the end of its links") {
                nodes[0].seen.withLock { seen in !seen.up.contains { $0.member == gone } }
                    && nodes[1].seen.withLock { seen in !seen.up.contains { $0.member == nodes[0].member } }
            }
            try await nodes[0].send([.heartbeat(round: 1)], to: gone)
            try await nodes[0].send([.heartbeat(round: 2)], to: nodes[2].member)
            try await eventually("the heartbeat of the other") { nodes[2].seen.withLock { !$0.messages.isEmpty } }
            #expect(nodes[1].seen.withLock { $0.messages.isEmpty })
            #expect(nodes[2].seen.withLock { $0.disconnected.isEmpty })
        }
    }

    @Test func controlQueueIsBounded() async throws {
        let nodes = [TransportNode(1), TransportNode(2)]
        try await TransportNode.running(nodes) {
            try await nodes[0].start { $0.maxControlQueueBytes = 1_000 }
            try await nodes[1].start()
            try await nodes[0].setPeers([nodes[1]])
            try await nodes[1].setPeers([nodes[0]])
            try await eventually("both links") { nodes[0].seen.withLock { $0.up.count } == 2 }
            // A heartbeat's frame has 36 bytes: 27 stay below the limit, the next one is above it.
            let messages = (0..<100).map { Message.heartbeat(round: $0) }
            try await nodes[0].send(messages, to: nodes[1].member)
            try await nodes[0].send([.heartbeat(round: 1_000)], to: nodes[1].member)
            try await eventually("the last") {
                nodes[1].seen.withLock { $0.messages.last?.message } == .heartbeat(round: 1_000)
            }
            let received = nodes[1].seen.withLock { $0.messages }.map(\.message)
            #expect(received == Array(messages.prefix(28)) + [.heartbeat(round: 1_000)])
            #expect(nodes[0].seen.withLock { $0.disconnected.isEmpty })
        }
    }
}
