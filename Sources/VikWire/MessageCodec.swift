import NIOCore

/// The bodies of the frames that carry messages: `proto-spec.md` has the tables. What a decoder lets pass has been
/// checked for everything that can be checked without knowing the receiver's log.
extension Message {
    package var type: MessageType {
        switch self {
        case .voteRequest: .voteRequest
        case .voteReply: .voteReply
        case .append: .append
        case .appendReply: .appendReply
        case .heartbeat: .heartbeat
        case .heartbeatReply: .heartbeatReply
        case .readIndexRequest: .readIndexRequest
        case .readIndexReply: .readIndexReply
        case .snapshotOffer: .snapshotOffer
        case .snapshotChunk: .snapshotChunk
        case .snapshotEnd: .snapshotEnd
        case .snapshotReply: .snapshotReply
        case .timeoutNow: .timeoutNow
        case .storeVerdict: .storeVerdict
        }
    }

    /// The connection that this message travels on.
    package var channel: Channel { type.channel! }

    func writeBody(into buffer: inout ByteBuffer) {
        switch self {
        case .voteRequest(let message):
            buffer.writeMultipleIntegers(
                message.term, message.lastIndex, message.lastTerm,
                VoteFlags.byte(preVote: message.isPreVote, handOver: message.isHandOver))
        case .voteReply(let message):
            buffer.writeMultipleIntegers(
                message.term, VoteFlags.byte(preVote: message.isPreVote, granted: message.isGranted))
        case .append(let message):
            message.writeBody(into: &buffer)
        case .appendReply(let message):
            switch message.outcome {
            case .matched(let index):
                buffer.writeMultipleIntegers(message.term, AppendOutcome.matched.rawValue, index)
            case .rejected(let previousIndex, let hintIndex, let hintTerm):
                buffer.writeMultipleIntegers(
                    message.term, AppendOutcome.rejected.rawValue, previousIndex, hintIndex, hintTerm)
            }
        case .heartbeat(let message):
            buffer.writeMultipleIntegers(message.term, message.commit, message.round)
        case .heartbeatReply(let message):
            buffer.writeMultipleIntegers(message.term, message.round, message.verified)
            if message.isDiskFull { buffer.writeInteger(HeartbeatReply.diskFullFlag) }
        case .readIndexRequest(let message):
            buffer.writeMultipleIntegers(message.term, message.context)
        case .readIndexReply(let message):
            buffer.writeMultipleIntegers(message.term, message.context, message.index)
        case .snapshotOffer(let message): message.writeBody(into: &buffer)
        case .snapshotChunk(let message): message.writeBody(into: &buffer)
        case .snapshotEnd(let message): message.writeBody(into: &buffer)
        case .snapshotReply(let message): message.writeBody(into: &buffer)
        case .timeoutNow(let message): buffer.writeInteger(message.term)
        case .storeVerdict(let message): message.writeBody(into: &buffer)
        }
    }

    /// Decodes a frame of a type that carries a message. Entries share the frame's storage.
    package init(from frame: Frame) throws(WireError) {
        var body = frame.body
        switch frame.type {
        case .voteRequest: self = .voteRequest(try VoteRequest(from: &body))
        case .voteReply: self = .voteReply(try VoteReply(from: &body))
        case .append: self = .append(try AppendRequest(from: &body))
        case .appendReply: self = .appendReply(try AppendReply(from: &body))
        case .heartbeat: self = .heartbeat(try Heartbeat(from: &body))
        case .heartbeatReply: self = .heartbeatReply(try HeartbeatReply(from: &body))
        case .readIndexRequest: self = .readIndexRequest(try ReadIndexRequest(from: &body))
        case .readIndexReply: self = .readIndexReply(try ReadIndexReply(from: &body))
        case .snapshotOffer: self = .snapshotOffer(try SnapshotOffer(from: &body))
        case .snapshotChunk: self = .snapshotChunk(try SnapshotChunk(from: &body))
        case .snapshotEnd: self = .snapshotEnd(try SnapshotEnd(from: &body))
        case .snapshotReply: self = .snapshotReply(try SnapshotReply(from: &body))
        case .timeoutNow: self = .timeoutNow(try TimeoutNow(from: &body))
        case .storeVerdict: self = .storeVerdict(try StoreVerdict(from: &body))
        case .hello, .helloReply, .authenticationChallenge, .authenticationReply, .authenticationProof, .joinRequest,
            .joinReply:
            throw .unknown(field: "message type", value: UInt64(frame.type.rawValue))
        }
        guard body.readableBytes == 0 else { throw .invalid("bytes after the end of a message") }
    }
}

