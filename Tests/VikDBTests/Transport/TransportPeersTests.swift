import NIOCore
import Synchronization
import Testing
import VikDB
import VikTestSupport
import VikWire

/// Peers that come, move and go while a node runs, and peers that know better.
@Suite struct TransportPeersTests {
    /// Whom a node refuses loses its connections, both ways, and gets new ones; nobody else loses any.
    @Test func refused() async throws {
        try await TransportNode.cluster(3) { nodes in
            let before = nodes[0].seen.withLock { $0.accepted.count { $0.member == nodes[1].member } }
            try await nodes[0].refuse(nodes[1].member)
            try await eventually("the end of all, and new ones") {
                let isBack = nodes[0].seen.withLock { seen in
                    seen.disconnected.count { $0.member == nodes[1].member } == 2 && seen.up.count == 4
                        && seen.accepted.count { $0.member == nodes[1].member } == before + 2
                }
                return isBack
                    && nodes[1].seen.withLock {
                        $0.disconnected.count { $0.member == nodes[0].member } == 2 && $0.up.count == 4
                    }
            }
            try await nodes[0].send([.heartbeat(round: 7)], to: nodes[1].member)
            try await nodes[1].send([.heartbeat(round: 8)], to: nodes[0].member)
            try await eventually("messages again") {
                nodes[1].seen.withLock { $0.messages.contains { $0 == (.heartbeat(round: 7), nodes[0].member) } }
                    && nodes[0].seen.withLock { $0.messages.contains { $0 == (.heartbeat(round: 8), nodes[1].member) } }
            }
            #expect(nodes[2].seen.withLock { $0.disconnected.isEmpty })
            let warnings = nodes[0].log.warnings.filter { $0.contains("refused") }
            #expect(warnings.isEmpty, "the node says why itself: \(warnings)")
        }
    }

    @Test func peersAreAddedMovedAndRemovedWhileConnected() async throws {
        let (node, steady) = (TransportNode(1), TransportNode(4))
        let (before, after) = (TransportNode(2), TransportNode(2))
        let all = [node, steady, before, after]
        try await TransportNode.running(all) {
            for one in all {
                try await one.start()
                if one !== node { try await one.setPeers([node]) }
            }
            func count(_ other: TransportNode) -> Int {
                other.seen.withLock { $0.accepted.count { $0.member == node.member } }
            }
            try await node.setPeers([steady])
            try await eventually("links to the first peer") { node.seen.withLock { $0.up.count == 2 } }

            try await node.setPeers([steady, before])
            try await eventually("links to the added peer") {
                node.seen.withLock { $0.up.count == 4 } && count(before) == 2
            }
            try await node.openSnapshotConnection(to: before.member)
            try await eventually("its snapshot's") {
                node.seen.withLock { $0.up.count == 5 } && count(before) == 3
            }

            try await node.setPeers([steady, after])
            try await eventually("all three links to its new address") {
                count(after) == 3 && node.seen.withLock { $0.up.count == 5 && $0.disconnected.count == 3 }
            }
            try await node.send([.heartbeat(round: 7)], to: after.member)
            try await eventually("a message there") { after.seen.withLock { $0.messages.count == 1 } }
            #expect(before.seen.withLock { $0.messages.isEmpty })

            // The same list again changes nothing.
            try await node.setPeers([after, steady])
            try await node.setPeers([steady])
            try await eventually("the end of its links") { node.seen.withLock { $0.up.count == 2 } }
            try await node.send([.heartbeat(round: 8)], to: after.member)
            try await node.send([.heartbeat(round: 9)], to: steady.member)
            try await eventually("a message to the one that stayed") { steady.seen.withLock { $0.messages.count == 1 } }
            #expect(after.seen.withLock { $0.messages.count } == 1)
            #expect(node.seen.withLock { $0.disconnected.allSatisfy { $0.member == before.member } })
        }
    }

    /// Whoever dials is up, so it is dialled at once, however long the pause still is.
    @Test func peerThatDialsIsDialledAtOnce() async throws {
        let (node, peer) = (TransportNode(1), TransportNode(2))
        try await TransportNode.running([node, peer]) {
            let port = Ports.take()
            try await node.start {
                $0.minRetryDelay = .minutes(10)
                $0.maxRetryDelay = .minutes(10)
            }
            try await node.setPeers([(peer.member, try HostPort(host: "127.0.0.1", port: port))])
            try await eventually("two refused connections") {
                node.log.warnings.count { $0.contains("Connection refused") } == 2
            }
            try await peer.start(port: port)
            try await peer.setPeers([node])
            try await eventually("both links both ways") {
                [node, peer].allSatisfy { $0.seen.withLock { $0.up.count == 2 } }
            }
        }
    }

