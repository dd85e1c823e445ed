import NIOCore
import Testing
import VikTestSupport
import VikWire

/// The worked examples of `proto-spec.md`, in both directions.
@Suite struct SpecTests {
    @Test(arguments: Samples.messages.map(\.name))
    func message(_ name: String) throws {
        let message = try #require(Samples.messages.first { $0.name == name }).message
        #expect(message.encoded == SpecExamples[name])
        #expect(try Message(decoding: SpecExamples[name], on: message.channel) == message)
    }

    @Test func hello() throws {
        var buffer = ByteBuffer()
        FrameEncoder.write(hello: Samples.hello, into: &buffer)
        #expect(buffer == SpecExamples["hello"])
        let frame = try #require(try FrameDecoder(mode: .hello).next(from: &buffer))
        #expect(try Hello(from: frame) == Samples.hello)
    }

    @Test(arguments: [
        ("hello-reply", Samples.helloReply), ("hello-reply-log-end", Samples.helloReplyWithLogEnd),
        ("hello-reply-refused", Samples.helloReplyRefused),
    ]) func helloReply(_ name: String, _ hello: Hello) throws {
        try handshake(name, .helloReply, hello) {
            FrameEncoder.write(helloReply: $0, into: &$1)
        } read: { frame throws(WireError) in
            try Hello(from: frame)
        }
    }

    /// A frame that comes before a connection has a channel, both ways.
    private func handshake<Value: Equatable>(
        _ name: String, _ mode: FrameDecoder.Mode, _ value: Value, write: (Value, inout ByteBuffer) -> Void,
        read: (Frame) throws(WireError) -> Value
    ) throws {
        var buffer = ByteBuffer()
        write(value, &buffer)
        #expect(buffer == SpecExamples[name])
        let frame = try #require(try FrameDecoder(mode: mode).next(from: &buffer))
        #expect(try read(frame) == value)
        // Neither a shorter nor a longer body passes.
        for missing in 1..<SpecExamples[name].readableBytes - Frame.headerBytes {
            var cut = SpecExamples[name].reframed { $0.moveWriterIndex(to: $0.writerIndex - missing) }
            #expect(throws: WireError.self) {
                let frame = try #require(try FrameDecoder(mode: mode).next(from: &cut))
                _ = try read(frame)
            }
        }
        var long = SpecExamples[name].reframed { $0.writeInteger(UInt8(0)) }
        #expect(throws: WireError.self) {
            let frame = try #require(try FrameDecoder(mode: mode).next(from: &long))
            _ = try read(frame)
        }
    }

    @Test func joining() throws {
        try handshake("join-request", .hello, Samples.joinRequest) {
            FrameEncoder.write($0, into: &$1)
        } read: { frame throws(WireError) in
            try JoinRequest(from: frame)
        }
        for (name, reply) in [("join-reply-member", Samples.joinReply), ("join-reply-unknown", JoinReply.unknown)] {
            try handshake(name, .joinReply, reply) {
                FrameEncoder.write($0, into: &$1)
            } read: { frame throws(WireError) in
                try JoinReply(from: frame)
            }
        }
    }

    @Test func authentication() throws {
        let bytes = { (range: Range<UInt8>) in Array(range) }
        let reply = SpecExamples.all["authentication-reply"]!
        let proof = SpecExamples.all["authentication-proof"]!
        try handshake(
            "authentication-challenge", .authenticationChallenge, AuthenticationChallenge(nonce: bytes(0x40..<0x60))
        ) {
            FrameEncoder.write($0, into: &$1)
        } read: { frame throws(WireError) in
            try AuthenticationChallenge(from: frame)
        }
        try handshake(
            "authentication-reply", .authenticationReply,
            AuthenticationReply(nonce: bytes(0x60..<0x80), proof: Array(reply.suffix(32)))
        ) {
            FrameEncoder.write($0, into: &$1)
        } read: { frame throws(WireError) in
            try AuthenticationReply(from: frame)
        }
        try handshake(
            "authentication-proof", .authenticationProof, AuthenticationProof(proof: Array(proof.suffix(32)))
        ) {
            FrameEncoder.write($0, into: &$1)
        } read: { frame throws(WireError) in
            try AuthenticationProof(from: frame)
        }
    }

    @Test func configuration() throws {
        #expect(Samples.configuration.encoded() == SpecExamples["configuration"])
        #expect(try Configuration(from: SpecExamples["configuration"]) == Samples.configuration)
    }

    @Test func everyExampleIsTested() {
        let tested =
            Samples.messages.map(\.name) + [
                "hello", "hello-reply", "hello-reply-log-end", "hello-reply-refused", "configuration", "join-request",
                "join-reply-member", "join-reply-unknown",
                "authentication-challenge", "authentication-reply", "authentication-proof",
            ]
        #expect(Set(SpecExamples.all.keys) == Set(tested))
        let types = Set(Samples.messages.map(\.message.type))
        #expect(types == Set(MessageType.allCases.filter { $0.channel != nil }))
    }

    @Test func limitsAreThoseOfTheDocument() {
        #expect(WireLimits.maxEntryPayloadBytes == 8_395_612)
        #expect(WireLimits.maxFrameBodyBytes == 9_444_468)
        #expect(WireLimits.maxEntriesPerAppend == 4_096)
        #expect(WireLimits.maxHelloBodyBytes == 1_024)
        #expect(WireLimits.maxMembers == 15)
        #expect(WireLimits.maxSnapshotChunkBytes == 2 << 20 && WireLimits.maxJoinReplyBodyBytes == 8_192)
        #expect(WireLimits.targetSnapshotChunkBytes == 256 << 10)
        #expect(WireLimits.maxRound == 1 << 62 && WireLimits.maxSnapshotWindow == 32)
        #expect(WireLimits.maxSnapshotChunks == 1 << 48 && WireLimits.maxSnapshotBytes == 1 << 56)
        #expect(WireLimits.maxTerm == 1 << 62 && WireLimits.maxIndex == 1 << 62)
    }
}
