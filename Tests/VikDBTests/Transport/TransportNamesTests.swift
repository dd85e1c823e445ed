import NIOCore
import Synchronization
import Testing
import VikDB
import VikTestSupport
import VikWire

/// Peers that are named, not numbered: names that hang, fail, change, and stand for several addresses.
@Suite struct TransportNamesTests {
    private static func named(_ name: String, _ node: TransportNode) throws -> (member: MemberID, address: HostPort) {
        (node.member, try HostPort(host: name, port: node.port))
    }

    /// Look-ups are given up on at once, and hang for as long as the test runs.
    private static func running(
        _ nodes: [TransportNode], _ hosts: StubHosts, _ body: () async throws -> Void
    ) async throws {
        defer { hosts.release() }
        try await TransportNode.running(nodes, body)
    }

    private static func start(_ node: TransportNode, _ hosts: StubHosts) async throws {
        try await node.start {
            $0.lookUp = hosts.lookUp
            $0.lookUpTimeout = .milliseconds(20)
        }
    }

    @Test func hungNameDelaysNobodyElse() async throws {
        let hosts = StubHosts(["three.test": .addresses(["127.0.0.1"]), "four.test": .hangs, "five.test": .hangs])
        let (node, second, third) = (TransportNode(1), TransportNode(2), TransportNode(3))
        try await Self.running([node, second, third], hosts) {
            try await Self.start(node, hosts)
            for other in [second, third] { try await other.start() }
            // Those that hang come first.
            let hung = try ["four", "five"].enumerated().map { index, name in
                (member: MemberID(rawValue: UInt64(4 + index)), address: try HostPort(host: name + ".test", port: 1))
            }
            try await node.setPeers(hung)
            try await eventually("both to hang") {
                hosts.lookUps(of: "four.test") == 1 && hosts.lookUps(of: "five.test") == 1
            }
            try await node.setPeers(hung + [(second.member, second.address), Self.named("three.test", third)])
            for other in [second, third] { try await other.setPeers([node]) }
            try await eventually("the links to both others") { node.seen.withLock { $0.up.count } == 4 }
            func slow() -> Int { node.log.warnings.count { $0.contains("looking its name up takes too long") } }
            try await eventually("word of the two that hang") { slow() == 4 }
            // Many attempts later.
            try await Task.sleep(for: .milliseconds(300))
            #expect(hosts.lookUps(of: "four.test") == 1 && hosts.lookUps(of: "five.test") == 1)
            #expect(slow() == 4, "one line for each channel: \(node.log.warnings)")
            #expect(hosts.lookUps(of: "127.0.0.1") == 0)
            // Taken out and put in again, it still hangs, and is not looked up beside that.
            try await node.setPeers([second])
            try await node.setPeers(hung + [(second.member, second.address)])
            try await eventually("word of them again") { slow() == 8 }
            #expect(hosts.lookUps(of: "four.test") == 1)
            // Stopped while they hang.
            let start = NIODeadline.now()
            try await node.stop()
            #expect(NIODeadline.now() - start < .seconds(10))
        }
    }

    @Test func nameThatComesLateIsDialled() async throws {
        let hosts = StubHosts(["two.test": .hangs])
        let (node, peer) = (TransportNode(1), TransportNode(2))
        try await Self.running([node, peer], hosts) {
            try await Self.start(node, hosts)
            try await peer.start()
            try await peer.setPeers([node])
            try await node.setPeers([Self.named("two.test", peer)])
            try await eventually("word of it") {
                node.log.warnings.count { $0.contains("takes too long") } == 2
            }
            hosts.set("two.test", .addresses(["127.0.0.1"]))
            try await eventually("its links") { node.seen.withLock { $0.up.count } == 2 }
            #expect(hosts.mostAtOnce(of: "two.test") == 1)
        }
    }

