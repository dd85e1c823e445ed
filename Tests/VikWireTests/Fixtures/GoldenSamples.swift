import NIOCore
import VikWire

/// What the frames of `Tests/Fixtures/protocol-1` mean. Every field is given, so that a default which changes later
/// changes nothing here; values at the bounds are those that version 1 of the protocol allows.
enum GoldenSamples {
    private static let addresses = ["10.0.0.1:9090", "10.0.0.2:9090", "10.0.0.3:9090"]
    private static let ids = ([0xc4d4_7d2b_2d8e_f2c1, 0x0102_0304_0506_0708, .max] as [UInt64])
        .map(MemberID.init(rawValue:))
    private static let stores = [
        StoreID(high: 0x1011_1213_1415_1617, low: 0x1819_1a1b_1c1d_1e1f),
        StoreID(high: 0x2021_2223_2425_2627, low: 0x2829_2a2b_2c2d_2e2f),
        StoreID(high: .max, low: .max),
    ]
    private static let incarnation = Incarnation(high: 0xa0a1_a2a3_a4a5_a6a7, low: 0xa8a9_aaab_acad_aeaf)
    private static let longHost = String(repeating: "a", count: 253)
    private static let longLabel = String(repeating: "ü", count: 64)
    /// The highest term, and the highest index.
    private static let most: UInt64 = 1 << 62
    private static let transfer: UInt64 = 0x1122_3344_5566_7788

    private static func hello(
        _ channel: VikWire.Channel, _ state: StoreState, features: UInt64 = 0, isPeerUnknown: Bool = false,
        incarnation: Incarnation, recordedStore: StoreID, label: String, address: String, apiAddress: String
    ) -> Hello {
        Hello(
            minVersion: 1, maxVersion: 1, features: features, channel: channel, isPeerUnknown: isPeerUnknown,
            incarnation: incarnation, member: ids[0], peer: ids[1], store: stores[0], state: state,
            recordedStore: recordedStore, label: label, address: address, apiAddress: apiAddress)
    }

    private static let configuration = Configuration(
        incarnation: incarnation,
        members: [
            Member(id: ids[0], store: stores[0], role: .voter, address: addresses[0], label: "node1"),
            Member(id: ids[1], store: stores[1], role: .learner, address: addresses[1], label: longLabel),
            Member(id: ids[2], store: .zero, role: .voterToBe, address: "[fd00::3]:65535", label: ""),
        ])
    private static let alone = Configuration(
        incarnation: incarnation,
        members: [Member(id: ids[1], store: stores[2], role: .voter, address: "", label: "single-node")])
    private static let fifteen = Configuration(
        incarnation: incarnation,
        members: (1...15).map { number in
            Member(
                id: MemberID(rawValue: number), store: StoreID(high: number, low: 1), role: .voter,
                address: "host\(number):1", label: "node\(number)")
        })

    private static let operations: [GoldenValue.Operation] = [
        .put(Array("key1".utf8), Array("value".utf8)), .put([0], []), .delete([0xff, 0]), .delete(Array("key1".utf8)),
    ]
    private static let command = GoldenValue.command(operations).encoded()

    private static let entries = [
        Entry(index: 1001, term: 6, kind: .noOp, payload: ByteBuffer()),
        Entry(index: 1002, term: 7, kind: .command, payload: command),
        Entry(index: 1003, term: 7, kind: .configuration, payload: configuration.encoded()),
    ]

    /// Three records of a snapshot, as they are and as zlib makes them.
    static let records: ByteBuffer = {
        var buffer = ByteBuffer()
        for number in 1...3 as ClosedRange<UInt64> {
            buffer.writeMultipleIntegers(UInt16(18), UInt32(48), UInt8(1))
            buffer.writeString("key\(number)")
            buffer.writeMultipleIntegers(1000 + number, UInt32(0), UInt8(1))
            buffer.writeString(String(repeating: "value ", count: 8))
        }
        return buffer
    }()
    static let compressedRecords = ByteBuffer(bytes: [
        0x78, 0x01, 0x63, 0x10, 0x62, 0x60, 0x60, 0x30, 0x60, 0xcc, 0x4e, 0xad, 0x34, 0x04, 0x32, 0x80, 0x80, 0xf9,
        0x25, 0x88, 0x64, 0x2c, 0x4b, 0xcc, 0x29, 0x4d, 0x55, 0x20, 0x9e, 0x64, 0x80, 0x9b, 0x63, 0x04, 0xd2, 0x0f,
        0x34, 0xe7, 0x15, 0x88, 0xa4, 0xc0, 0x1c, 0x63, 0x90, 0x7e, 0xa0, 0x39, 0xaf, 0x41, 0x24, 0xc9, 0xe6, 0x00,
        0x00, 0x7c, 0x38, 0x3d, 0xbd,
    ])

