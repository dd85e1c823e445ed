import NIOCore

/// The bodies of the frames of a snapshot transfer: `proto-spec.md` has the tables.
extension SnapshotOffer {
    func writeBody(into buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(term, transfer, index, indexTerm, estimatedBytes)
    }

    init(from body: inout ByteBuffer) throws(WireError) {
        guard
            let (term, transfer, index, indexTerm, estimatedBytes) = body.readMultipleIntegers(
                as: (UInt64, UInt64, UInt64, UInt64, UInt64).self)
        else { throw .truncated("snapshot offer") }
        try checkTerm(term)
        try checkPosition(index, indexTerm, in: term)
        guard index > 0 else { throw .invalid("a snapshot ends with an entry") }
        try checkCount("estimate of a snapshot", estimatedBytes, limit: WireLimits.maxSnapshotBytes)
        self.init(
            term: term, transfer: transfer, index: index, indexTerm: indexTerm, estimatedBytes: estimatedBytes)
    }
}

extension SnapshotChunk {
    static let fixedBytes = 36

    func writeBody(into buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(
            term, transfer, sequence, encoding.rawValue, UInt8(0), UInt16(0), rawBytes, rawChecksum)
        buffer.writeImmutableBuffer(bytes)
    }

    /// The declared size is checked here, before anyone allocates for it: stored records have it exactly, compressed
    /// ones are smaller.
    init(from body: inout ByteBuffer) throws(WireError) {
        guard
            let (term, transfer, sequence, rawEncoding, reserved8, reserved16, rawBytes, rawChecksum) =
                body.readMultipleIntegers(as: (UInt64, UInt64, UInt64, UInt8, UInt8, UInt16, UInt32, UInt32).self)
        else { throw .truncated("snapshot chunk") }
        try checkTerm(term)
        guard sequence >= 1 else { throw .invalid("chunks are numbered from 1") }
        try checkCount("number of a chunk", sequence, limit: WireLimits.maxSnapshotChunks)
        guard let encoding = ChunkEncoding(rawValue: rawEncoding) else {
            throw .unknown(field: "chunk encoding", value: UInt64(rawEncoding))
        }
        guard reserved8 == 0, reserved16 == 0 else { throw .invalid("reserved bytes of a chunk are not 0") }
        guard rawBytes >= 1 else { throw .invalid("a chunk without records") }
        guard rawBytes <= WireLimits.maxSnapshotChunkBytes else {
            throw .tooLarge(
                field: "chunk", value: UInt64(rawBytes), limit: UInt64(WireLimits.maxSnapshotChunkBytes))
        }
        let bytes = body.readSlice(length: body.readableBytes)!
        switch encoding {
        case .stored:
            guard bytes.readableBytes == Int(rawBytes) else { throw .invalid("a stored chunk has another size") }
        case .zlib:
            guard bytes.readableBytes < Int(rawBytes) else { throw .invalid("a compressed chunk is not smaller") }
        }
        self.init(
            term: term, transfer: transfer, sequence: sequence, encoding: encoding, rawBytes: rawBytes,
            rawChecksum: rawChecksum, bytes: bytes)
    }
}

extension SnapshotEnd {
    func writeBody(into buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(term, transfer, chunks, records, rawBytes, checksum)
    }

    init(from body: inout ByteBuffer) throws(WireError) {
        guard
            let (term, transfer, chunks, records, rawBytes, checksum) = body.readMultipleIntegers(
                as: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt32).self)
        else { throw .truncated("snapshot end") }
        try checkTerm(term)
        try checkCount("chunks of a snapshot", chunks, limit: WireLimits.maxSnapshotChunks)
        try checkCount("bytes of a snapshot", rawBytes, limit: WireLimits.maxSnapshotBytes)
        // Every state has the configuration of its cluster. Each chunk has a record, each record more than a byte.
        guard chunks >= 1, records >= chunks, rawBytes > records else {
            throw .invalid("a snapshot of \(chunks) chunks, \(records) records and \(rawBytes) bytes")
        }
        self.init(
            term: term, transfer: transfer, chunks: chunks, records: records, rawBytes: rawBytes, checksum: checksum)
    }
}

private enum SnapshotOutcome: UInt8 {
    case wants = 0
    case installed = 1
    case refused = 2
}

extension SnapshotReply {
    func writeBody(into buffer: inout ByteBuffer) {
        let (outcome, value): (SnapshotOutcome, UInt64) =
            switch outcome {
            case .wants(let sequence): (.wants, sequence)
            case .installed(let index): (.installed, index)
            case .refused: (.refused, 0)
            }
        buffer.writeMultipleIntegers(term, transfer, outcome.rawValue, value)
    }

    init(from body: inout ByteBuffer) throws(WireError) {
        guard
            let (term, transfer, rawOutcome, value) = body.readMultipleIntegers(
                as: (UInt64, UInt64, UInt8, UInt64).self)
        else { throw .truncated("snapshot reply") }
        try checkTerm(term)
        let outcome: Outcome
        switch SnapshotOutcome(rawValue: rawOutcome) {
        case .wants:
            guard value >= 1 else { throw .invalid("chunks are numbered from 1") }
            // The one after the last.
            try checkCount("number of a chunk", value, limit: WireLimits.maxSnapshotChunks + 1)
            outcome = .wants(sequence: value)
        case .installed:
            try checkIndex(value)
            guard value >= 1 else { throw .invalid("a snapshot ends with an entry") }
            outcome = .installed(value)
        case .refused:
            guard value == 0 else { throw .invalid("a refusal has no value") }
            outcome = .refused
        case nil:
            throw .unknown(field: "snapshot outcome", value: UInt64(rawOutcome))
        }
        self.init(term: term, transfer: transfer, outcome: outcome)
    }
}
