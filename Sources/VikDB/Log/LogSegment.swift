import NIOCore
import VikWire

/// The head of a segment file. Written and synced before the file gets its name, so that a segment either has a whole
/// head or is damaged. A plain value; layout in docs/storage-format.md.
struct LogSegment: Equatable, Sendable {
    /// Records start here.
    static let headerBytes: UInt32 = 64
    static let magic: UInt64 = 0x56_69_6b_44_42_6c_6f_67  // "VikDBlog"
    static let version: UInt32 = 1
    private static let checksumOffset = 60

    var number: UInt32
    /// Bytes reserved for the file.
    var size: UInt32
    /// The oldest segment that still belongs to the log; files below it are leftovers.
    var oldest: UInt32
    /// Where the records of the segment before this one end, all of them durable. What lies behind is not log: it may
    /// be the torn end of a crash.
    var predecessorEnd: UInt32
    /// The entry just before the log's first one.
    var base: LogBase

    static func fileName(_ number: UInt32) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, 8 - digits.count)) + digits + ".log"
    }

    /// The number in a segment's file name, or nil if the file is something else.
    static func number(fileName: String) -> UInt32? {
        guard fileName.hasSuffix(".log"), let number = UInt32(fileName.dropLast(4)) else { return nil }
        return Self.fileName(number) == fileName ? number : nil
    }

    func encoded() -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.reserveCapacity(Int(Self.headerBytes))
        buffer.writeMultipleIntegers(Self.magic, Self.version, number, size, oldest, predecessorEnd, UInt32(0))
        buffer.writeMultipleIntegers(base.index, base.term, UInt64(0), UInt32(0))
        buffer.writeInteger(Checksum.crc32(buffer))
        return buffer
    }

    /// Reads and checks the head of `file`, which must be segment `number`; nil: any.
    init(from file: any File, number: UInt32?) throws(StorageError) {
        let path = file.path
        func corrupt(_ reason: String, at offset: UInt64 = 0) -> StorageError {
            .corrupt(path: path, offset: offset, reason: reason)
        }
        let bytes = try file.bytes(at: 0, count: Int(Self.headerBytes))
        guard let checksum = bytes.getInteger(at: Self.checksumOffset, as: UInt32.self) else {
            throw corrupt("the segment's header ends early")
        }
        guard
            let (magic, version, found, size, oldest, predecessorEnd, _, baseIndex, baseTerm) =
                bytes.getMultipleIntegers(
                    at: 0,
                    as: (UInt64, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt64, UInt64).self),
            magic == Self.magic,
            checksum == Checksum.crc32(bytes.getSlice(at: 0, length: Self.checksumOffset)!)
        else { throw corrupt("the segment's header does not match its checksum") }
        guard version == Self.version else {
            throw .incompatible(path: path, reason: "log format \(version) is not known, this build reads 1")
        }
        guard number == nil || found == number else { throw corrupt("the header is that of segment \(found)") }
        guard oldest >= 1, oldest <= found, size >= Self.headerBytes, baseIndex <= WireLimits.maxIndex else {
            throw corrupt("the segment's header contradicts itself")
        }
        let fileSize = try file.size()
        guard fileSize >= UInt64(size) else { throw corrupt("the file ends before its segment", at: fileSize) }
        self.init(
            number: found, size: size, oldest: oldest, predecessorEnd: predecessorEnd,
            base: LogBase(index: baseIndex, term: baseTerm))
    }

    init(number: UInt32, size: UInt32, oldest: UInt32, predecessorEnd: UInt32, base: LogBase) {
        self.number = number
        self.size = size
        self.oldest = oldest
        self.predecessorEnd = predecessorEnd
        self.base = base
    }
}
