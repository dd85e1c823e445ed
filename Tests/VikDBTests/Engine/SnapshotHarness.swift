import NIOCore
import Testing
import VikDB
import VikTestSupport
import VikWire

/// One record of a snapshot, written and read by the letter of the layout, without the engine's own code.
struct TestRecord: Equatable {
    var space: UInt8 = 1
    var key: [UInt8]
    var index: LogIndex
    var ordinal: UInt32 = 0
    var kind: UInt8 = 1
    var value: [UInt8]

    func write(into chunk: inout ByteBuffer) {
        chunk.writeMultipleIntegers(UInt16(1 + key.count + 13), UInt32(value.count), space)
        chunk.writeBytes(key)
        chunk.writeMultipleIntegers(index, ordinal, kind)
        chunk.writeBytes(value)
    }

    static func chunk(_ records: TestRecord...) -> ByteBuffer {
        var chunk = ByteBuffer()
        for record in records { record.write(into: &chunk) }
        return chunk
    }

    /// Nil if `chunk` is not made of whole records with possible lengths.
    static func decode(_ chunk: ByteBuffer) -> [TestRecord]? {
        var chunk = chunk
        var records: [TestRecord] = []
        while chunk.readableBytes > 0 {
            guard let (keyLength, valueLength) = chunk.readMultipleIntegers(as: (UInt16, UInt32).self),
                (15...4_110).contains(keyLength), valueLength <= 1 << 20,
                let space: UInt8 = chunk.readInteger(), let key = chunk.readBytes(length: Int(keyLength) - 14),
                let (index, ordinal, kind) = chunk.readMultipleIntegers(as: (UInt64, UInt32, UInt8).self),
                let value = chunk.readBytes(length: Int(valueLength))
            else { return nil }
            records.append(
                TestRecord(space: space, key: key, index: index, ordinal: ordinal, kind: kind, value: value))
        }
        return records
    }

    /// Whether these are the records of a snapshot of `index`.
    static func isSnapshot(_ records: [TestRecord], of index: LogIndex) -> Bool {
        let stems = records.map { [$0.space] + $0.key }
        return records.allSatisfy { $0.space <= 1 && $0.kind == 1 && (1...index).contains($0.index) }
            && zip(stems, stems.dropFirst()).allSatisfy { $0.lexicographicallyPrecedes($1) }
    }
}

extension Model {
    /// The records of its snapshot; the model does not know their ordinals.
    var records: [TestRecord] {
        let system = configuration.map { stored in
            TestRecord(space: 0, key: Array("configuration".utf8), index: stored.version, value: stored.bytes)
        }
        let user = values.sorted { $0.key.lexicographicallyPrecedes($1.key) }.map { key, stored in
            TestRecord(key: key, index: stored.version, value: stored.bytes)
        }
        return (system.map { [$0] } ?? []) + user
    }
}

extension SnapshotReader {
    func chunks(targetBytes: Int) throws -> [ByteBuffer] {
        var chunks: [ByteBuffer] = []
        while let chunk = try next(targetBytes: targetBytes) { chunks.append(chunk) }
        return chunks
    }
}

extension TestLog {
    var position: FlushedPosition { FlushedPosition(index: entries.last!.index, term: entries.last!.term) }

    /// A few random writes, deletes, entries without operations and configurations.
    mutating func appendRandom(_ count: Int, _ random: inout SeededGenerator) throws {
        for _ in 0..<count {
            switch Int.random(in: 0..<20, using: &random) {
            case 0: try append(ByteBuffer(), kind: .noOp)
            case 1: try append(ByteBuffer(integer: random.next()), kind: .configuration)
            default:
                var command = ByteBuffer()
                let operations = Int.random(in: 1...5, using: &random)
                Command.writeHeader(operationCount: operations, into: &command)
                for _ in 0..<operations {
                    let length = Int.random(in: 1...4, using: &random)
                    let key = (0..<length).map { _ in [0, 1, 97, 255].randomElement(using: &random)! as UInt8 }
                    if Int.random(in: 0..<3, using: &random) == 0 {
                        Command.writeDelete(key: key, into: &command)
                    } else {
                        let count = Int.random(in: 0...400, using: &random)
                        let value = [UInt8](repeating: UInt8.random(in: 0...255, using: &random), count: count)
                        Command.writePut(key: key, value: value, into: &command)
                    }
                }
                try append(command)
            }
        }
    }
}
