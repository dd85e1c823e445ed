import NIOCore
import Testing
import VikTestSupport
import VikWire

/// Random messages there and back, and random damage to them.
@Suite struct RandomWireTests {
    @Test func randomMessagesComeBack() throws {
        var random = SeededGenerator.announced()
        for _ in 0..<20_000 {
            let message = Message.random(using: &random)
            #expect(try Message(decoding: message.encoded, on: message.channel) == message)
        }
    }

    @Test func randomHellosAndConfigurationsComeBack() throws {
        var random = SeededGenerator.announced()
        for _ in 0..<5_000 {
            var hello = Samples.hello
            hello.features = random.next()
            hello.incarnation = RandomID(using: &random)
            hello.isPeerUnknown = .random(using: &random)
            hello.state = StoreState.allCases.randomElement(using: &random)!
            hello.recordedStore = StoreID(using: &random)
            hello.channel = VikWire.Channel.allCases.randomElement(using: &random)!
            hello.label = String(repeating: "é", count: Int.random(in: 1...64, using: &random))
            var buffer = ByteBuffer()
            FrameEncoder.write(hello: hello, into: &buffer)
            let frame = try #require(try FrameDecoder(mode: .hello).next(from: &buffer))
            #expect(try Hello(from: frame) == hello)

            // An answer tells more, as far as it says that it does.
            if hello.understands(.logEnd) {
                let term = UInt64.random(in: 1...WireLimits.maxTerm, using: &random)
                let durable = UInt64.random(in: 1...WireLimits.maxIndex, using: &random)
                let commit = UInt64.random(in: 0...durable, using: &random)
                hello.logEnd = LogEnd(
                    term: term, durableIndex: durable, durableTerm: term, commitIndex: commit,
                    commitTerm: commit == 0 ? 0 : UInt64.random(in: 1...term, using: &random))
            }
            if hello.understands(.storeRefusal) { hello.isStoreRefused = .random(using: &random) }
            FrameEncoder.write(helloReply: hello, into: &buffer)
            let answer = try #require(try FrameDecoder(mode: .helloReply).next(from: &buffer))
            #expect(try Hello(from: answer) == hello)

            let count = Int.random(in: 1...WireLimits.maxMembers, using: &random)
            let members = Set((0..<count).map { _ in UInt64.random(in: 1 ... .max, using: &random) }).map { id in
                Member(
                    id: MemberID(rawValue: id), store: StoreID(using: &random), role: .voter,
                    address: "host-\(id):9090", label: "n\(id)")
            }
            let configuration = Configuration(incarnation: Samples.incarnation, members: members)
            #expect(try Configuration(from: configuration.encoded()) == configuration)
        }
    }

    /// Damaged frames whose checksum is right: what a decoder lets pass is encoded again to the very same bytes, and
    /// holds no more entries than its bytes can.
    @Test func damagedMessagesAreRefusedOrHarmless() throws {
        var random = SeededGenerator.announced()
        var accepted = 0
        for _ in 0..<100_000 {
            let message = Message.random(using: &random)
            let bytes = message.encoded.reframed { $0.damage(using: &random) }
            guard let decoded = try? Message(decoding: bytes, on: message.channel) else { continue }
            accepted += 1
            #expect(decoded.encoded == bytes)
            if case .append(let append) = decoded {
                #expect(append.entries.count * Entry.headerBytes <= bytes.readableBytes)
            }
        }
        #expect(accepted > 0 && accepted < 100_000)
    }

    /// Damage anywhere, header and checksum included: refused, or waits for more, unless the bytes are as they were.
    @Test func damagedFramesAreRefused() throws {
        var random = SeededGenerator.announced()
        for _ in 0..<100_000 {
            let message = Message.random(using: &random)
            let whole = message.encoded
            var bytes = whole
            bytes.damage(using: &random)
            guard let decoded = try? Message(decoding: bytes, on: message.channel) else { continue }
            #expect(bytes == whole && decoded == message)
        }
    }

