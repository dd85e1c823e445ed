import NIOCore

/// One frame of the replication protocol, cut out of a connection's bytes and verified, its body not yet decoded.
///
/// A plain value; `body` is a slice of the buffer that was read. Integers are big-endian here and everywhere.
///
///     offset size
///     0      4    length N of the body
///     4      1    type
///     5      1    flags, 0
///     6      2    reserved, 0
///     8      4    CRC-32 of bytes 4..<8 and of the body
///     12     N    body
package struct Frame: Equatable, Sendable {
    package static let headerBytes = 12

    package let type: MessageType
    package let body: ByteBuffer

    /// The checksum of a whole frame's bytes.
    fileprivate static func checksum(of frame: UnsafeRawBufferPointer) -> UInt32 {
        let head = Checksum.crc32(UnsafeRawBufferPointer(rebasing: frame[4..<8]))
        return Checksum.crc32(UnsafeRawBufferPointer(rebasing: frame[headerBytes...]), seed: head)
    }
}

extension MessageType {
    /// The connection that frames of this type travel on; nil: they come before a connection has a channel.
    package var channel: Channel? {
        switch self {
        case .append: .bulk
        case .voteRequest, .voteReply, .appendReply, .heartbeat, .heartbeatReply, .readIndexRequest, .readIndexReply,
            .snapshotReply, .timeoutNow, .storeVerdict:
            .control
        case .snapshotOffer, .snapshotChunk, .snapshotEnd: .snapshot
        case .hello, .helloReply, .authenticationChallenge, .authenticationReply, .authenticationProof, .joinRequest,
            .joinReply:
            nil
        }
    }

    /// The lengths that a body of this type can have, so that a wrong one is refused before it is waited for.
    fileprivate var bodyBytes: ClosedRange<Int> {
        switch self {
        case .hello, .helloReply: Hello.prefixBytes...WireLimits.maxHelloBodyBytes
        case .voteRequest: 25...25
        case .voteReply: 9...9
        case .append: AppendRequest.fixedBytes...WireLimits.maxFrameBodyBytes
        case .appendReply: 17...33
        case .heartbeat: 24...24
        case .heartbeatReply: 24...25
        case .readIndexRequest: 16...16
        case .readIndexReply: 24...24
        case .snapshotOffer: 40...40
        case .snapshotChunk:
            SnapshotChunk.fixedBytes + 1...SnapshotChunk.fixedBytes + WireLimits.maxSnapshotChunkBytes
        case .snapshotEnd: 44...44
        case .snapshotReply: 25...25
        case .timeoutNow: 8...8
        case .storeVerdict: 25...25
        case .authenticationChallenge: AuthenticationChallenge.bodyBytes...AuthenticationChallenge.bodyBytes
        case .authenticationReply: AuthenticationReply.bodyBytes...AuthenticationReply.bodyBytes
        case .authenticationProof: AuthenticationProof.bodyBytes...AuthenticationProof.bodyBytes
        case .joinRequest: Hello.prefixBytes...WireLimits.maxHelloBodyBytes
        case .joinReply: 1...WireLimits.maxJoinReplyBodyBytes
        }
    }
}

