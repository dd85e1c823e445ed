import NIOCore
import Synchronization
import Testing
import VikDB
import VikTestSupport
import VikWire

/// Peers that show another store than the one on record, and what handshakes tell of logs.
@Suite struct TransportStoresTests {
    private static let incarnation = Incarnation(high: 1, low: 1)

    /// Both sides say why, once; the dialler is told, and goes on asking.
    @Test func refusedStoreIsTold() async throws {
        let (node, former) = (TransportNode(1), TransportNode(3))
        try await TransportNode.running([node, former]) {
            try await node.start(incarnation: Self.incarnation, state: .entries)
            try await former.start(incarnation: Self.incarnation, state: .entries)
            node.stores.withLock { $0.refused = former.store }
            try await node.setPeers([former])
            try await former.setPeers([node])
            try await eventually("several answers") { former.seen.withLock { $0.refusedBy.count >= 6 } }
            for hello in former.seen.withLock({ $0.refusedBy }) {
                #expect(hello.member == node.member && hello.isStoreRefused && hello.incarnation == Self.incarnation)
            }
            #expect(node.seen.withLock { $0.connected.isEmpty && $0.accepted.isEmpty })
            #expect(former.seen.withLock { $0.connected.isEmpty })
            #expect(former.log.warnings.count { $0.contains("others are on record for this member") } == 2)
            // Two links that are refused, and whoever dials.
            #expect(node.log.warnings.count { $0.contains("a store that the test refuses") } == 3)

            node.stores.withLock { $0.refused = nil }
            try await eventually("its links") {
                [node, former].allSatisfy { $0.seen.withLock { $0.up.count == 2 } }
            }
        }
    }

    /// What a raw dialler of a store that is refused gets before the connection closes.
    private static func answer(_ change: (inout Hello) -> Void) async throws -> Hello? {
        let (node, other) = (TransportNode(1), TransportNode(3))
        var answer: Hello?
        try await TransportNode.running([node]) {
            try await node.start(incarnation: incarnation, state: .entries)
            node.stores.withLock { $0.refused = StoreID(high: 3, low: 3) }
            try await node.setPeers([(other.member, try HostPort(host: "127.0.0.1", port: Ports.take()))])
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

    /// An earlier build would break off at a flag that it does not know.
    @Test func onlyWhoUnderstandsIsTold() async throws {
        let answer = try #require(try await Self.answer { $0.features = HelloFeatures.own.rawValue })
        #expect(answer.isStoreRefused && answer.channel == .bulk && answer.peer == MemberID(rawValue: 3))
        #expect(try await Self.answer { _ in } == nil)
    }

    /// An answer has the end of the log and the features that the dialler knows, and no others.
    @Test func answerHasWhatTheDiallerUnderstands() async throws {
        let end = LogEnd(term: 3, durableIndex: 9, durableTerm: 2, commitIndex: 8, commitTerm: 2)
        for (features, isTold) in [(UInt64(0), false), (HelloFeatures.logEnd.rawValue, true), (.max, true)] {
            let (node, other) = (TransportNode(1), TransportNode(3))
            try await TransportNode.running([node]) {
                try await node.start(incarnation: Self.incarnation, state: .entries, logEnd: end)
                try await node.setPeers([(other.member, try HostPort(host: "127.0.0.1", port: Ports.take()))])
                var hello = Hello.from(3, to: 1, .control)
                hello.features = features
                let raw = try await RawPeer.dial(node.port)
                try await raw.send(hello.dialled)
                let frame = try #require(try await raw.next(.helloReply))
                let answer = try Hello(from: frame)
                #expect(answer.logEnd == (isTold ? end : nil))
                #expect(answer.features & ~features == 0)
                try await raw.close()
            }
        }
    }

    /// What this node knew is what it knew when it said Hello.
    @Test func knowledgeIsOfTheTimeOfTheHello() async throws {
        try await TransportNode.cluster(2) { nodes in
            for (node, peer) in zip(nodes, nodes.reversed()) {
                #expect(
                    node.seen.withLock { $0.acknowledged }.allSatisfy {
                        $0 == AcknowledgedLog(term: 1, store: node.store, index: peer.member.rawValue)
                    })
            }
        }
    }

    /// A connection of another store does not drive out that of the store on record; the other way round it does.
    @Test func storeOnRecordDrivesOthersOut() async throws {
        let (node, other) = (TransportNode(1), TransportNode(3))
        try await TransportNode.running([node]) {
            try await node.start(incarnation: Self.incarnation, state: .entries)
            try await node.setPeers([(other.member, try HostPort(host: "127.0.0.1", port: Ports.take()))])
            let recorded = StoreID(high: 8, low: 8)
            node.stores.withLock { $0.onRecord = recorded }
            func dial(_ store: StoreID) async throws -> RawPeer {
                var hello = Hello.from(3, to: 1, .control)
                hello.store = store
                let raw = try await RawPeer.dial(node.port)
                try await raw.send(hello.dialled)
                _ = try #require(try await raw.next(.helloReply))
                return raw
            }
            func heartbeats(_ raw: RawPeer, _ round: UInt64) async throws {
                let before = node.seen.withLock { $0.messages.count }
                try await raw.send(Message.heartbeat(round: round).frame)
                try await eventually("a message") { node.seen.withLock { $0.messages.count == before + 1 } }
            }
            let first = try await dial(recorded)
            let zombie = try await dial(StoreID(high: 9, low: 9))
            try await heartbeats(first, 1)
            try await heartbeats(zombie, 2)
            let secondZombie = try await dial(StoreID(high: 7, low: 7))
            try await eventually("one of them is enough") { zombie.isClosed }
            try await heartbeats(first, 3)
            let second = try await dial(recorded)
            try await eventually("the end of both") { first.isClosed && secondZombie.isClosed }
            try await heartbeats(second, 4)
            try await second.close()
        }
    }

    /// The store on record dials while this node is connected to another one at that address.
    @Test func linksToAnotherStoreEndOnceTheRecordedDials() async throws {
        let (node, zombie) = (TransportNode(1), TransportNode(3))
        try await TransportNode.running([node, zombie]) {
            try await node.start(incarnation: Self.incarnation, state: .entries)
            try await zombie.start(incarnation: Self.incarnation, state: .entries)
            try await zombie.setPeers([node])
            try await node.setPeers([zombie])
            try await eventually("its links") { node.seen.withLock { $0.up.count == 2 } }
            let recorded = StoreID(high: 8, low: 8)
            node.stores.withLock { $0 = (zombie.store, recorded) }
            var hello = Hello.from(3, to: 1, .control)
            hello.store = recorded
            let raw = try await RawPeer.dial(node.port)
            try await raw.send(hello.dialled)
            try await eventually("no link to the other") {
                node.seen.withLock { $0.up.isEmpty && $0.disconnected.count == 2 }
            }
            try await raw.close()
        }
    }
}