    @Test func damagedHellosAreRefusedOrHarmless() throws {
        var random = SeededGenerator.announced()
        for _ in 0..<100_000 {
            var bytes = SpecExamples["hello"].reframed { $0.damage(using: &random) }
            let original = bytes
            guard let frame = try? FrameDecoder(mode: .hello).next(from: &bytes), let hello = try? Hello(from: frame)
            else { continue }
            var again = ByteBuffer()
            FrameEncoder.write(hello: hello, into: &again)
            #expect(again == original)
        }
    }

    @Test func damagedAnswersAreRefusedOrHarmless() throws {
        var random = SeededGenerator.announced()
        var accepted = 0
        for _ in 0..<100_000 {
            var bytes = SpecExamples["hello-reply-refused"].reframed { $0.damage(using: &random) }
            let original = bytes
            guard let frame = try? FrameDecoder(mode: .helloReply).next(from: &bytes),
                let hello = try? Hello(from: frame)
            else { continue }
            accepted += 1
            var again = ByteBuffer()
            FrameEncoder.write(helloReply: hello, into: &again)
            #expect(again == original)
        }
        #expect(accepted > 0 && accepted < 100_000)
    }

    @Test func damagedConfigurationsAreRefusedOrHarmless() throws {
        var random = SeededGenerator.announced()
        for _ in 0..<100_000 {
            var bytes = SpecExamples["configuration"]
            bytes.damage(using: &random)
            guard let configuration = try? Configuration(from: bytes) else { continue }
            #expect(configuration.encoded() == bytes)
        }
    }
}

extension Message {
    fileprivate static func random(using random: inout SeededGenerator) -> Message {
        func index(_ random: inout SeededGenerator) -> UInt64 { .random(in: 0...(1 << 40), using: &random) }
        let term = UInt64.random(in: 2...(1 << 40), using: &random)
        switch Int.random(in: 0..<15, using: &random) {
        case 0:
            let last = index(&random)
            let lastTerm = last == 0 ? 0 : UInt64.random(in: 1..<term, using: &random)
            return .voteRequest(
                VoteRequest(
                    term: term, isPreVote: last % 3 == 0, isHandOver: last % 3 == 1, lastIndex: last,
                    lastTerm: lastTerm))
        case 1:
            return .voteReply(
                VoteReply(term: term, isPreVote: .random(using: &random), isGranted: .random(using: &random)))
        case 2, 3:
            return .append(.random(term: term, using: &random))
        case 4:
            return .appendReply(AppendReply(term: term, outcome: .matched(index(&random))))
        case 5:
            let previous = index(&random) + 1
            let hint = UInt64.random(in: 0..<previous, using: &random)
            let hintTerm = hint == 0 ? 0 : UInt64.random(in: 1...term, using: &random)
            return .appendReply(
                AppendReply(
                    term: term, outcome: .rejected(previousIndex: previous, hintIndex: hint, hintTerm: hintTerm)))
        case 6:
            return .heartbeat(Heartbeat(term: term, commit: index(&random), round: random.next() >> 2))
        case 7:
            return .heartbeatReply(
                HeartbeatReply(
                    term: term, round: random.next() >> 2, verified: index(&random),
                    isDiskFull: Bool.random(using: &random)))
        case 14:
            let place = index(&random) + 1
            return .storeVerdict(
                StoreVerdict(
                    term: term,
                    finding: Bool.random(using: &random)
                        ? .lost(place)
                        : .contradicted(place, leaderTerm: UInt64.random(in: 0...term, using: &random))))
        case 8:
            return .timeoutNow(TimeoutNow(term: term))
        case 9:
            let last = index(&random) + 1
            return .snapshotOffer(
                SnapshotOffer(
                    term: term, transfer: random.next(), index: last,
                    indexTerm: UInt64.random(in: 1...term, using: &random), estimatedBytes: random.next() >> 8))
        case 10:
            let bytes = ByteBuffer(bytes: (0..<Int.random(in: 1...40, using: &random)).map { UInt8($0) })
            let isStored = Bool.random(using: &random)
            return .snapshotChunk(
                SnapshotChunk(
                    term: term, transfer: random.next(),
                    sequence: .random(in: 1...WireLimits.maxSnapshotChunks, using: &random),
                    encoding: isStored ? .stored : .zlib,
                    rawBytes: UInt32(bytes.readableBytes + (isStored ? 0 : 1)), rawChecksum: 7, bytes: bytes))
        case 11:
            let chunks = UInt64.random(in: 1...WireLimits.maxSnapshotChunks, using: &random)
            let records = chunks + random.next() >> 20
            return .snapshotEnd(
                SnapshotEnd(
                    term: term, transfer: random.next(), chunks: chunks, records: records,
                    rawBytes: records + 1 + random.next() >> 20, checksum: 9))
        case 12, 13:
            let outcomes: [SnapshotReply.Outcome] = [
                .wants(sequence: random.next() >> 16 | 1), .installed(index(&random) + 1), .refused,
            ]
            return .snapshotReply(
                SnapshotReply(
                    term: term, transfer: random.next(), outcome: outcomes.randomElement(using: &random)!))
        default:
            return Bool.random(using: &random)
                ? .readIndexRequest(ReadIndexRequest(term: term, context: random.next()))
                : .readIndexReply(ReadIndexReply(term: term, context: random.next(), index: index(&random)))
        }
    }
}

