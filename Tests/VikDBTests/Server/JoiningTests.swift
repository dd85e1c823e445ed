import Logging
import NIOCore
import Synchronization
import Testing
import VikDB
import VikWire

/// A node that waits until its cluster knows it.
@Suite struct JoiningTests {
    private static func options() -> TransportOptions {
        var options = TransportOptions(seed: 1)
        options.minRetryDelay = .milliseconds(5)
        options.maxRetryDelay = .milliseconds(20)
        options.handshakeTimeout = .seconds(60)
        return options
    }

    private static func join(_ members: [HostPort], advertised: HostPort? = nil) -> NodeSettings.Join {
        NodeSettings.Join(members: members, port: 7_000, advertised: advertised)
    }

    @Test func asksAllInTurnUntilOneKnows() async throws {
        let (gone, ignorant, knowing) = (TransportNode(1), TransportNode(2), TransportNode(3))
        try await TransportNode.running([ignorant, knowing]) {
            for node in [gone, ignorant, knowing] { try await node.start() }
            let members = try [gone, ignorant, knowing].map { try $0.address }
            try await gone.stop()
            let log = LogRecorder(level: .notice)
            let joined = Mutex<[JoinedMember]>([])
            let joining = Joining(
                Self.join(members), JoinClientTests.request, options: Self.options(), logger: log.logger
            ) { member in
                joined.withLock { $0.append(member) }
            }
            try await eventually("several rounds") {
                ignorant.seen.withLock { $0.joinRequests.count >= 3 }
                    && knowing.seen.withLock { $0.joinRequests.count >= 3 }
            }
            #expect(joined.withLock { $0.isEmpty })
            knowing.joinReply.withLock { $0 = JoinClientTests.reply }
            try await eventually("the answer") { joined.withLock { $0.count == 1 } }
            guard case .member(let id, let configuration) = JoinClientTests.reply else { return }
            #expect(joined.withLock { $0 } == [JoinedMember(id: id, configuration: configuration)])
            // One may have been on its way.
            try await Task.sleep(for: .milliseconds(100))
            let asked = ignorant.seen.withLock { $0.joinRequests.count }
            try await Task.sleep(for: .milliseconds(100))
            #expect(ignorant.seen.withLock { $0.joinRequests.count } == asked, "it asks no more")
            joining.stop()

            #expect(log.warnings.count == 2, "\(log.warnings)")
            #expect(log.warnings.contains { $0.contains("Connection refused") })
            let command = """
                curl -X POST http://<the leader's API, from its own machine>/cluster/members -H 'Content-Type: application/json' \
                -d '{"node_id":"node4","address":"127.0.0.1:7000"}'
                """
            #expect(log.warnings.contains { $0.hasSuffix(command) })
        }
    }

    @Test func commandIsReadyForAShell() async throws {
        let node = TransportNode(1)
        try await TransportNode.running([node]) {
            try await node.start()
            let log = LogRecorder(level: .notice)
            let joining = Joining(
                Self.join([try node.address], advertised: try HostPort.parse("[fd00::9]:8081")),
                JoinRequest(store: StoreID(high: 1, low: 1), label: #"it's "4"\"#), options: Self.options(),
                logger: log.logger
            ) { _ in }
            try await eventually("the line") { !log.warnings.isEmpty }
            #expect(log.warnings[0].hasSuffix(#"-d '{"node_id":"it'\''s \"4\"\\","address":"[fd00::9]:8081"}'"#))
            joining.stop()
            #expect(log.warnings.count == 1)
        }
    }

    /// Also in the middle of an attempt.
    @Test func stopsAtOnce() async throws {
        let silent = try await RawPeer.listen { _ in }
        let address = try HostPort(host: "127.0.0.1", port: silent.localAddress!.port!)
        let joined = Mutex(false)
        let joining = Joining(
            Self.join([address]), JoinClientTests.request, options: Self.options(), logger: LogRecorder().logger
        ) { _ in
            joined.withLock { $0 = true }
        }
        try await Task.sleep(for: .milliseconds(50))
        let start = NIODeadline.now()
        joining.stop()
        #expect(NIODeadline.now() - start < .seconds(10))
        #expect(!joined.withLock { $0 })
        try await silent.close()
    }

    /// A name that hangs delays neither the others nor the end.
    @Test func hungNameDelaysNobody() async throws {
        let hosts = StubHosts(["hung.test": .hangs, "three.test": .addresses(["127.0.0.1"])])
        defer { hosts.release() }
        let node = TransportNode(3)
        try await TransportNode.running([node]) {
            try await node.start()
            node.joinReply.withLock { $0 = JoinClientTests.reply }
            var options = Self.options()
            options.lookUp = hosts.lookUp
            // Whoever waits for the one that hangs waits for longer than this test does.
            options.lookUpTimeout = .minutes(10)
            let hung = try HostPort(host: "hung.test", port: 1)
            for name in ["127.0.0.1", "three.test"] {
                let joined = Mutex(0)
                let joining = Joining(
                    Self.join([hung, try HostPort(host: name, port: node.port)]), JoinClientTests.request,
                    options: options, logger: LogRecorder().logger
                ) { _ in
                    joined.withLock { $0 += 1 }
                }
                try await eventually("the answer of \(name)") { joined.withLock { $0 } == 1 }
                let start = NIODeadline.now()
                joining.stop()
                #expect(NIODeadline.now() - start < .seconds(10))
            }
            #expect(hosts.lookUps(of: "hung.test") == 2)
        }
    }
}