/// Writes frames at the end of a buffer that the caller reuses: nothing is allocated for a message or an entry, and an
/// entry's own bytes go out as they are.
package enum FrameEncoder {
    package static func write(_ message: Message, into buffer: inout ByteBuffer) {
        write(message.type, into: &buffer) { message.writeBody(into: &$0) }
    }

    package static func write(hello: Hello, into buffer: inout ByteBuffer) {
        write(.hello, into: &buffer) { hello.writeBody(into: &$0) }
    }

    package static func write(helloReply: Hello, into buffer: inout ByteBuffer) {
        write(.helloReply, into: &buffer) { helloReply.writeBody(into: &$0) }
    }

    package static func write(_ challenge: AuthenticationChallenge, into buffer: inout ByteBuffer) {
        write(.authenticationChallenge, into: &buffer) { challenge.writeBody(into: &$0) }
    }

    package static func write(_ reply: AuthenticationReply, into buffer: inout ByteBuffer) {
        write(.authenticationReply, into: &buffer) { reply.writeBody(into: &$0) }
    }

    package static func write(_ proof: AuthenticationProof, into buffer: inout ByteBuffer) {
        write(.authenticationProof, into: &buffer) { proof.writeBody(into: &$0) }
    }

    package static func write(_ request: JoinRequest, into buffer: inout ByteBuffer) {
        write(.joinRequest, into: &buffer) { request.writeBody(into: &$0) }
    }

    package static func write(_ reply: JoinReply, into buffer: inout ByteBuffer) {
        write(.joinReply, into: &buffer) { reply.writeBody(into: &$0) }
    }

    private static func write(_ type: MessageType, into buffer: inout ByteBuffer, body: (inout ByteBuffer) -> Void) {
        let start = buffer.writerIndex
        buffer.writeMultipleIntegers(UInt32(0), type.rawValue, UInt8(0), UInt16(0), UInt32(0))
        body(&buffer)
        let length = buffer.writerIndex - start - Frame.headerBytes
        precondition(type.bodyBytes.contains(length), "the sender keeps the limits that the receiver checks")
        let offset = start - buffer.readerIndex
        let checksum = buffer.withUnsafeReadableBytes {
            Frame.checksum(of: UnsafeRawBufferPointer(rebasing: $0[offset...]))
        }
        buffer.setInteger(UInt32(length), at: start)
        buffer.setInteger(checksum, at: start + 8)
    }
}

/// Cuts frames out of the bytes of one direction of a connection and verifies them.
///
/// A plain value without a buffer of its own: it allocates nothing, so a length is always refused before it costs
/// memory. After an error the connection is beyond repair.
package struct FrameDecoder: Sendable {
    /// What the connection's state allows to arrive.
    package enum Mode: Equatable, Sendable {
        /// A dialler's first frame where the cluster has a secret: nothing else is looked at before it.
        case authenticationChallenge
        case authenticationReply
        case authenticationProof
        /// A dialler's first frame, or its first one after the proof.
        case hello
        /// The answer to it.
        case helloReply
        /// The answer to a JoinRequest.
        case joinReply
        /// Messages of Raft, each on its own channel.
        case messages(Channel)
        /// Nothing: an acceptor has no more to say after its Hello.
        case nothing
    }

    package var mode: Mode

    package init(mode: Mode) {
        self.mode = mode
    }

    /// The next whole frame, or nil if `buffer` ends before it; its bytes are then left there.
    package func next(from buffer: inout ByteBuffer) throws(WireError) -> Frame? {
        guard
            let (length, rawType, flags, reserved, checksum) = buffer.peekMultipleIntegers(
                as: (UInt32, UInt8, UInt8, UInt16, UInt32).self)
        else { return nil }
        guard let type = MessageType(rawValue: rawType), allows(type) else {
            throw .frameType(rawType)
        }
        let sizes = type.bodyBytes
        guard flags == 0 else { throw .unknown(field: "frame flags", value: UInt64(flags)) }
        guard reserved == 0 else { throw .unknown(field: "frame reserved field", value: UInt64(reserved)) }
        guard length <= sizes.upperBound else {
            throw .tooLarge(field: "frame body", value: UInt64(length), limit: UInt64(sizes.upperBound))
        }
        guard length >= sizes.lowerBound else { throw .truncated("frame body") }
        let total = Frame.headerBytes + Int(length)
        guard buffer.readableBytes >= total else { return nil }
        let computed = buffer.withUnsafeReadableBytes {
            Frame.checksum(of: UnsafeRawBufferPointer(rebasing: $0[..<total]))
        }
        guard computed == checksum else { throw .badChecksum(expected: computed, found: checksum) }
        buffer.moveReaderIndex(forwardBy: Frame.headerBytes)
        return Frame(type: type, body: buffer.readSlice(length: Int(length))!)
    }

    private func allows(_ type: MessageType) -> Bool {
        switch mode {
        case .authenticationChallenge: type == .authenticationChallenge
        case .authenticationReply: type == .authenticationReply
        case .authenticationProof: type == .authenticationProof
        case .hello: type == .hello || type == .joinRequest
        case .helloReply: type == .helloReply
        case .joinReply: type == .joinReply
        case .messages(let channel): type.channel == channel
        case .nothing: false
        }
    }
}
