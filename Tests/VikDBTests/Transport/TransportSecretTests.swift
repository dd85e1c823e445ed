import NIOCore
import Synchronization
import Testing
import VikDB
import VikWire

/// Nodes of a cluster with a secret, and others.
@Suite struct TransportSecretTests {
    static let secret = ClusterSecret(fileContents: Array("the secret of these tests".utf8))!
    static let other = ClusterSecret(fileContents: Array("another secret altogether".utf8))!

    /// Two nodes that dial each other.
    private static func pair(
        _ first: ClusterSecret?, _ second: ClusterSecret?, _ body: ([TransportNode]) async throws -> Void
    ) async throws {
        let nodes = [TransportNode(1), TransportNode(2)]
        try await TransportNode.running(nodes) {
            try await nodes[0].start { $0.secret = first }
            try await nodes[1].start { $0.secret = second }
            try await nodes[0].setPeers([nodes[1]])
            try await nodes[1].setPeers([nodes[0]])
            try await body(nodes)
        }
    }

    @Test func nodesWithTheSameSecretConnect() async throws {
        try await Self.pair(Self.secret, Self.secret) { nodes in
            try await eventually("both links both ways") {
                nodes.allSatisfy { $0.seen.withLock { $0.up.count == 2 && $0.accepted.count == 2 } }
            }
            let messages: [Message] = [.heartbeat(round: 1), .append(after: 0, count: 3, bytes: 1_000)]
            try await nodes[0].send(messages, to: nodes[1].member)
            try await nodes[1].send(messages, to: nodes[0].member)
            try await eventually("the messages") {
                nodes.allSatisfy { $0.seen.withLock { $0.messages.count == 2 } }
            }
            #expect(nodes.allSatisfy { !$0.log.warnings.contains { $0.contains("secret") } })
        }
    }

    /// Nobody gets through, and both logs say what to look at.
    private static func strangers(
        _ first: ClusterSecret?, _ second: ClusterSecret?, firstLogs: [String], secondLogs: [String]
    ) async throws {
        try await pair(first, second) { nodes in
            try await eventually("clear words on both sides") {
                zip(nodes, [firstLogs, secondLogs]).allSatisfy { node, texts in
                    texts.allSatisfy { text in node.log.warnings.contains { $0.contains(text) } }
                }
            }
            try await Task.sleep(for: .milliseconds(200))
            for (node, texts) in zip(nodes, [firstLogs, secondLogs]) {
                #expect(node.seen.withLock { $0.greeted.isEmpty && $0.accepted.isEmpty })
                // Each link of two, and the listener once for all.
                #expect(node.log.warnings.count <= 3, "\(node.log.warnings)")
                #expect(node.log.warnings.allSatisfy { line in texts.contains { line.contains($0) } })
            }
        }
    }

    @Test func differentSecrets() async throws {
        let texts = ["does not hold the secret of this node's", "may hold another"]
        try await Self.strangers(Self.secret, Self.other, firstLogs: texts, secondLogs: texts)
    }

    @Test func secretOnOneSide() async throws {
        try await Self.strangers(
            Self.secret, nil,
            firstLogs: [
                "this node uses -cluster-secret-file, the peer has none", "it may have no -cluster-secret-file",
            ],
            secondLogs: ["the peer uses -cluster-secret-file, this node has none", "its log says why"])
    }

    // MARK: The test dials

    /// Node 1 with the secret, whose peer 3 the test plays.
    private static func accepting(
        _ configure: @escaping @Sendable (inout TransportOptions) -> Void = { _ in },
        _ body: (TransportNode) async throws -> Void
    ) async throws {
        let node = TransportNode(1)
        try await TransportNode.running([node]) {
            try await node.start {
                $0.secret = Self.secret
                configure(&$0)
            }
            try await node.setPeers([(MemberID(rawValue: 3), try HostPort(host: "127.0.0.1", port: 1))])
            try await body(node)
        }
    }

    private static let nonce = (0..<32).map { UInt8($0) }
    private static let hello = Hello.from(3, to: 1, .control)

