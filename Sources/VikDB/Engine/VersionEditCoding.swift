import NIOCore
import VikWire

/// The bytes of a ``VersionEdit``: tagged fields, in any order.
///
///     1 flushed          index (8), term (8)
///     2 next file number (8)
///     3 removed table    number (8)
///     4 added table      level (1), number (8), bytes (8), entries (8), smallest and largest key (2 + key each)
///     5 installed        index (8)
extension VersionEdit {
    private enum Tag: UInt8 {
        case flushed = 1
        case nextFileNumber = 2
        case removed = 3
        case added = 4
        case installed = 5
    }

    func write(into buffer: inout ByteBuffer) {
        if let flushed {
            buffer.writeMultipleIntegers(Tag.flushed.rawValue, flushed.index, flushed.term)
        }
        if let installed {
            buffer.writeMultipleIntegers(Tag.installed.rawValue, installed)
        }
        buffer.writeMultipleIntegers(Tag.nextFileNumber.rawValue, nextFileNumber)
        for number in removed {
            buffer.writeMultipleIntegers(Tag.removed.rawValue, number)
        }
        for placed in added {
            let table = placed.table
            buffer.writeMultipleIntegers(
                Tag.added.rawValue, UInt8(placed.level), table.number, table.fileBytes, table.entries)
            for key in [table.smallest, table.largest] {
                buffer.writeInteger(UInt16(key.count))
                buffer.writeBytes(key)
            }
        }
    }

    /// Reads an edit whose checksum is right; what does not fit then was written by another version, or by a fault.
    init(_ buffer: ByteBuffer) throws(EditError) {
        var buffer = buffer
        self.init(nextFileNumber: 0)
        while buffer.readableBytes > 0 {
            let code: UInt8 = try EditError.unwrap(buffer.readInteger())
            guard let tag = Tag(rawValue: code) else { throw .unknownTag(code) }
            switch tag {
            case .flushed:
                let (index, term) = try EditError.unwrap(
                    buffer.readMultipleIntegers(as: (LogIndex, Term).self))
                flushed = FlushedPosition(index: index, term: term)
            case .installed:
                installed = try EditError.unwrap(buffer.readInteger())
            case .nextFileNumber:
                nextFileNumber = try EditError.unwrap(buffer.readInteger())
                guard nextFileNumber <= EngineFile.maxNumber << 1 else { throw .malformed }
            case .removed:
                removed.append(try EditError.unwrap(buffer.readInteger()))
            case .added:
                let (level, number, bytes, entries) = try EditError.unwrap(
                    buffer.readMultipleIntegers(as: (UInt8, UInt64, UInt64, UInt64).self))
                let smallest = try Self.readKey(from: &buffer)
                let largest = try Self.readKey(from: &buffer)
                added.append(
                    Placed(
                        level: Int(level),
                        table: TableMetadata(
                            number: number, fileBytes: bytes, entries: entries, smallest: smallest,
                            largest: largest)))
            }
        }
    }

    private static func readKey(from buffer: inout ByteBuffer) throws(EditError) -> [UInt8] {
        let length: UInt16 = try EditError.unwrap(buffer.readInteger())
        let key = try EditError.unwrap(buffer.readBytes(length: Int(length)))
        guard (InternalKey.minBytes...InternalKey.maxBytes).contains(key.count), KeySpace(rawValue: key[0]) != nil
        else { throw .malformed }
        return key
    }
}

/// Why an edit with a right checksum cannot be used.
enum EditError: Error {
    case unknownTag(UInt8)
    case malformed

    static func unwrap<Value>(_ value: Value?) throws(EditError) -> Value {
        guard let value else { throw .malformed }
        return value
    }
}
