import NIOCore
import VikWire

/// The values that the worked examples of `proto-spec.md` encode.
enum Samples {
    static let addresses = ["10.0.0.1:9090", "10.0.0.2:9090", "10.0.0.3:9090"]
    static let members = addresses.map { MemberID.founder(address: $0) }
    static let stores = [
        StoreID(high: 0x1011_1213_1415_1617, low: 0x1819_1a1b_1c1d_1e1f),
        StoreID(high: 0x2021_2223_2425_2627, low: 0x2829_2a2b_2c2d_2e2f),
        StoreID(high: 0x3031_3233_3435_3637, low: 0x3839_3a3b_3c3d_3e3f),
    ]
    static let incarnation = Incarnation(high: 0xa0a1_a2a3_a4a5_a6a7, low: 0xa8a9_aaab_acad_aeaf)

    static let hello = Hello(
        channel: .control, incarnation: .zero, member: members[0], peer: members[1], store: stores[0],
        state: .empty, label: "node1", address: addresses[0], apiAddress: "10.0.0.1:8080")
    static let helloReply = Hello(
        channel: .control, incarnation: incarnation, member: members[1], peer: members[0], store: stores[1],
        state: .entries, recordedStore: stores[0], label: "node2", address: addresses[1], apiAddress: "[fd00::2]:8080")

    /// The same, to a dialler that understands features 1 and 2.
    static let helloReplyWithLogEnd: Hello = {
        var hello = helloReply
        hello.features = HelloFeatures([.storeRefusal, .logEnd]).rawValue
        hello.logEnd = LogEnd(term: 7, durableIndex: 1002, durableTerm: 7, commitIndex: 1001, commitTerm: 6)
        return hello
    }()
    /// One that refuses the dialler's store.
    static let helloReplyRefused: Hello = {
        var hello = helloReplyWithLogEnd
        hello.isStoreRefused = true
        return hello
    }()

    static let configuration = Configuration(
        incarnation: incarnation,
        members: [
            Member(id: members[0], store: stores[0], address: addresses[0], label: "node1"),
            Member(id: members[1], store: stores[1], address: addresses[1], label: "node2"),
            Member(id: members[2], store: stores[2], role: .learner, address: addresses[2], label: ""),
        ])

    static let append = AppendRequest(
        term: 7, previousIndex: 1000, previousTerm: 6, commit: 999,
        entries: [
            Entry(index: 1001, term: 7, kind: .noOp),
            Entry(
                index: 1002, term: 7, kind: .command,
                payload: Command.put(key: Array("key1".utf8), value: Array("value".utf8))),
        ])

    /// One record of a snapshot: an internal key and a value, each behind its length.
    static let record: ByteBuffer = {
        var buffer = ByteBuffer()
        buffer.writeMultipleIntegers(UInt16(18), UInt32(5), UInt8(1))
        buffer.writeString("key1")
        buffer.writeMultipleIntegers(UInt64(1002), UInt32(0), UInt8(1))
        buffer.writeString("value")
        return buffer
    }()
    private static let transfer: UInt64 = 0x1122_3344_5566_7788

    static let joinRequest = JoinRequest(
        store: StoreID(high: 0x5051_5253_5455_5657, low: 0x5859_5a5b_5c5d_5e5f), label: "node4")
    static let joinReply = JoinReply.member(
        MemberID(rawValue: 1003),
        Configuration(
            incarnation: incarnation,
            members: [
                Member(id: members[0], store: stores[0], address: addresses[0], label: "node1"),
                Member(
                    id: MemberID(rawValue: 1003), store: .zero, role: .learner, address: "10.0.0.4:9090",
                    label: "node4"),
            ]))

