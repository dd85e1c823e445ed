import NIOCore

/// What the payload of a log entry means.
package enum EntryKind: UInt8, Sendable {
    /// Nothing: a new leader's first entry, which commits what earlier terms left.
    case noOp = 0
    /// A ``Command``: writes of a client.
    case command = 1
    /// A ``Configuration``: the cluster's identity and members.
    case configuration = 2
}

/// One entry of the replicated log: the same bytes on the wire and on disk, encoded once.
///
/// A plain value; `bytes` is a slice that usually shares its storage with its neighbours of one batch.
///
///     offset size
///     0      4    payload length N
///     4      1    kind
///     5      1    flags (none defined; anything but 0 halts the node, it must not skip what others applied)
///     6      2    reserved, 0
///     8      8    term
///     16     8    index
///     24     N    payload
package struct Entry: Sendable, Equatable {
    package static let headerBytes = 24

    package let index: LogIndex
    package let term: Term
    package let kind: EntryKind
    /// The whole encoding, header and payload, as its readable bytes.
    package let bytes: ByteBuffer

    /// The payload, sharing storage with ``bytes``.
    package var payload: ByteBuffer {
        bytes.getSlice(at: bytes.readerIndex + Self.headerBytes, length: bytes.readableBytes - Self.headerBytes)!
    }

    private init(index: LogIndex, term: Term, kind: EntryKind, bytes: ByteBuffer) {
        self.index = index
        self.term = term
        self.kind = kind
        self.bytes = bytes
    }

    /// Encodes one entry on its own.
    package init(index: LogIndex, term: Term, kind: EntryKind, payload: ByteBuffer = ByteBuffer()) {
        self = Entry.batch(from: index, term: term, kind: kind, payloads: [payload])[0]
    }

    /// Encodes consecutive entries of one kind into one allocation that they share.
    package static func batch(
        from first: LogIndex, term: Term, kind: EntryKind, payloads: [ByteBuffer]
    ) -> [Entry] {
        let byteCount = payloads.reduce(0) { $0 + headerBytes + $1.readableBytes }
        var storage = ByteBuffer()
        // In one go: to ask the buffer for room field by field takes longer than to copy a small payload.
        storage.writeWithUnsafeMutableBytes(minimumWritableBytes: byteCount) { space in
            var offset = 0
            for (index, payload) in zip(first..., payloads) {
                let length = payload.readableBytes
                precondition(length <= WireLimits.maxEntryPayloadBytes, "the gateway bounds a payload")
                let entry = UnsafeMutableRawBufferPointer(rebasing: space[offset..<offset + headerBytes + length])
                entry.storeBytes(of: UInt32(length).bigEndian, as: UInt32.self)
                // Kind, flags and reserved.
                entry.storeBytes(of: (UInt32(kind.rawValue) << 24).bigEndian, toByteOffset: 4, as: UInt32.self)
                entry.storeBytes(of: term.bigEndian, toByteOffset: 8, as: UInt64.self)
                entry.storeBytes(of: index.bigEndian, toByteOffset: 16, as: UInt64.self)
                payload.withUnsafeReadableBytes {
                    UnsafeMutableRawBufferPointer(rebasing: entry[headerBytes...]).copyMemory(from: $0)
                }
                offset += entry.count
            }
            return offset
        }
        // Sliced only now: a slice taken earlier would make every later write copy the storage.
        var entries: [Entry] = []
        entries.reserveCapacity(payloads.count)
        for (index, payload) in zip(first..., payloads) {
            let bytes = storage.readSlice(length: headerBytes + payload.readableBytes)!
            entries.append(Entry(index: index, term: term, kind: kind, bytes: bytes))
        }
        return entries
    }

    /// Reads one entry from the front of `buffer`, or throws and leaves `buffer` as it was.
    package init(from buffer: inout ByteBuffer) throws(WireError) {
        let start = buffer.readerIndex
        guard
            let (length, kind, flags, reserved, term, index) = buffer.getMultipleIntegers(
                at: start, as: (UInt32, UInt8, UInt8, UInt16, UInt64, UInt64).self)
        else { throw .truncated("entry header") }
        guard length <= WireLimits.maxEntryPayloadBytes else {
            throw .tooLarge(
                field: "entry payload", value: UInt64(length), limit: UInt64(WireLimits.maxEntryPayloadBytes))
        }
        guard flags == 0 else { throw .unknown(field: "entry flags", value: UInt64(flags)) }
        guard reserved == 0 else { throw .unknown(field: "entry reserved field", value: UInt64(reserved)) }
        guard let known = EntryKind(rawValue: kind) else {
            throw .unknown(field: "entry kind", value: UInt64(kind))
        }
        guard index > 0, term > 0 else { throw .invalid("entry index and term start at 1") }
        guard let bytes = buffer.readSlice(length: Self.headerBytes + Int(length)) else {
            throw .truncated("entry payload")
        }
        self.index = index
        self.term = term
        self.kind = known
        self.bytes = bytes
    }

    /// Checks that ``Command/forEachOperation(in:_:)`` will read all of the payload. Takes no slice of it, so that it
    /// costs an entry no allocation and no count of references.
    func checkCommand() throws(WireError) {
        _ = try bytes.withUnsafeReadableBytes {
            Command.check(UnsafeRawBufferPointer(rebasing: $0[Self.headerBytes...]))
        }.get()
    }
}
