import NIOCore
import Testing
import VikTestSupport
import VikWire

/// What each decoder must refuse although frame and checksum are right.
@Suite struct MessageCodecTests {
    private static func refusal(of bytes: ByteBuffer, on channel: VikWire.Channel = .control) -> WireError? {
        do throws(WireError) {
            _ = try Message(decoding: bytes, on: channel)
            return nil
        } catch {
            return error
        }
    }

    private static func append(_ offset: Int, _ value: some FixedWidthInteger) -> WireError? {
        refusal(of: SpecExamples["append"].reframed(offset, value), on: .bulk)
    }

    @Test(arguments: Samples.messages.map(\.name))
    func termsHaveBounds(_ name: String) throws {
        let example = SpecExamples[name]
        let channel = try #require(Samples.messages.first { $0.name == name }).message.channel
        for term in [UInt64.max, WireLimits.maxTerm + 1] {
            #expect(
                Self.refusal(of: example.reframed(0, term), on: channel)
                    == .tooLarge(field: "term", value: term, limit: WireLimits.maxTerm))
        }
        #expect(Self.refusal(of: example.reframed(0, WireLimits.maxTerm), on: channel) == nil)
        #expect(Self.refusal(of: example.reframed(0, UInt64(0)), on: channel) != nil)
    }

    @Test(
        arguments: [
            ("vote-request", 8), ("append-reply-matched", 9), ("append-reply-rejected", 9),
            ("append-reply-rejected", 17), ("heartbeat", 8), ("heartbeat-reply", 16), ("read-index-reply", 16),
        ])
    func indexesHaveBounds(_ name: String, _ offset: Int) {
        for index in [UInt64.max, WireLimits.maxIndex + 1] {
            #expect(
                Self.refusal(of: SpecExamples[name].reframed(offset, index))
                    == .tooLarge(field: "index", value: index, limit: WireLimits.maxIndex))
        }
    }

    /// What is computed with has a limit; what is only compared has none.
    @Test(
        arguments: [
            ("heartbeat", 16, WireLimits.maxRound), ("heartbeat-reply", 8, WireLimits.maxRound),
            ("snapshot-offer", 16, WireLimits.maxIndex), ("snapshot-offer", 32, WireLimits.maxSnapshotBytes),
            ("snapshot-chunk", 16, WireLimits.maxSnapshotChunks), ("snapshot-end", 16, WireLimits.maxSnapshotChunks),
            ("snapshot-end", 32, WireLimits.maxSnapshotBytes),
            ("snapshot-reply-wants", 17, WireLimits.maxSnapshotChunks + 1),
            ("snapshot-reply-installed", 17, WireLimits.maxIndex), ("read-index-request", 8, .max),
            ("read-index-reply", 8, .max), ("snapshot-offer", 8, .max), ("snapshot-chunk", 8, .max),
            ("snapshot-end", 8, .max), ("snapshot-reply-wants", 8, .max),
        ] as [(String, Int, UInt64)])
    func numbersHaveBounds(_ name: String, _ offset: Int, _ limit: UInt64) throws {
        let channel = try #require(Samples.messages.first { $0.name == name }).message.channel
        func refusal(_ value: UInt64) -> WireError? {
            Self.refusal(of: SpecExamples[name].reframed(offset, value), on: channel)
        }
        if limit < .max {
            for value in [limit + 1, 1 << 63, .max] {
                guard case .tooLarge(_, value, limit)? = refusal(value) else {
                    Issue.record("\(value): \(String(describing: refusal(value)))")
                    continue
                }
            }
        }
        let atLimit = refusal(limit)
        // More chunks than records and bytes are refused for that.
        if case .tooLarge? = atLimit { Issue.record("\(limit) is refused") }
        if name != "snapshot-end" { #expect(atLimit == nil) }
    }

    @Test func anEndTellsOfASnapshot() {
        func refusal(_ chunks: UInt64, _ records: UInt64, _ bytes: UInt64) -> WireError? {
            let end = SnapshotEnd(
                term: 1, transfer: 1, chunks: chunks, records: records, rawBytes: bytes, checksum: 0)
            return Self.refusal(of: Message.snapshotEnd(end).encoded, on: .snapshot)
        }
        for (chunks, records, bytes) in [(0, 0, 0), (0, 1, 20), (2, 1, 20), (1, 20, 20), (1, .max, 20)]
            as [(UInt64, UInt64, UInt64)]
        {
            #expect(
                refusal(chunks, records, bytes)
                    == .invalid("a snapshot of \(chunks) chunks, \(records) records and \(bytes) bytes"))
        }
        #expect(refusal(1, 1, 20) == nil)
        let (chunks, bytes) = (WireLimits.maxSnapshotChunks, WireLimits.maxSnapshotBytes)
        #expect(refusal(chunks, bytes - 1, bytes) == nil)
    }

    /// Nobody could apply it: each node that has it would stop.
    @Test func aCommandThatDoesNotDecodeIsRefused() {
        func append(_ payload: [UInt8]) -> WireError? {
            let entries = Entry.batch(
                from: 1, term: 1, kind: .command,
                payloads: [Command.put(key: [1], value: [2]), ByteBuffer(bytes: payload)])
            let request = AppendRequest(term: 1, previousIndex: 0, previousTerm: 0, commit: 0, entries: entries)
            return Self.refusal(of: Message.append(request).encoded, on: .bulk)
        }
        #expect(append([0, 0, 0, 1, 2, 0, 1, 0, 0, 0, 0, 97]) == nil)
        for payload: [UInt8] in [
            [], [0, 0, 0], [0, 0, 0, 0], [0, 0, 3, 233], [255, 255, 255, 255], [0, 0, 0, 1],
            [0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 16, 1, 0, 0, 0, 0, 97],
            [0, 0, 0, 1, 1, 0, 1, 255, 255, 255, 255, 97], [0, 0, 0, 1, 3, 0, 1, 0, 0, 0, 0, 97],
            [0, 0, 0, 1, 2, 0, 1, 0, 0, 0, 1, 97, 97], [0, 0, 0, 1, 1, 0, 1, 0, 0, 0, 1, 97],
            [0, 0, 0, 1, 2, 0, 1, 0, 0, 0, 0, 97, 0], [0, 0, 0, 2, 2, 0, 1, 0, 0, 0, 0, 97],
        ] {
            #expect(append(payload) != nil, "\(payload)")
        }
    }

    @Test func refusedVoteMayHaveTermZero() {
        let refused = Message.voteReply(VoteReply(term: 0, isPreVote: true, isGranted: false))
        #expect(Self.refusal(of: refused.encoded) == nil)
        let granted = Message.voteReply(VoteReply(term: 0, isPreVote: true, isGranted: true))
        #expect(Self.refusal(of: granted.encoded) == .invalid("the term of a message starts at 1"))
    }

    @Test func voteRequest() {
        let example = SpecExamples["vote-request"]
        for flags in [2, 5, 8] as [UInt8] {
            let error = Self.refusal(of: example.reframed(24, flags))
            #expect(error == .unknown(field: "vote flags", value: UInt64(flags)))
        }
        #expect(Self.refusal(of: example.reframed(8, UInt64(0))) != nil)
        #expect(Self.refusal(of: example.reframed(16, UInt64(0))) != nil)
        #expect(Self.refusal(of: example.reframed(16, UInt64(7))) != nil)
    }

    @Test func voteReply() {
        let example = SpecExamples["vote-reply"]
        #expect(Self.refusal(of: example.reframed(8, UInt8(4))) == .unknown(field: "vote flags", value: 4))
    }

    @Test func appendReply() {
        let matched = SpecExamples["append-reply-matched"]
        let rejected = SpecExamples["append-reply-rejected"]
        #expect(Self.refusal(of: matched.reframed(8, UInt8(2))) == .unknown(field: "append outcome", value: 2))
        #expect(Self.refusal(of: matched.reframed(8, UInt8(1))) == .truncated("append reply"))
        #expect(Self.refusal(of: rejected.reframed(8, UInt8(0))) == .invalid("bytes after the end of a message"))
        #expect(Self.refusal(of: rejected.reframed(17, UInt64(1000))) != nil, "hint not before the rejected index")
        #expect(Self.refusal(of: rejected.reframed(25, UInt64(0))) != nil, "hint without its term")
        #expect(Self.refusal(of: rejected.reframed(25, UInt64(8))) != nil, "hint of a later term")
    }

    @Test func appendHeader() {
        #expect(Self.append(8, WireLimits.maxIndex + 1) != nil)
        #expect(Self.append(8, UInt64.max) != nil)
        #expect(Self.append(8, UInt64(0)) != nil, "previous term without index")
        #expect(Self.append(16, UInt64(0)) != nil, "previous index without term")
        #expect(Self.append(16, UInt64(8)) != nil, "previous term later than the message's")
        #expect(Self.append(24, UInt64.max) != nil, "commit")
    }

    @Test(arguments: [4_097, 0x00ff_ffff, 0x7fff_ffff, 0xffff_ffff] as [UInt32])
    func appendCountHasALimit(_ count: UInt32) {
        #expect(Self.append(32, count) == .tooLarge(field: "entries in an append", value: UInt64(count), limit: 4_096))
    }

    @Test func appendCountFitsItsBytes() {
        #expect(Self.append(32, UInt32(4_096)) == .truncated("entries"))
        #expect(Self.append(32, UInt32(3)) == .truncated("entries"))
        #expect(Self.append(32, UInt32(1)) == .invalid("bytes after the end of a message"))
        #expect(Self.append(32, UInt32(0)) == .invalid("bytes after the end of a message"))
    }

    @Test func entriesAreConsecutive() {
        let (first, second) = (36, 36 + Entry.headerBytes)
        #expect(Self.append(first + 16, UInt64(1000)) == .invalid("entries are not consecutive"))
        #expect(Self.append(second + 16, UInt64(1001)) == .invalid("entries are not consecutive"))
        #expect(Self.append(second + 16, UInt64(1003)) == .invalid("entries are not consecutive"))
        #expect(Self.append(first + 16, UInt64(0)) == .invalid("entry index and term start at 1"))
        #expect(Self.append(first + 16, UInt64.max) == .invalid("entries are not consecutive"))
    }

    @Test func termsOfEntriesNeverFall() {
        let (first, second) = (36, 36 + Entry.headerBytes)
        #expect(Self.append(first + 8, UInt64(5)) == .invalid("an entry's term is earlier than the one before"))
        #expect(Self.append(second + 8, UInt64(6)) == .invalid("an entry's term is earlier than the one before"))
        #expect(Self.append(second + 8, UInt64(8)) == .invalid("an entry's term is later than the message's"))
        #expect(Self.append(first + 8, UInt64(6)) == nil)
    }

    @Test func entriesNeverPassTheHighestIndex() {
        let last = WireLimits.maxIndex
        func append(_ previous: LogIndex) -> ByteBuffer {
            let entries = Entry.batch(
                from: previous + 1, term: 3, kind: .noOp, payloads: [ByteBuffer](repeating: ByteBuffer(), count: 2))
            return Message.append(
                AppendRequest(term: 3, previousIndex: previous, previousTerm: 3, commit: 0, entries: entries)
            ).encoded
        }
        #expect(Self.refusal(of: append(last - 2), on: .bulk) == nil)
        let error = Self.refusal(of: append(last - 1), on: .bulk)
        #expect(error == .tooLarge(field: "index", value: last + 1, limit: last))
    }

    @Test func unknownEntryKindsAndFlagsAreRefused() {
        #expect(Self.append(36 + 4, UInt8(3)) == .unknown(field: "entry kind", value: 3))
        #expect(Self.append(36 + 5, UInt8(1)) == .unknown(field: "entry flags", value: 1))
        #expect(Self.append(36 + 6, UInt16(1)) == .unknown(field: "entry reserved field", value: 1))
    }

    /// It would count as soon as it stands in a log.
    @Test func aConfigurationThatDoesNotDecodeIsRefused() {
        let entry = Entry(index: 1, term: 1, kind: .configuration, payload: ByteBuffer(bytes: [0]))
        let message = Message.append(
            AppendRequest(term: 1, previousIndex: 0, previousTerm: 0, commit: 0, entries: [entry]))
        #expect(Self.refusal(of: message.encoded, on: .bulk) == .truncated("configuration"))
    }

    @Test func snapshotChunksDeclareWhatTheyMayNeed() {
        let stored = SpecExamples["snapshot-chunk"]
        func refusal(_ offset: Int, _ value: some FixedWidthInteger) -> WireError? {
            Self.refusal(of: stored.reframed(offset, value), on: .snapshot)
        }
        for size in [WireLimits.maxSnapshotChunkBytes + 1, 0x7fff_ffff, 0xffff_ffff] {
            #expect(refusal(28, UInt32(size)) == .tooLarge(field: "chunk", value: UInt64(size), limit: 2 << 20))
        }
        #expect(refusal(28, UInt32(30)) == .invalid("a stored chunk has another size"))
        #expect(refusal(24, UInt8(1)) == .invalid("a compressed chunk is not smaller"))
        #expect(refusal(24, UInt8(2)) == .unknown(field: "chunk encoding", value: 2))
        #expect(refusal(16, UInt64(0)) == .invalid("chunks are numbered from 1"))
        #expect(refusal(25, UInt8(1)) != nil)
    }

    @Test(arguments: [21, 0x00ff_ffff, 0x7fff_ffff, 0xffff_ffff] as [UInt32])
    func payloadLengthsAreChecked(_ length: UInt32) {
        let error = Self.append(36 + Entry.headerBytes, length)
        if length > WireLimits.maxEntryPayloadBytes {
            let limit = UInt64(WireLimits.maxEntryPayloadBytes)
            #expect(error == .tooLarge(field: "entry payload", value: UInt64(length), limit: limit))
        } else {
            #expect(error == .truncated("entry payload"))
        }
    }

    @Test(arguments: Samples.messages.map(\.name))
    func everyShorterBodyIsRefused(_ name: String) throws {
        let example = SpecExamples[name]
        let channel = try #require(Samples.messages.first { $0.name == name }).message.channel
        // Its last byte is there only if it has something to tell.
        let optional = name == "heartbeat-reply-full" ? 1 : 0
        for missing in 1 + optional...example.readableBytes - Frame.headerBytes {
            let bytes = example.reframed { $0.moveWriterIndex(to: $0.writerIndex - missing) }
            #expect(Self.refusal(of: bytes, on: channel) != nil, "without its last \(missing) bytes")
        }
        #expect(Self.refusal(of: example.reframed { $0.writeInteger(UInt8(0)) }, on: channel) != nil)
    }

    @Test func largestEntryTravels() throws {
        // As many operations as there may be, and as many bytes in them.
        var payload = ByteBuffer()
        let operations = WireLimits.maxOperationsPerCommand
        Command.writeHeader(operationCount: operations, into: &payload)
        for number in 0..<operations {
            let rest = WireLimits.maxCommandPayloadBytes % operations
            let bytes = WireLimits.maxCommandPayloadBytes / operations + (number < rest ? 1 : 0)
            Command.writePut(key: [1], value: [UInt8](repeating: 7, count: bytes - 1), into: &payload)
        }
        #expect(payload.readableBytes == WireLimits.maxEntryPayloadBytes)
        let message = Message.append(
            AppendRequest(
                term: 1, previousIndex: 0, previousTerm: 0, commit: 0,
                entries: [Entry(index: 1, term: 1, kind: .command, payload: payload)]))
        #expect(try Message(decoding: message.encoded, on: .bulk) == message)
    }
}