    /// By the name of the example.
    static let messages: [(name: String, message: Message)] = [
        ("vote-request", .voteRequest(VoteRequest(term: 7, isPreVote: true, lastIndex: 1000, lastTerm: 6))),
        ("vote-reply", .voteReply(VoteReply(term: 7, isPreVote: true, isGranted: true))),
        ("append", .append(append)),
        ("append-reply-matched", .appendReply(AppendReply(term: 7, outcome: .matched(1002)))),
        (
            "append-reply-rejected",
            .appendReply(
                AppendReply(term: 7, outcome: .rejected(previousIndex: 1000, hintIndex: 940, hintTerm: 5)))
        ),
        ("heartbeat", .heartbeat(Heartbeat(term: 7, commit: 1002, round: 42))),
        ("heartbeat-reply", .heartbeatReply(HeartbeatReply(term: 7, round: 42, verified: 1002))),
        (
            "heartbeat-reply-full",
            .heartbeatReply(HeartbeatReply(term: 7, round: 42, verified: 1002, isDiskFull: true))
        ),
        ("read-index-request", .readIndexRequest(ReadIndexRequest(term: 7, context: 0x1122_3344_5566_7788))),
        (
            "read-index-reply",
            .readIndexReply(ReadIndexReply(term: 7, context: 0x1122_3344_5566_7788, index: 1002))
        ),
        ("timeout-now", .timeoutNow(TimeoutNow(term: 7))),
        ("store-verdict-lost", .storeVerdict(StoreVerdict(term: 7, finding: .lost(1002)))),
        (
            "store-verdict-contradicted",
            .storeVerdict(StoreVerdict(term: 7, finding: .contradicted(1001, leaderTerm: 7)))
        ),
        (
            "snapshot-offer",
            .snapshotOffer(
                SnapshotOffer(term: 7, transfer: transfer, index: 1002, indexTerm: 7, estimatedBytes: 1 << 30))
        ),
        (
            "snapshot-chunk",
            .snapshotChunk(
                SnapshotChunk(
                    term: 7, transfer: transfer, sequence: 1, encoding: .stored,
                    rawBytes: UInt32(record.readableBytes), rawChecksum: Checksum.crc32(record), bytes: record))
        ),
        (
            "snapshot-end",
            .snapshotEnd(
                SnapshotEnd(
                    term: 7, transfer: transfer, chunks: 1, records: 1, rawBytes: UInt64(record.readableBytes),
                    checksum: Checksum.crc32(record)))
        ),
        (
            "snapshot-reply-wants",
            .snapshotReply(SnapshotReply(term: 7, transfer: transfer, outcome: .wants(sequence: 1)))
        ),
        (
            "snapshot-reply-installed",
            .snapshotReply(SnapshotReply(term: 7, transfer: transfer, outcome: .installed(1002)))
        ),
        ("snapshot-reply-refused", .snapshotReply(SnapshotReply(term: 7, transfer: transfer, outcome: .refused))),
    ]
}

extension Message {
    var encoded: ByteBuffer {
        var buffer = ByteBuffer()
        FrameEncoder.write(self, into: &buffer)
        return buffer
    }

    /// Decodes exactly one frame of one message.
    init?(decoding bytes: ByteBuffer, on channel: VikWire.Channel) throws(WireError) {
        var buffer = bytes
        guard let frame = try FrameDecoder(mode: .messages(channel)).next(from: &buffer) else { return nil }
        guard buffer.readableBytes == 0 else { throw .invalid("bytes after the frame") }
        self = try Message(from: frame)
    }
}

extension ByteBuffer {
    /// These bytes with `body` changed and length and checksum put right, so that only the change itself is wrong.
    func reframed(_ change: (inout ByteBuffer) -> Void) -> ByteBuffer {
        var body = getSlice(at: readerIndex + Frame.headerBytes, length: readableBytes - Frame.headerBytes)!
        change(&body)
        var frame = ByteBuffer()
        frame.writeInteger(UInt32(body.readableBytes))
        frame.writeBytes(viewBytes(at: readerIndex + 4, length: 4)!)
        let head = Checksum.crc32(getSlice(at: readerIndex + 4, length: 4)!)
        frame.writeInteger(Checksum.crc32(body, seed: head))
        frame.writeBuffer(&body)
        return frame
    }

    /// The same, with one integer of the body replaced.
    func reframed(_ offset: Int, _ value: some FixedWidthInteger) -> ByteBuffer {
        reframed { body in body.setInteger(value, at: body.readerIndex + offset) }
    }
}
