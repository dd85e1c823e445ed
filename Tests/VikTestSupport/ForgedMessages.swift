import NIOCore
import VikWire

/// Well-formed frames of a member that sends any number: each integer of a message set to its bounds, in the encoded
/// bytes, so that what arrives is what a decoder makes of it.
package enum ForgedMessages {
    /// An integer of a body: where it begins, and its width in bytes.
    package struct Field: Sendable {
        package let offset: Int
        package let width: Int
    }

    /// Where sums overflow, where limits are, and next to both.
    package static let extremes: [UInt64] = {
        let bounds: [UInt64] = [
            1 << 31, 1 << 32, 1 << 62, 1 << 63, UInt64(WireLimits.maxSnapshotWindow), WireLimits.maxSnapshotChunks,
            WireLimits.maxSnapshotBytes, UInt64(WireLimits.maxEntriesPerAppend),
        ]
        return [0, 1, 2, .max - 1, .max] + bounds.flatMap { [$0 - 1, $0, $0 + 1] }
    }()

    /// Every integer of a message's body; of entries those of the first one.
    package static func fields(of message: Message) -> [Field] {
        func wide(_ offsets: Int...) -> [Field] { offsets.map { Field(offset: $0, width: 8) } }
        switch message {
        case .voteRequest: return wide(0, 8, 16)
        case .voteReply: return wide(0)
        case .append(let request):
            let fields = wide(0, 8, 16, 24) + [Field(offset: 32, width: 4)]
            guard let first = request.entries.first else { return fields }
            let payload: [Field]
            switch first.kind {
            case .noOp: payload = []
            // Operations, length of a key, length of a value.
            case .command:
                payload = [Field(offset: 60, width: 4), Field(offset: 65, width: 2), Field(offset: 67, width: 4)]
            // Members, id of the first one.
            case .configuration: payload = [Field(offset: 76, width: 2), Field(offset: 78, width: 8)]
            }
            return fields + [Field(offset: 36, width: 4)] + wide(44, 52) + payload
        case .appendReply(let reply):
            if case .matched = reply.outcome { return wide(0, 9) }
            return wide(0, 9, 17, 25)
        case .heartbeat, .heartbeatReply, .readIndexReply: return wide(0, 8, 16)
        case .readIndexRequest: return wide(0, 8)
        case .timeoutNow: return wide(0)
        case .snapshotOffer: return wide(0, 8, 16, 24, 32)
        case .snapshotChunk: return wide(0, 8, 16) + [Field(offset: 28, width: 4), Field(offset: 32, width: 4)]
        case .snapshotEnd: return wide(0, 8, 16, 24, 32) + [Field(offset: 40, width: 4)]
        case .snapshotReply: return wide(0, 8) + wide(17)
        case .storeVerdict: return wide(0, 9, 17)
        }
    }

    /// What a receiver makes of `message` with one integer replaced; nil: its decoder refuses it.
    package static func message(_ message: Message, _ field: Field, _ value: UInt64) -> Message? {
        var frame = ByteBuffer()
        FrameEncoder.write(message, into: &frame)
        let offset = Frame.headerBytes + field.offset
        switch field.width {
        case 2: frame.setInteger(UInt16(truncatingIfNeeded: value), at: offset)
        case 4: frame.setInteger(UInt32(truncatingIfNeeded: value), at: offset)
        default: frame.setInteger(value, at: offset)
        }
        let head = Checksum.crc32(frame.getSlice(at: 4, length: 4)!)
        let body = frame.getSlice(at: Frame.headerBytes, length: frame.readableBytes - Frame.headerBytes)!
        frame.setInteger(Checksum.crc32(body, seed: head), at: 8)
        guard let whole = try? FrameDecoder(mode: .messages(message.channel)).next(from: &frame) else { return nil }
        return try? Message(from: whole)
    }

    /// A message with one or two integers replaced, as a receiver decodes it; nil: its decoder refuses it.
    package static func random(_ message: Message, using random: inout some RandomNumberGenerator) -> Message? {
        var forged = message
        for _ in 0..<Int.random(in: 1...2, using: &random) {
            let field = fields(of: forged).randomElement(using: &random)!
            guard let next = Self.message(forged, field, extremes.randomElement(using: &random)!) else { return nil }
            forged = next
        }
        return forged
    }
}