    private static func chunk(_ sequence: UInt64, _ encoding: ChunkEncoding, _ bytes: ByteBuffer) -> GoldenValue {
        .message(
            .snapshotChunk(
                SnapshotChunk(
                    term: 7, transfer: transfer, sequence: sequence, encoding: encoding, rawBytes: 216,
                    rawChecksum: 2_817_582_974, bytes: bytes)))
    }

    private static func snapshotReply(_ term: Term, _ outcome: SnapshotReply.Outcome) -> GoldenValue {
        .message(.snapshotReply(SnapshotReply(term: term, transfer: transfer, outcome: outcome)))
    }

    private static let nonce = Array(UInt8(0x40)..<0x60)
    private static let otherNonce = Array(UInt8(0x60)..<0x80)
    private static let proof = Array(UInt8(0xe0)...0xff)

    static let all: [(name: String, value: GoldenValue)] =
        [
            ("challenge", .challenge(AuthenticationChallenge(nonce: nonce))),
            ("authentication-reply", .authenticationReply(AuthenticationReply(nonce: otherNonce, proof: proof))),
            ("proof", .proof(AuthenticationProof(proof: proof))),
            (
                "hello-empty",
                .hello(
                    hello(
                        .control, .empty, incarnation: .zero, recordedStore: .zero, label: "n",
                        address: addresses[0], apiAddress: "a:1"))
            ),
            (
                "hello-entries",
                .hello(
                    hello(
                        .bulk, .entries, incarnation: incarnation, recordedStore: stores[1], label: "node1",
                        address: addresses[0], apiAddress: "[fd00::1]:8080"))
            ),
            (
                "hello-longest",
                .hello(
                    hello(
                        .snapshot, .voted, features: .max, incarnation: incarnation, recordedStore: stores[2],
                        label: longLabel, address: longHost + ":65535", apiAddress: longHost + ":65535"))
            ),
            (
                "hello-reply",
                .helloReply(
                    hello(
                        .control, .entries, incarnation: incarnation, recordedStore: stores[1], label: "node2",
                        address: addresses[1], apiAddress: "10.0.0.2:8080"))
            ),
            (
                "hello-reply-unknown-peer",
                .helloReply(
                    hello(
                        .bulk, .entries, isPeerUnknown: true, incarnation: incarnation, recordedStore: .zero,
                        label: "node2", address: addresses[1], apiAddress: "10.0.0.2:8080"))
            ),
            ("join-request", .joinRequest(JoinRequest(store: stores[1], label: "node4"))),
            ("join-request-longest", .joinRequest(JoinRequest(store: stores[2], label: longLabel))),
            ("join-reply", .joinReply(.member(ids[1], configuration))),
            ("join-reply-unknown", .joinReply(.unknown)),
            ("entry-no-operation", .entry(entries[0])),
            ("entry-command", .entry(entries[1])),
            ("entry-configuration", .entry(entries[2])),
            ("entry-first", .entry(Entry(index: 1, term: 1, kind: .noOp, payload: ByteBuffer()))),
            ("entry-last", .entry(Entry(index: most, term: most, kind: .noOp, payload: ByteBuffer()))),
            ("command", .command(operations)),
            ("command-put", .command([.put(Array("key1".utf8), Array("value".utf8))])),
            ("command-delete", .command([.delete(Array("key1".utf8))])),
            ("configuration", .configuration(configuration)),
            ("configuration-alone", .configuration(alone)),
            ("configuration-fifteen", .configuration(fifteen)),
        ] + messages