    /// Dials, sends the challenge and takes the node's answer to it.
    private static func challenge(_ node: TransportNode) async throws -> (RawPeer, AuthenticationReply) {
        let raw = try await RawPeer.dial(node.port)
        try await raw.send(AuthenticationChallenge(nonce: nonce).frame)
        let frame = try #require(try await raw.next(.authenticationReply))
        return (raw, try AuthenticationReply(from: frame))
    }

    private static func proof(for reply: AuthenticationReply, by secret: ClusterSecret = secret) -> AuthenticationProof
    {
        AuthenticationProof(proof: secret.proof(of: .dialler, dialler: nonce, acceptor: reply.nonce))
    }

    /// The connection ends without a Hello.
    private static func expectRefused(_ raw: RawPeer, _ node: TransportNode, _ what: String) async throws {
        try await eventually("the end of a connection with \(what)") { raw.isClosed }
        #expect(node.seen.withLock { $0.accepted.isEmpty && $0.joinRequests.isEmpty }, "\(what)")
    }

    @Test func rightProofLetsTheHandshakeThrough() async throws {
        try await Self.accepting { node in
            let (raw, reply) = try await Self.challenge(node)
            #expect(Self.secret.accepts(reply.proof, of: .acceptor, dialler: Self.nonce, acceptor: reply.nonce))
            var bytes = Self.proof(for: reply).frame
            bytes.writeImmutableBuffer(Self.hello.dialled)
            try await raw.send(bytes)
            let frame = try #require(try await raw.next(.helloReply))
            #expect(try Hello(from: frame).member == node.member)
            try await raw.send(Message.heartbeat(round: 3).frame)
            try await eventually("the message") { node.seen.withLock { $0.messages.count == 1 } }
            try await raw.close()
        }
    }

    @Test func nothingComesBeforeTheChallenge() async throws {
        let firsts: [(String, ByteBuffer)] = [
            ("a hello", Self.hello.dialled),
            ("a join request", JoinRequest(store: StoreID(high: 1, low: 1), label: "x").frame),
            ("a heartbeat", Message.heartbeat(round: 1).frame),
            ("a proof", AuthenticationProof(proof: Self.nonce).frame),
            ("a reply", AuthenticationReply(nonce: Self.nonce, proof: Self.nonce).frame),
            ("HTTP", ByteBuffer(string: "GET / HTTP/1.1\r\n\r\n")),
        ]
        try await Self.accepting { node in
            for (what, bytes) in firsts {
                let raw = try await RawPeer.dial(node.port)
                try await raw.send(bytes)
                try await Self.expectRefused(raw, node, what)
                #expect(raw.received.readableBytes == 0, "\(what)")
            }
        }
    }

    @Test func nothingComesBetweenChallengeAndProof() async throws {
        try await Self.accepting { node in
            for bytes in [Self.hello.dialled, AuthenticationChallenge(nonce: Self.nonce).frame] {
                let (raw, _) = try await Self.challenge(node)
                try await raw.send(bytes)
                try await Self.expectRefused(raw, node, "a frame in place of the proof")
            }
        }
    }

    @Test func wrongProofs() async throws {
        try await Self.accepting { node in
            let (first, firstReply) = try await Self.challenge(node)
            let old = Self.proof(for: firstReply)
            try await first.send(old.frame)
            var nonces = Set([firstReply.nonce])
            let makers: [(String, (AuthenticationReply) -> AuthenticationProof)] = [
                ("a proof of an earlier connection", { _ in old }),
                ("the acceptor's own proof", { AuthenticationProof(proof: $0.proof) }),
                ("a proof with another secret", { Self.proof(for: $0, by: Self.other) }),
                ("a proof of zeros", { _ in AuthenticationProof(proof: [UInt8](repeating: 0, count: 32)) }),
            ]
            for (what, make) in makers {
                let (raw, reply) = try await Self.challenge(node)
                #expect(nonces.insert(reply.nonce).inserted, "a nonce is used once")
                var bytes = make(reply).frame
                bytes.writeImmutableBuffer(Self.hello.dialled)
                try await raw.send(bytes)
                try await Self.expectRefused(raw, node, what)
            }
            for place in 0..<32 {
                let (raw, reply) = try await Self.challenge(node)
                var changed = Self.proof(for: reply)
                changed.proof[place] ^= 1
                try await raw.send(changed.frame)
                try await Self.expectRefused(raw, node, "byte \(place) of the proof changed")
            }
            try await first.close()
        }
    }

