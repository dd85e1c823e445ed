import NIOCore
import NIOPosix
import Synchronization
import Testing
import VikDB
import VikWire

/// A node that asks a member who it is.
@Suite struct JoinClientTests {
    static let request = JoinRequest(store: StoreID(high: 4, low: 4), label: "node4")
    static let reply = JoinReply.member(
        MemberID(rawValue: 7),
        Configuration(
            incarnation: Incarnation(high: 1, low: 1),
            members: [
                Member(
                    id: MemberID(rawValue: 1), store: StoreID(high: 1, low: 1), address: "127.0.0.1:9001",
                    label: "node1"),
                Member(
                    id: MemberID(rawValue: 7), store: .zero, role: .learner, address: "127.0.0.1:9004", label: "node4"),
            ]))

    private static func ask(_ port: Int, secret: ClusterSecret? = nil, within limit: TimeAmount = .seconds(60))
        async throws -> JoinClient.Answer
    {
        let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
        let address = try HostPort(host: "127.0.0.1", port: port)
        return try await eventLoop.flatSubmit {
            var options = TransportOptions(seed: 1)
            options.secret = secret
            options.handshakeTimeout = limit
            let resolver = NameResolver(eventLoop: eventLoop, lookUp: options.lookUp)
            let member = PeerAddress(
                address, resolver: resolver, eventLoop: eventLoop, options: options, logger: LogRecorder().logger)
            let answer = JoinClient.ask(member, request, on: eventLoop, options: options)
            answer.assumeIsolated().whenComplete { _ in resolver.close() }
            return answer
        }.get()
    }

    private static func failure(_ port: Int, secret: ClusterSecret? = nil, within limit: TimeAmount = .seconds(60))
        async -> String?
    {
        do {
            _ = try await ask(port, secret: secret, within: limit)
            return nil
        } catch {
            return (error as? JoinClient.Failure)?.description
        }
    }

    /// Node 1, which answers `reply`.
    private static func member(
        secret: ClusterSecret? = nil, reply: JoinReply = reply, _ body: (TransportNode) async throws -> Void
    ) async throws {
        let node = TransportNode(1)
        try await TransportNode.running([node]) {
            try await node.start { $0.secret = secret }
            node.joinReply.withLock { $0 = reply }
            try await body(node)
        }
    }

    @Test func memberIsToldWhoItIs() async throws {
        try await Self.member { node in
            let answer = try await Self.ask(node.port)
            #expect(answer.reply == Self.reply)
            #expect(answer.ownHost == "127.0.0.1")
            #expect(node.seen.withLock { $0.joinRequests } == [Self.request])
            #expect(node.seen.withLock { $0.accepted.isEmpty } && node.log.warnings.isEmpty)
        }
    }

    @Test func strangerIsToldSoAndLoggedOnce() async throws {
        try await Self.member(reply: .unknown) { node in
            for _ in 0..<5 {
                let answer = try await Self.ask(node.port)
                #expect(answer.reply == .unknown)
            }
            #expect(node.log.warnings.count == 1 && node.log.warnings[0].contains("node4"), "\(node.log.warnings)")
        }
    }

    /// The answer comes when it is known; who goes before that, or says more meanwhile, costs nothing.
    @Test func answerMayTakeItsTime() async throws {
        try await Self.member { node in
            node.joinDelay.withLock { $0 = .milliseconds(100) }
            let hasty = try await RawPeer.dial(node.port)
            try await hasty.send(Self.request.frame)
            let talkative = try await RawPeer.dial(node.port)
            try await talkative.send(Self.request.frame)
            try await eventually("both asked") { node.seen.withLock { $0.joinRequests.count == 2 } }
            try await hasty.close()
            // The connection may be closed before all of it is written.
            try? await talkative.send(Self.request.frame)
            try await eventually("the end") { talkative.isClosed }
            #expect(talkative.received.readableBytes == 0)
            #expect(try await Self.ask(node.port).reply == Self.reply)
            #expect(node.seen.withLock { $0.joinRequests.count } == 3)
        }
    }

    @Test func memberThatCannotTellSaysNothing() async throws {
        try await Self.member { node in
            node.joinReply.withLock { $0 = nil }
            #expect(await Self.failure(node.port)?.contains("its log says why") == true)
            #expect(node.log.warnings.count { $0.contains("no majority confirms") } == 1, "\(node.log.warnings)")
        }
    }

    @Test func secretIsProvedFirst() async throws {
        let (secret, other) = (TransportSecretTests.secret, TransportSecretTests.other)
        try await Self.member(secret: secret) { node in
            let answer = try await Self.ask(node.port, secret: secret)
            #expect(answer.reply == Self.reply)
            #expect(await Self.failure(node.port, secret: other)?.contains("does not hold the secret") == true)
            #expect(await Self.failure(node.port)?.contains("its log says why") == true)
            #expect(node.seen.withLock { $0.joinRequests.count } == 1)
        }
        try await Self.member { node in
            let failure = await Self.failure(node.port, secret: secret)
            #expect(failure?.contains("it may have no -cluster-secret-file") == true)
            #expect(node.seen.withLock { $0.joinRequests.isEmpty })
        }
    }

    @Test func failures() async throws {
        let silent = try await RawPeer.listen { _ in }
        let port = try #require(silent.localAddress?.port)
        #expect(await Self.failure(port, within: .milliseconds(500)) == "the handshake took too long")
        try await silent.close()
        #expect(await Self.failure(port) == "Connection refused")
    }

    @Test func wrongAnswersAreRefused() async throws {
        let answers: [ByteBuffer] = [
            ByteBuffer(string: "HTTP/1.1 400 Bad Request\r\n\r\n"),
            Hello.from(3, to: 1, .control).answered,
            Self.reply.frame.damaged(at: 30),
        ]
        for answer in answers {
            let listener = try await RawPeer.listen { raw in Task { try await raw.send(answer) } }
            let port = try #require(listener.localAddress?.port)
            #expect(await Self.failure(port)?.hasPrefix("broke the protocol") == true)
            try await listener.close()
        }
    }
}