private enum VoteFlags {
    static let preVote: UInt8 = 1
    static let granted: UInt8 = 2
    static let handOver: UInt8 = 4

    static func byte(
        preVote isPreVote: Bool, granted isGranted: Bool = false, handOver isHandOver: Bool = false
    ) -> UInt8 {
        (isPreVote ? preVote : 0) | (isGranted ? granted : 0) | (isHandOver ? handOver : 0)
    }
}

private enum AppendOutcome: UInt8 {
    case matched = 0
    case rejected = 1
}

func checkTerm(_ term: Term) throws(WireError) {
    guard term >= 1 else { throw .invalid("the term of a message starts at 1") }
    guard term <= WireLimits.maxTerm else { throw .tooLarge(field: "term", value: term, limit: WireLimits.maxTerm) }
}

func checkIndex(_ index: LogIndex) throws(WireError) {
    guard index <= WireLimits.maxIndex else {
        throw .tooLarge(field: "index", value: index, limit: WireLimits.maxIndex)
    }
}

/// A number that is compared with a limit before anyone computes with it.
func checkCount(_ field: String, _ value: UInt64, limit: UInt64) throws(WireError) {
    guard value <= limit else { throw .tooLarge(field: field, value: value, limit: limit) }
}

/// A place in a log as a message of `term` may name it: both 0 before the first entry, neither 0 after it.
func checkPosition(_ index: LogIndex, _ entryTerm: Term, in term: Term) throws(WireError) {
    try checkIndex(index)
    guard (index == 0) == (entryTerm == 0) else { throw .invalid("an index and its term are both 0 or neither") }
    guard entryTerm <= term else { throw .invalid("an entry's term is later than the message's") }
}

extension VoteRequest {
    fileprivate init(from body: inout ByteBuffer) throws(WireError) {
        guard
            let (term, lastIndex, lastTerm, flags) = body.readMultipleIntegers(
                as: (UInt64, UInt64, UInt64, UInt8).self)
        else { throw .truncated("vote request") }
        try checkTerm(term)
        try checkPosition(lastIndex, lastTerm, in: term)
        guard lastTerm < term else { throw .invalid("a candidate's log already has entries of its new term") }
        guard [0, VoteFlags.preVote, VoteFlags.handOver].contains(flags) else {
            throw .unknown(field: "vote flags", value: UInt64(flags))
        }
        self.init(
            term: term, isPreVote: flags & VoteFlags.preVote != 0, isHandOver: flags & VoteFlags.handOver != 0,
            lastIndex: lastIndex, lastTerm: lastTerm)
    }
}

extension VoteReply {
    fileprivate init(from body: inout ByteBuffer) throws(WireError) {
        guard let (term, flags) = body.readMultipleIntegers(as: (UInt64, UInt8).self) else {
            throw .truncated("vote reply")
        }
        guard flags & ~(VoteFlags.preVote | VoteFlags.granted) == 0 else {
            throw .unknown(field: "vote flags", value: UInt64(flags))
        }
        let isGranted = flags & VoteFlags.granted != 0
        // A voter that has not seen an election yet refuses with its own term, 0.
        if term > 0 || isGranted { try checkTerm(term) }
        self.init(term: term, isPreVote: flags & VoteFlags.preVote != 0, isGranted: isGranted)
    }
}

extension AppendRequest {
    /// What comes before the entries.
    static let fixedBytes = 36

    fileprivate func writeBody(into buffer: inout ByteBuffer) {
        precondition(entries.count <= WireLimits.maxEntriesPerAppend, "the leader bounds an append")
        let size = entries.reduce(Self.fixedBytes) { $0 + $1.bytes.readableBytes }
        buffer.reserveCapacity(minimumWritableBytes: size)
        buffer.writeMultipleIntegers(term, previousIndex, previousTerm, commit, UInt32(entries.count))
        for entry in entries {
            buffer.writeImmutableBuffer(entry.bytes)
        }
    }