    private static let messages: [(name: String, value: GoldenValue)] = [
        (
            "vote-request",
            .message(
                .voteRequest(VoteRequest(term: 8, isPreVote: false, isHandOver: false, lastIndex: 1000, lastTerm: 6)))
        ),
        (
            "vote-request-pre-vote",
            .message(.voteRequest(VoteRequest(term: 1, isPreVote: true, isHandOver: false, lastIndex: 0, lastTerm: 0)))
        ),
        (
            "vote-request-hand-over",
            .message(
                .voteRequest(
                    VoteRequest(term: most, isPreVote: false, isHandOver: true, lastIndex: most, lastTerm: most - 1)))
        ),
        ("vote-reply-granted", .message(.voteReply(VoteReply(term: most, isPreVote: false, isGranted: true)))),
        ("vote-reply-refused", .message(.voteReply(VoteReply(term: 0, isPreVote: false, isGranted: false)))),
        ("vote-reply-pre-vote", .message(.voteReply(VoteReply(term: 8, isPreVote: true, isGranted: true)))),
        (
            "append",
            .message(
                .append(AppendRequest(term: 7, previousIndex: 1000, previousTerm: 6, commit: 999, entries: entries)))
        ),
        (
            "append-first",
            .message(.append(AppendRequest(term: 1, previousIndex: 0, previousTerm: 0, commit: 0, entries: [])))
        ),
        (
            "append-last",
            .message(
                .append(
                    AppendRequest(
                        term: most, previousIndex: most - 1, previousTerm: 1, commit: most,
                        entries: [Entry(index: most, term: most, kind: .noOp, payload: ByteBuffer())])))
        ),
        ("append-reply-matched", .message(.appendReply(AppendReply(term: 7, outcome: .matched(1002))))),
        ("append-reply-matched-nothing", .message(.appendReply(AppendReply(term: 1, outcome: .matched(0))))),
        (
            "append-reply-rejected",
            .message(
                .appendReply(
                    AppendReply(term: 7, outcome: .rejected(previousIndex: 1000, hintIndex: 940, hintTerm: 5))))
        ),
        (
            "append-reply-rejected-all",
            .message(
                .appendReply(
                    AppendReply(term: most, outcome: .rejected(previousIndex: most, hintIndex: 0, hintTerm: 0))))
        ),
        ("heartbeat", .message(.heartbeat(Heartbeat(term: 7, commit: 1002, round: 42)))),
        ("heartbeat-last", .message(.heartbeat(Heartbeat(term: most, commit: most, round: .max)))),
        ("heartbeat-reply", .message(.heartbeatReply(HeartbeatReply(term: 7, round: 42, verified: 1002)))),
        ("heartbeat-reply-first", .message(.heartbeatReply(HeartbeatReply(term: 1, round: 0, verified: 0)))),
        ("read-index-request", .message(.readIndexRequest(ReadIndexRequest(term: 7, context: transfer)))),
        ("read-index-request-last", .message(.readIndexRequest(ReadIndexRequest(term: most, context: .max)))),
        ("read-index-reply", .message(.readIndexReply(ReadIndexReply(term: 7, context: transfer, index: 1002)))),
        (
            "read-index-reply-last",
            .message(.readIndexReply(ReadIndexReply(term: most, context: .max, index: 1 << 40)))
        ),
        ("timeout-now", .message(.timeoutNow(TimeoutNow(term: 7)))),
        (
            "snapshot-offer",
            .message(
                .snapshotOffer(
                    SnapshotOffer(term: 7, transfer: transfer, index: 1002, indexTerm: 7, estimatedBytes: 1 << 30)))
        ),
        (
            "snapshot-offer-last",
            .message(
                .snapshotOffer(
                    SnapshotOffer(
                        term: most, transfer: .max, index: 1 << 40, indexTerm: most, estimatedBytes: 1 << 44)))
        ),
        ("snapshot-chunk-stored", chunk(1, .stored, records)),
        ("snapshot-chunk-zlib", chunk(1 << 20, .zlib, compressedRecords)),
        (
            "snapshot-end",
            .message(
                .snapshotEnd(
                    SnapshotEnd(
                        term: 7, transfer: transfer, chunks: 1, records: 3, rawBytes: 216, checksum: 2_817_582_974)))
        ),
        (
            "snapshot-end-large",
            .message(
                .snapshotEnd(
                    SnapshotEnd(
                        term: 7, transfer: transfer, chunks: 1 << 20, records: 1 << 30, rawBytes: 1 << 38,
                        checksum: .max)))
        ),
        ("snapshot-reply-wants", snapshotReply(7, .wants(sequence: 1))),
        ("snapshot-reply-installed", snapshotReply(7, .installed(1002))),
        ("snapshot-reply-refused", snapshotReply(7, .refused)),
    ]
}