    @Test func lastAddressIsKept() async throws {
        let hosts = StubHosts(["two.test": .addresses(["127.0.0.1"])])
        let (node, peer, again) = (TransportNode(1), TransportNode(2), TransportNode(2))
        try await Self.running([node, peer, again], hosts) {
            try await Self.start(node, hosts)
            try await peer.start()
            let port = peer.port
            try await peer.setPeers([node])
            try await node.setPeers([Self.named("two.test", peer)])
            try await eventually("its links") { node.seen.withLock { $0.up.count } == 2 }

            for (answer, word) in [(StubHosts.Answer.unknown, "not known"), (.hangs, "takes too long")] {
                hosts.set("two.test", answer)
                let before = node.seen.withLock { $0.connected.count }
                let current = before == 2 ? peer : again
                try await current.stop()
                try await again.start(port: port)
                try await again.setPeers([node])
                try await eventually("links where it last was") {
                    node.seen.withLock { $0.up.count == 2 && $0.connected.count >= before + 2 }
                }
                #expect(
                    node.log.warnings.contains { $0.contains("last known address") && $0.contains(word) },
                    "\(node.log.warnings)")
            }
        }
    }

    @Test func newAddressWinsWhileThePeerIsAway() async throws {
        let hosts = StubHosts(["two.test": .addresses(["127.0.0.1"])])
        let (node, peer, moved) = (TransportNode(1), TransportNode(2), TransportNode(2))
        try await Self.running([node, peer, moved], hosts) {
            try await Self.start(node, hosts)
            try await peer.start()
            try await peer.setPeers([node])
            try await node.setPeers([Self.named("two.test", peer)])
            try await eventually("its links") { node.seen.withLock { $0.up.count } == 2 }
            try await moved.start(host: "127.0.0.2", port: peer.port)
            try await moved.setPeers([node])
            try await peer.stop()
            hosts.set("two.test", .addresses(["127.0.0.2"]))
            try await eventually("links where it is now") {
                moved.seen.withLock { $0.accepted.count == 2 } && node.seen.withLock { $0.up.count == 2 }
            }
        }
    }

    /// Nobody at the first address, another member at the second.
    @Test func everyAddressIsTried() async throws {
        let hosts = StubHosts(["two.test": .addresses(["127.0.0.3", "127.0.0.2", "127.0.0.1"])])
        let (node, peer, other) = (TransportNode(1), TransportNode(2), TransportNode(5))
        try await Self.running([node, peer, other], hosts) {
            try await Self.start(node, hosts)
            try await peer.start()
            try await peer.setPeers([node])
            try await other.start(host: "127.0.0.2", port: peer.port)
            try await node.setPeers([Self.named("two.test", peer)])
            try await eventually("its links") { node.seen.withLock { $0.up.count } == 2 }
            try await node.openSnapshotConnection(to: peer.member)
            try await eventually("the third") { node.seen.withLock { $0.up.count } == 3 }
            #expect(other.seen.withLock { $0.accepted.isEmpty })
        }
    }

    @Test func unknownNameIsLoggedOnce() async throws {
        let hosts = StubHosts([:])
        let node = TransportNode(1)
        try await Self.running([node], hosts) {
            try await Self.start(node, hosts)
            try await node.setPeers([(MemberID(rawValue: 2), try HostPort(host: "two.test", port: 1))])
            try await eventually("many attempts") { hosts.lookUps(of: "two.test") >= 10 }
            #expect(node.log.warnings.count == 2, "\(node.log.warnings)")
            #expect(node.log.warnings.allSatisfy { $0.contains("Name or service not known") })
            #expect(hosts.mostAtOnce(of: "two.test") == 1, "both channels share one")
        }
    }

    /// Where a node listens may be a name as well.
    @Test func ownName() async throws {
        let hosts = StubHosts(["own.test": .addresses(["127.0.0.1"]), "hung.test": .hangs])
        let (node, unknown, hung) = (TransportNode(1), TransportNode(2), TransportNode(3))
        try await Self.running([node, unknown, hung], hosts) {
            try await node.start(host: "own.test") { $0.lookUp = hosts.lookUp }
            #expect(node.port > 0)
            for (other, name, words) in [
                (unknown, "unknown.test", "Name or service not known"), (hung, "hung.test", "takes too long"),
            ] {
                await #expect {
                    try await other.start(host: name) {
                        $0.lookUp = hosts.lookUp
                        $0.ownLookUpTimeout = .milliseconds(50)
                    }
                } throws: { "\($0)".contains(words) }
            }
        }
    }

    @Test func threadsAreBounded() async throws {
        let names = (0..<NameResolver.maxLookUps).map { "hung\($0).test" }
        let hosts = StubHosts(Dictionary(uniqueKeysWithValues: (names + ["late.test"]).map { ($0, .hangs) }))
        defer { hosts.release() }
        let node = TransportNode(1)
        try await TransportNode.running([node]) {
            try await Self.start(node, hosts)
            // More names than members there can be: those of peers that are none any more still hang.
            let most = WireLimits.maxMembers - 1
            var begun = 0
            for start in stride(from: 0, to: names.count, by: most) {
                let some = names[start..<min(names.count, start + most)]
                try await node.setPeers(
                    try some.enumerated().map { index, name in
                        (MemberID(rawValue: UInt64(start + index + 2)), try HostPort(host: name, port: 1))
                    })
                begun += some.count
                try await eventually("\(begun) names to hang") { names.count { hosts.lookUps(of: $0) == 1 } == begun }
            }
            try await node.setPeers([(MemberID(rawValue: 99), try HostPort(host: "late.test", port: 1))])
            try await eventually("a refusal") {
                node.log.warnings.contains { $0.contains("too many names are being looked up") }
            }
            #expect(hosts.lookUps(of: "late.test") == 0)
            hosts.set(names[0], .unknown)
            try await eventually("the last name's turn") { hosts.lookUps(of: "late.test") > 0 }
        }
    }
}
