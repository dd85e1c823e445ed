import NIOCore
import VikWire

/// The names of the engine's files. All come from counters, none from keys or peers.
enum EngineFile: Equatable {
    case current
    case currentTemporary
    case manifest(UInt64)
    case table(UInt64)

    private static let digits = 6
    /// The highest number of a file that a start accepts: no counter gets so far, nor from there to its own end.
    static let maxNumber: UInt64 = 1 << 62

    var name: String {
        switch self {
        case .current: "CURRENT"
        case .currentTemporary: "CURRENT.tmp"
        case .manifest(let number): "MANIFEST-" + Self.padded(number)
        case .table(let number): Self.padded(number) + ".sst"
        }
    }

    var number: UInt64? {
        switch self {
        case .manifest(let number), .table(let number): number
        case .current, .currentTemporary: nil
        }
    }

    /// Nil for a file that is not the engine's.
    init?(name: String) {
        let file: EngineFile
        if name == "CURRENT" {
            file = .current
        } else if name == "CURRENT.tmp" {
            file = .currentTemporary
        } else if name.hasPrefix("MANIFEST-"), let number = UInt64(name.dropFirst(9)) {
            file = .manifest(number)
        } else if name.hasSuffix(".sst"), let number = UInt64(name.dropLast(4)) {
            file = .table(number)
        } else {
            return nil
        }
        guard file.name == name else { return nil }
        self = file
    }

    func path(in directory: String) -> String { directory + "/" + name }

    private static func padded(_ number: UInt64) -> String {
        let text = String(number)
        return String(repeating: "0", count: max(0, digits - text.count)) + text
    }
}

/// The contents of CURRENT: which manifest counts, and how much of it was durable when it took over.
///
///     magic "VIKCURNT" (8), version (4), manifest number (8), durable bytes (8), checksum of all before (4)
struct CurrentFile: Equatable {
    static let encodedBytes = 32
    static let version: UInt32 = 1
    static let magic: UInt64 = 0x5649_4b43_5552_4e54

    var manifest: UInt64
    var durableBytes: UInt64

    func write(into buffer: inout ByteBuffer) {
        var encoded = ByteBuffer()
        encoded.writeMultipleIntegers(Self.magic, Self.version, manifest, durableBytes)
        encoded.writeInteger(Checksum.crc32(encoded))
        buffer.writeImmutableBuffer(encoded)
    }

    static func read(_ bytes: ByteBuffer, path: String) throws(StorageError) -> CurrentFile {
        var buffer = bytes
        guard bytes.readableBytes == encodedBytes,
            let (magic, version, manifest, durable, found) = buffer.readMultipleIntegers(
                as: (UInt64, UInt32, UInt64, UInt64, UInt32).self),
            found == Checksum.crc32(bytes.getSlice(at: bytes.readerIndex, length: encodedBytes - 4)!),
            magic == Self.magic
        else { throw .corrupt(path: path, offset: 0, reason: "it does not match its checksum") }
        guard version == Self.version else {
            throw .incompatible(path: path, reason: "version \(version), this build knows \(Self.version)")
        }
        return CurrentFile(manifest: manifest, durableBytes: durable)
    }
}

/// The header and the records of a manifest.
///
///     header  magic "VIKMANIF" (8), version (4), number (8), checksum of all before (4)
///     record  length N of the payload (4), checksum (4), durable (8), payload
///
/// A record's checksum covers manifest number, offset, N, durable and payload. `durable` is the offset up to which the
/// manifest was synced when the record was written. An empty payload is a mark: it only says what is durable.
struct ManifestFormat {
    static let headerBytes = 24
    static let recordHeaderBytes = 16
    static let version: UInt32 = 1
    static let magic: UInt64 = 0x5649_4b4d_414e_4946

    let number: UInt64
    let path: String

    /// The number that a header names, whether or not its checksum is right.
    static func number(in bytes: ByteBuffer) -> UInt64? {
        bytes.getInteger(at: bytes.readerIndex + 12)
    }