    @Test func everyChangedByteOfTheDiallersFrames() async throws {
        try await Self.accepting { node in
            let challenge = AuthenticationChallenge(nonce: Self.nonce).frame
            for offset in 0..<challenge.readableBytes {
                let raw = try await RawPeer.dial(node.port)
                try await raw.send(challenge.damaged(at: offset))
                try await Self.expectRefused(raw, node, "byte \(offset) of the challenge changed")
                #expect(raw.received.readableBytes == 0)
            }
            for offset in 0..<44 {
                let (raw, reply) = try await Self.challenge(node)
                try await raw.send(Self.proof(for: reply).frame.damaged(at: offset))
                try await Self.expectRefused(raw, node, "byte \(offset) of the proof's frame changed")
            }
        }
    }

    @Test func trickledBytes() async throws {
        try await Self.accepting { node in
            let raw = try await RawPeer.dial(node.port)
            for byte in AuthenticationChallenge(nonce: Self.nonce).frame.readableBytesView {
                try await raw.send(ByteBuffer(integer: byte))
            }
            let frame = try #require(try await raw.next(.authenticationReply))
            var bytes = Self.proof(for: try AuthenticationReply(from: frame)).frame
            bytes.writeImmutableBuffer(Self.hello.dialled)
            for byte in bytes.readableBytesView { try await raw.send(ByteBuffer(integer: byte)) }
            #expect(try await raw.next(.helloReply) != nil)
            try await raw.close()
        }
    }

    /// The time of the handshake covers the proofs: who dawdles before or after them is closed.
    @Test func slowStrangersAreClosed() async throws {
        try await Self.accepting({ $0.handshakeTimeout = .milliseconds(300) }) { node in
            let silent = try await RawPeer.dial(node.port)
            let half = try await RawPeer.dial(node.port)
            let proven = try await RawPeer.dial(node.port)
            // Whichever of these is too late has been closed already, as it should.
            for raw in [half, proven] { try? await raw.send(AuthenticationChallenge(nonce: Self.nonce).frame) }
            if let frame = try await proven.next(.authenticationReply) {
                try? await proven.send(Self.proof(for: try AuthenticationReply(from: frame)).frame)
            }
            try await eventually("the end of all") { silent.isClosed && half.isClosed && proven.isClosed }
            #expect(node.seen.withLock { $0.accepted.isEmpty })
        }
    }

    @Test func strangersAreLimitedBeforeTheirProof() async throws {
        try await Self.accepting({ $0.maxStrangers = 4 }) { node in
            var raws: [RawPeer] = []
            for _ in 0..<12 {
                raws.append(try await RawPeer.dial(node.port))
                try? await raws.last!.send(AuthenticationChallenge(nonce: Self.nonce).frame)
            }
            try await eventually("the end of all but four") { raws.count { $0.isClosed } == 8 }
            for raw in raws { try await raw.close() }
        }
    }

    // MARK: The test is dialled

    /// Node 1 with the secret dials the test, which answers each challenge.
    private static func dialling(
        answer: @escaping @Sendable (AuthenticationChallenge) -> ByteBuffer,
        _ body: (TransportNode, _ connections: () -> [RawPeer]) async throws -> Void
    ) async throws {
        let accepted: @Sendable (RawPeer) async throws -> Void = { raw in
            guard let frame = try await raw.next(.authenticationChallenge) else { return }
            try await raw.send(answer(try AuthenticationChallenge(from: frame)))
            guard try await raw.next(.authenticationProof) != nil else { return }
            guard let frame = try await raw.next(.hello) else { return }
            try await raw.send(Hello.from(3, to: 1, try Hello(from: frame).channel).answered)
        }
        try await TransportNode.dialling({ $0.secret = Self.secret }, accepted: accepted, body)
    }

