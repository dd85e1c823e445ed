import NIOCore

/// The first frame of a node that is to become a member and does not know who it is: it asks any member, in place of a
/// Hello. The connection closes after the answer.
package struct JoinRequest: Equatable, Sendable {
    package var store: StoreID
    /// Its `-node-id`, by which an operator has announced it to the cluster.
    package var label: String

    package init(store: StoreID, label: String) {
        self.store = store
        self.label = label
    }

    func writeBody(into buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(Hello.magic, Hello.currentVersion, Hello.currentVersion)
        buffer.writeRandomID(store)
        buffer.writeWireString(label)
    }

    /// Decodes a frame of type `joinRequest`; magic and versions are judged as those of a Hello.
    package init(from frame: Frame) throws(WireError) {
        var body = frame.body
        _ = try Hello.readVersions(from: &body, "join request")
        guard let (high, low) = body.readMultipleIntegers(as: (UInt64, UInt64).self) else {
            throw .truncated("join request")
        }
        let store = StoreID(high: high, low: low)
        guard store != .zero else { throw .invalid("a join request without a store") }
        let label = try body.readWireString("label", limit: WireLimits.maxLabelBytes)
        guard !label.isEmpty else { throw .invalid("a join request without a label") }
        guard body.readableBytes == 0 else { throw .invalid("bytes after the end of a join request") }
        self.init(store: store, label: label)
    }
}

/// The answer to a ``JoinRequest``, from the newest configuration that the answerer knows to be committed.
package enum JoinReply: Equatable, Sendable {
    /// The node is this member of this cluster.
    case member(MemberID, Configuration)
    /// No member has that label: it must be added first.
    case unknown

    private enum Outcome: UInt8 {
        case member = 0
        case unknown = 1
    }

    func writeBody(into buffer: inout ByteBuffer) {
        switch self {
        case .member(let id, let configuration):
            buffer.writeMultipleIntegers(Outcome.member.rawValue, id.rawValue)
            buffer.writeImmutableBuffer(configuration.encoded())
        case .unknown:
            buffer.writeInteger(Outcome.unknown.rawValue)
        }
    }

    /// Decodes a frame of type `joinReply`.
    package init(from frame: Frame) throws(WireError) {
        var body = frame.body
        guard let rawOutcome = body.readInteger(as: UInt8.self) else { throw .truncated("join reply") }
        switch Outcome(rawValue: rawOutcome) {
        case .member:
            guard let id = body.readInteger(as: UInt64.self) else { throw .truncated("join reply") }
            let configuration = try Configuration(from: body)
            guard configuration.member(MemberID(rawValue: id)) != nil else {
                throw .invalid("a join reply names a member that its configuration has not")
            }
            self = .member(MemberID(rawValue: id), configuration)
        case .unknown:
            guard body.readableBytes == 0 else { throw .invalid("bytes after the end of a join reply") }
            self = .unknown
        case nil:
            throw .unknown(field: "join outcome", value: UInt64(rawOutcome))
        }
    }
}