extension AppendRequest {
    fileprivate static func random(term: Term, using random: inout SeededGenerator) -> AppendRequest {
        let previous = UInt64.random(in: 0...(1 << 40), using: &random)
        let previousTerm = previous == 0 ? 0 : UInt64.random(in: 1...term, using: &random)
        let kind: EntryKind = Bool.random(using: &random) ? .command : .configuration
        let payloads = (0..<Int.random(in: 0...6, using: &random)).map { _ in
            if kind == .configuration { return Samples.configuration.encoded() }
            return .command(using: &random)
        }
        let entryTerm = UInt64.random(in: max(previousTerm, 1)...term, using: &random)
        return AppendRequest(
            term: term, previousIndex: previous, previousTerm: previousTerm,
            commit: UInt64.random(in: 0...previous, using: &random),
            entries: Entry.batch(from: previous + 1, term: entryTerm, kind: kind, payloads: payloads))
    }
}

extension ByteBuffer {
    fileprivate static func command(using random: inout SeededGenerator) -> ByteBuffer {
        func bytes(_ counts: ClosedRange<Int>) -> [UInt8] {
            (0..<Int.random(in: counts, using: &random)).map { _ in .random(in: 0...255, using: &random) }
        }
        var command = ByteBuffer()
        let count = Int.random(in: 1...4, using: &random)
        Command.writeHeader(operationCount: count, into: &command)
        for _ in 0..<count {
            if Bool.random(using: &random) {
                Command.writePut(key: bytes(1...20), value: bytes(0...40), into: &command)
            } else {
                Command.writeDelete(key: bytes(1...20), into: &command)
            }
        }
        return command
    }

    /// One to three edits: a byte overwritten, a word set to an extreme, bytes cut off, added or swapped.
    fileprivate mutating func damage(using random: inout SeededGenerator) {
        let extremes: [UInt64] = [0, 1, .max, 1 << 62, (1 << 62) + 1, 1 << 63, 0xffff_ffff, 0x7fff_ffff]
        for _ in 0..<Int.random(in: 1...3, using: &random) where readableBytes > 0 {
            let offset = readerIndex + Int.random(in: 0..<readableBytes, using: &random)
            let room = writerIndex - offset
            switch Int.random(in: 0..<6, using: &random) {
            case 0, 1:
                setInteger(UInt8.random(in: 0...255, using: &random), at: offset)
            case 2 where room >= 8:
                setInteger(extremes.randomElement(using: &random)!, at: offset)
            case 3 where room >= 4:
                setInteger(UInt32(truncatingIfNeeded: extremes.randomElement(using: &random)!), at: offset)
            case 4:
                moveWriterIndex(to: offset)
            default:
                writeInteger(UInt8.random(in: 0...255, using: &random))
            }
        }
    }
}