    private static func reply(to challenge: AuthenticationChallenge, nonce: [UInt8] = nonce) -> AuthenticationReply {
        AuthenticationReply(
            nonce: nonce, proof: secret.proof(of: .acceptor, dialler: challenge.nonce, acceptor: nonce))
    }

    /// Several attempts, none of which gets more out of the node than its challenge.
    private static func expectNoProof(_ node: TransportNode, _ connections: () -> [RawPeer]) async throws {
        try await eventually("several attempts") { connections().count { $0.isClosed } >= 6 }
        for raw in connections() { #expect(raw.received.readableBytes <= 56) }
        #expect(node.seen.withLock { $0.greeted.isEmpty })
    }

    @Test func acceptorThatKnowsTheSecret() async throws {
        try await Self.dialling(answer: { Self.reply(to: $0).frame }) { node, connections in
            try await eventually("both links") { node.seen.withLock { $0.up.count == 2 } }
            var nonces: Set<[UInt8]> = []
            for raw in connections() {
                var bytes = raw.received
                let frame = try #require(try FrameDecoder(mode: .authenticationChallenge).next(from: &bytes))
                let nonce = try AuthenticationChallenge(from: frame).nonce
                #expect(nonces.insert(nonce).inserted)
                let next = try #require(try FrameDecoder(mode: .authenticationProof).next(from: &bytes))
                let proof = try AuthenticationProof(from: next).proof
                #expect(Self.secret.accepts(proof, of: .dialler, dialler: nonce, acceptor: Self.nonce))
            }
        }
    }

    @Test func acceptorThatReplays() async throws {
        // A right answer, to the challenge of another connection.
        let recorded = Self.reply(to: AuthenticationChallenge(nonce: Self.nonce)).frame
        try await Self.dialling(answer: { _ in recorded }) { node, connections in
            try await Self.expectNoProof(node, connections)
        }
    }

    /// What a node sends is no answer to it, whatever is taken from it.
    @Test func acceptorThatReflects() async throws {
        try await Self.dialling(answer: { challenge in
            AuthenticationReply(
                nonce: challenge.nonce,
                proof: Self.secret.proof(of: .dialler, dialler: challenge.nonce, acceptor: challenge.nonce)
            ).frame
        }) { node, connections in
            try await Self.expectNoProof(node, connections)
        }
    }

    @Test func everyChangedByteOfTheAcceptorsFrame() async throws {
        let next = Mutex(0)
        try await Self.dialling(answer: { challenge in
            let offset = next.withLock { next in
                defer { next += 1 }
                return next % 76
            }
            return Self.reply(to: challenge).frame.damaged(at: offset)
        }) { node, connections in
            try await eventually("an attempt for each byte") { next.withLock { $0 } >= 76 }
            try await Self.expectNoProof(node, connections)
        }
    }

    @Test func everyChangedByteOfTheAcceptorsProof() async throws {
        let next = Mutex(0)
        try await Self.dialling(answer: { challenge in
            let offset = next.withLock { next in
                defer { next += 1 }
                return next % 64
            }
            var reply = Self.reply(to: challenge)
            if offset < 32 { reply.nonce[offset] ^= 1 } else { reply.proof[offset - 32] ^= 1 }
            return reply.frame
        }) { node, connections in
            try await eventually("an attempt for each byte") { next.withLock { $0 } >= 64 }
            try await Self.expectNoProof(node, connections)
        }
    }

    @Test func acceptorThatSaysHelloAtOnce() async throws {
        try await Self.dialling(answer: { _ in Hello.from(3, to: 1, .control).answered }) { node, connections in
            try await Self.expectNoProof(node, connections)
        }
    }
}