    fileprivate init(from body: inout ByteBuffer) throws(WireError) {
        guard
            let (term, previousIndex, previousTerm, commit, count) = body.readMultipleIntegers(
                as: (UInt64, UInt64, UInt64, UInt64, UInt32).self)
        else { throw .truncated("append request") }
        try checkTerm(term)
        try checkPosition(previousIndex, previousTerm, in: term)
        try checkIndex(commit)
        guard count <= WireLimits.maxEntriesPerAppend else {
            throw .tooLarge(
                field: "entries in an append", value: UInt64(count), limit: UInt64(WireLimits.maxEntriesPerAppend))
        }
        guard Int(count) * Entry.headerBytes <= body.readableBytes else { throw .truncated("entries") }
        var entries: [Entry] = []
        entries.reserveCapacity(Int(count))
        var (lastIndex, lastTerm) = (previousIndex, previousTerm)
        for _ in 0..<count {
            let entry = try Entry(from: &body)
            guard entry.index == lastIndex + 1 else { throw .invalid("entries are not consecutive") }
            guard entry.term >= lastTerm else { throw .invalid("an entry's term is earlier than the one before") }
            guard entry.term <= term else { throw .invalid("an entry's term is later than the message's") }
            // A configuration counts as soon as it stands in a log, and a command that nobody can apply would stop every
            // node that has it: one that does not decode never gets there.
            switch entry.kind {
            case .noOp: break
            case .command: try entry.checkCommand()
            case .configuration: _ = try Configuration(from: entry.payload)
            }
            (lastIndex, lastTerm) = (entry.index, entry.term)
            entries.append(entry)
        }
        try checkIndex(lastIndex)
        self.init(
            term: term, previousIndex: previousIndex, previousTerm: previousTerm, commit: commit, entries: entries)
    }
}

extension AppendReply {
    fileprivate init(from body: inout ByteBuffer) throws(WireError) {
        guard let (term, rawOutcome, index) = body.readMultipleIntegers(as: (UInt64, UInt8, UInt64).self) else {
            throw .truncated("append reply")
        }
        try checkTerm(term)
        try checkIndex(index)
        switch AppendOutcome(rawValue: rawOutcome) {
        case .matched:
            self.init(term: term, outcome: .matched(index))
        case .rejected:
            guard let (hintIndex, hintTerm) = body.readMultipleIntegers(as: (UInt64, UInt64).self) else {
                throw .truncated("append reply")
            }
            try checkPosition(hintIndex, hintTerm, in: term)
            guard hintIndex < index else { throw .invalid("a rejection's hint is not before what it rejects") }
            self.init(
                term: term, outcome: .rejected(previousIndex: index, hintIndex: hintIndex, hintTerm: hintTerm))
        case nil:
            throw .unknown(field: "append outcome", value: UInt64(rawOutcome))
        }
    }
}

extension Heartbeat {
    fileprivate init(from body: inout ByteBuffer) throws(WireError) {
        guard let (term, commit, round) = body.readMultipleIntegers(as: (UInt64, UInt64, UInt64).self) else {
            throw .truncated("heartbeat")
        }
        try checkTerm(term)
        try checkIndex(commit)
        try checkCount("round", round, limit: WireLimits.maxRound)
        self.init(term: term, commit: commit, round: round)
    }
}

extension HeartbeatReply {
    /// The byte that follows where there is something to tell.
    fileprivate static let diskFullFlag: UInt8 = 1

    fileprivate init(from body: inout ByteBuffer) throws(WireError) {
        guard let (term, round, verified) = body.readMultipleIntegers(as: (UInt64, UInt64, UInt64).self) else {
            throw .truncated("heartbeat reply")
        }
        try checkTerm(term)
        try checkIndex(verified)
        try checkCount("round", round, limit: WireLimits.maxRound)
        let flags: UInt8? = body.readInteger()
        guard flags == nil || flags == Self.diskFullFlag else {
            throw .unknown(field: "heartbeat reply flags", value: UInt64(flags!))
        }
        self.init(term: term, round: round, verified: verified, isDiskFull: flags != nil)
    }
}

extension ReadIndexRequest {
    fileprivate init(from body: inout ByteBuffer) throws(WireError) {
        guard let (term, context) = body.readMultipleIntegers(as: (UInt64, UInt64).self) else {
            throw .truncated("read index request")
        }
        try checkTerm(term)
        self.init(term: term, context: context)
    }
}

extension ReadIndexReply {
    fileprivate init(from body: inout ByteBuffer) throws(WireError) {
        guard let (term, context, index) = body.readMultipleIntegers(as: (UInt64, UInt64, UInt64).self) else {
            throw .truncated("read index reply")
        }
        try checkTerm(term)
        try checkIndex(index)
        self.init(term: term, context: context, index: index)
    }
}

extension TimeoutNow {
    fileprivate init(from body: inout ByteBuffer) throws(WireError) {
        guard let term = body.readInteger(as: UInt64.self) else { throw .truncated("timeout now") }
        try checkTerm(term)
        self.init(term: term)
    }
}