    @Test func closedTransportTakesNoPeers() async throws {
        let nodes = [TransportNode(1), TransportNode(2)]
        try await TransportNode.running(nodes) {
            for node in nodes { try await node.start() }
            let address = try nodes[1].address
            let member = nodes[1].member
            try await nodes[0].closing { transport in
                transport.setPeers([(member: member, address: address)])
                transport.openSnapshotConnection(to: member)
                transport.send(.heartbeat(round: 1), to: member)
                transport.flush()
            }
            try await Task.sleep(for: .milliseconds(50))
            #expect(nodes[1].log.warnings.isEmpty && nodes[1].seen.withLock { $0.accepted.isEmpty })
        }
    }

    // MARK: No member any more

    private static let incarnation = Incarnation(high: 1, low: 1)

    @Test func formerMemberIsTold() async throws {
        let (node, former) = (TransportNode(1), TransportNode(3))
        try await TransportNode.running([node, former]) {
            try await node.start(incarnation: Self.incarnation, state: .entries)
            try await former.start(incarnation: Self.incarnation, state: .entries)
            try await former.setPeers([node])
            try await eventually("several answers") { former.seen.withLock { $0.unknownTo.count >= 6 } }
            for hello in former.seen.withLock({ $0.unknownTo }) {
                #expect(hello.member == node.member && hello.isPeerUnknown && hello.incarnation == Self.incarnation)
            }
            #expect(former.seen.withLock { $0.connected.isEmpty && $0.disconnected.isEmpty })
            #expect(former.log.warnings.count == 2, "one line for each channel: \(former.log.warnings)")
            #expect(former.log.warnings.allSatisfy { $0.contains("this node is no member of the cluster") })
            #expect(node.log.warnings.count == 1, "\(node.log.warnings)")
            #expect(node.seen.withLock { $0.accepted.isEmpty })

            // It is asked again, in case it is added again.
            try await node.setPeers([former])
            try await eventually("its links") { former.seen.withLock { $0.up.count == 2 } }
        }
    }

    /// A raw dialler that is no peer: what it gets before the connection closes.
    private static func answer(_ change: (inout Hello) -> Void) async throws -> Hello? {
        let node = TransportNode(1)
        var answer: Hello?
        try await TransportNode.running([node]) {
            try await node.start(incarnation: incarnation, state: .entries)
            var hello = Hello.from(3, to: 1, .bulk)
            hello.incarnation = incarnation
            change(&hello)
            let raw = try await RawPeer.dial(node.port)
            try await raw.send(hello.dialled)
            answer = try await raw.next(.helloReply).map { try Hello(from: $0) }
            try await eventually("the end") { raw.isClosed }
            #expect(node.seen.withLock { $0.accepted.isEmpty })
        }
        return answer
    }

    @Test func onlyAFormerMemberIsAnswered() async throws {
        let answer = try #require(try await Self.answer { _ in })
        #expect(answer.isPeerUnknown && answer.channel == .bulk && answer.peer == MemberID(rawValue: 3))
        #expect(try await Self.answer { $0.incarnation = .zero } == nil)
        #expect(try await Self.answer { $0.incarnation = Incarnation(high: 1, low: 2) } == nil)
        #expect(try await Self.answer { $0.peer = MemberID(rawValue: 2) } == nil)
        #expect(try await Self.answer { $0.isPeerUnknown = true } == nil)
    }

    @Test func answerOfAnotherClusterTellsNothing() async throws {
        for incarnation in [Incarnation.zero, Incarnation(high: 1, low: 2)] {
            try await TransportNode.dialling(
                incarnation: Self.incarnation,
                answer: {
                    var hello = Hello.from(3, to: 1, $0)
                    hello.isPeerUnknown = true
                    hello.incarnation = incarnation
                    return hello.answered
                }
            ) { node, connections in
                try await eventually("several attempts") { connections().count >= 6 }
                #expect(node.seen.withLock { $0.unknownTo.isEmpty && $0.connected.isEmpty })
            }
        }
    }

    @Test func twoNodesWithOneLabelDoNotConnect() async throws {
        let nodes = [TransportNode(1, label: "same"), TransportNode(2, label: "same")]
        try await TransportNode.running(nodes) {
            for node in nodes { try await node.start() }
            try await nodes[0].setPeers([nodes[1]])
            try await nodes[1].setPeers([nodes[0]])
            try await eventually("words on both sides") {
                nodes.allSatisfy { node in node.log.warnings.contains { $0.contains("has this node's own -node-id") } }
            }
            #expect(nodes.allSatisfy { $0.seen.withLock { $0.connected.isEmpty && $0.accepted.isEmpty } })
        }
    }
}