    func header() -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeMultipleIntegers(Self.magic, Self.version, number)
        buffer.writeInteger(Checksum.crc32(buffer))
        return buffer
    }

    func record(_ payload: ByteBuffer, at offset: UInt64, durable: UInt64) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeMultipleIntegers(
            UInt32(payload.readableBytes), checksum(payload, at: offset, durable: durable), durable)
        buffer.writeImmutableBuffer(payload)
        return buffer
    }

    /// One record of a manifest. A plain value.
    struct Record {
        var offset: UInt64
        /// Up to where the manifest was synced when the record was written.
        var durable: UInt64
        /// Nil in a mark.
        var edit: VersionEdit?
    }

    /// Replays a manifest of which at least `durable` bytes were synced.
    ///
    /// - Parameter visit: is shown each record once it is applied.
    /// - Returns: the catalog that the records lead to, and where they end. What is torn lies behind.
    func replay(
        _ bytes: ByteBuffer, durable: UInt64, visit: (Record) -> Void = { _ in }
    ) throws(StorageError) -> (catalog: TableCatalog, end: UInt64) {
        try checkHeader(bytes)
        var catalog = TableCatalog()
        var offset = Self.headerBytes
        while offset < bytes.readableBytes {
            guard let record = record(in: bytes, at: offset) else {
                try checkTorn(bytes, at: offset)
                break
            }
            let edit = record.payload.readableBytes > 0 ? try edit(record.payload, at: offset) : nil
            if let edit, let reason = catalog.apply(edit) { throw corrupt(offset, "the edit does not fit: \(reason)") }
            visit(Record(offset: UInt64(offset), durable: record.durable, edit: edit))
            offset += Self.recordHeaderBytes + record.payload.readableBytes
        }
        guard UInt64(offset) >= durable else { throw corrupt(offset, "a record that was durable is damaged or gone") }
        return (catalog, UInt64(offset))
    }

    private func edit(_ payload: ByteBuffer, at offset: Int) throws(StorageError) -> VersionEdit {
        do throws(EditError) {
            return try VersionEdit(payload)
        } catch {
            switch error {
            case .unknownTag(let tag):
                throw .incompatible(path: path, reason: "unknown field \(tag) in the edit at offset \(offset)")
            case .malformed:
                throw corrupt(offset, "the edit is malformed")
            }
        }
    }

    /// A bad record is what a crash left of the last one, unless a later one proves that it was durable.
    private func checkTorn(_ bytes: ByteBuffer, at offset: Int) throws(StorageError) {
        var later = offset + 1
        while later + Self.recordHeaderBytes <= bytes.readableBytes {
            if let record = record(in: bytes, at: later), record.durable > UInt64(offset) {
                throw corrupt(offset, "a record does not match its checksum")
            }
            later += 1
        }
    }

    private func record(in bytes: ByteBuffer, at offset: Int) -> (payload: ByteBuffer, durable: UInt64)? {
        let start = bytes.readerIndex + offset
        guard
            let (length, found, durable) = bytes.getMultipleIntegers(at: start, as: (UInt32, UInt32, UInt64).self),
            let payload = bytes.getSlice(at: start + Self.recordHeaderBytes, length: Int(length)),
            found == checksum(payload, at: UInt64(offset), durable: durable)
        else { return nil }
        return (payload, durable)
    }

    private func checksum(_ payload: ByteBuffer, at offset: UInt64, durable: UInt64) -> UInt32 {
        var place = ByteBuffer()
        place.writeMultipleIntegers(number, offset, UInt32(payload.readableBytes), durable)
        return Checksum.crc32(payload, seed: Checksum.crc32(place))
    }

    private func checkHeader(_ bytes: ByteBuffer) throws(StorageError) {
        guard
            let (magic, version, number, found) = bytes.getMultipleIntegers(
                at: bytes.readerIndex, as: (UInt64, UInt32, UInt64, UInt32).self),
            found == Checksum.crc32(bytes.getSlice(at: bytes.readerIndex, length: Self.headerBytes - 4)!),
            magic == Self.magic, number == self.number
        else { throw corrupt(0, "the header does not match its checksum") }
        guard version == Self.version else {
            throw .incompatible(path: path, reason: "version \(version), this build knows \(Self.version)")
        }
    }

    private func corrupt(_ offset: Int, _ reason: String) -> StorageError {
        .corrupt(path: path, offset: UInt64(offset), reason: reason)
    }
}
