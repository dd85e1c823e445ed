import NIOCore
import Testing
import VikDB
import VikTestSupport
import VikWire

/// Compressed blocks: they hold the same, are smaller or not compressed, and forged ones cost neither memory nor life.
struct BlockCompressionTests {
    private static func options(_ compression: BlockCompression) -> EngineOptions {
        var options = EngineOptions()
        options.memtableMaxBytes = 4 << 20
        options.level0MergeTables = 2
        options.compression = compression
        return options
    }

    private static func open(_ fileSystem: MemoryFileSystem, _ compression: BlockCompression) throws -> Engine {
        try Engine.open(directory: "/db", fileSystem: fileSystem, options: options(compression))
    }

    /// One table, with values that shrink well.
    private static func build(
        _ compression: BlockCompression
    ) throws -> (fileSystem: MemoryFileSystem, log: TestLog, bytes: UInt64) {
        let fileSystem = MemoryFileSystem()
        let engine = try open(fileSystem, compression)
        var log = TestLog()
        for number in 0..<500 { try log.put("key\(number)", String(repeating: "value \(number % 10) ", count: 10)) }
        try log.bringUp(engine)
        try engine.flush()
        try expectEqual(engine, log.model)
        return (fileSystem, log, engine.statistics.tableBytes)
    }

    @Test func compressedTablesAreSmallerAndHoldTheSame() throws {
        let (fileSystem, log, bytes) = try Self.build(.zlib)
        #expect(try Self.build(.none).bytes > 4 * bytes)
        let table = try TableBytes(in: "/db", fileSystem)
        #expect(table.dataBlocks.count > 5 && table.dataBlocks.allSatisfy { table.compression(of: $0) == 1 })
        // Nothing is cached, and the option is one for writing alone.
        try expectEqual(try Self.open(fileSystem, .none), log.model)
    }

    /// Tables of both kinds in one store, merged to and fro.
    @Test func theOptionMayChange() throws {
        let fileSystem = MemoryFileSystem()
        var log = TestLog()
        for (round, compression) in [BlockCompression.zlib, .none, .zlib, .none, .none, .zlib].enumerated() {
            let engine = try Self.open(fileSystem, compression)
            for number in 0..<100 {
                try log.put("key\(number * (round + 1))", String(repeating: "\(round)", count: 100))
            }
            try log.bringUp(engine)
            try engine.flush()
            try expectEqual(engine, log.model)
            let table = try TableBytes(in: "/db", fileSystem)
            #expect(Set(table.dataBlocks.map { table.compression(of: $0) }) == [compression.rawValue])
        }
    }

    /// A block is stored as it is unless an eighth of it is saved: values of noise alone, and with some zeros.
    @Test(arguments: [(noise: 1_000, zeros: 0, 0), (1_000, 100, 0), (1_000, 200, 1), (0, 200, 1)])
    func whatHardlyShrinksIsNotCompressed(noise: Int, zeros: Int, compression: UInt8) throws {
        let fileSystem = MemoryFileSystem()
        let engine = try Self.open(fileSystem, .zlib)
        var random = SeededGenerator(seeds(1)[0])
        var log = TestLog()
        for number in 0..<100 {
            let value = (0..<noise).map { _ in UInt8.random(in: 0...255, using: &random) }
            try log.append(
                Command.put(key: Array("key\(number)".utf8), value: value + [UInt8](repeating: 0, count: zeros)))
        }
        try log.bringUp(engine)
        try engine.flush()
        try expectEqual(engine, log.model)
        let table = try TableBytes(in: "/db", fileSystem)
        #expect(Set(table.dataBlocks.map { table.compression(of: $0) }) == [compression])
    }

    /// The worked bytes of docs/storage-format.md are what is written, and the compressed ones are the same contents.
    @Test func theDocumentedBytes() throws {
        let fileSystem = MemoryFileSystem()
        let engine = try Self.open(fileSystem, .none)
        var log = TestLog()
        for key in ["key1", "key2"] { try log.put(key, String(repeating: "v", count: 40)) }
        try log.bringUp(engine)
        try engine.flush()
        let table = try TableBytes(in: "/db", fileSystem)
        let plain = ByteBuffer(bytes: try #require(SpecExamples.storage["data-block"]))
        #expect(table.number == 2)
        #expect(ByteBuffer(bytes: table.bytes.prefix(plain.readableBytes)) == plain)

        var stored = ByteBuffer(bytes: try #require(SpecExamples.storage["compressed-data-block"]))
        let trailer = stored.readableBytes - TableBytes.trailerBytes
        var place = ByteBuffer(bytes: stored.readableBytesView[..<(trailer + 2)])
        place.writeMultipleIntegers(UInt64(2), UInt64(0))
        #expect(stored.getInteger(at: trailer + 2) == Checksum.crc32(place))
        var decompressor = ChunkDecompressor()
        let count: UInt32? = stored.readInteger()
        let contents = try decompressor.decompress(
            stored.readSlice(length: trailer - 4)!, rawBytes: Int(try #require(count)))
        #expect(contents == plain.getSlice(at: 0, length: plain.readableBytes - TableBytes.trailerBytes)!)
    }

    /// What a table with right checksums may say of a block, and what is said of it.
    enum Forgery: CaseIterable {
        case oneByteLess, oneByteMore, nothing, aboveTheLimit, moreThanTheStreamCanHold, noStream, anotherStream,
            unknown

        func apply(to table: inout TableBytes, _ block: TableBytes.Block) -> String {
            let raw: UInt32 = table.integer(at: block.offset)
            func declare(_ bytes: UInt32) { table.set(bytes, at: block.offset) }
            let says = "a compressed block of \(block.length) bytes says that it holds"
            let differs = "a compressed block does not inflate to"
            switch self {
            case .oneByteLess:
                declare(raw - 1)
                return "\(differs) \(raw - 1) bytes"
            case .oneByteMore:
                declare(raw + 1)
                return "\(differs) \(raw + 1) bytes"
            case .nothing:
                declare(0)
                return "\(says) 0"
            case .aboveTheLimit:
                declare(.max)
                return "\(says) \(UInt32.max)"
            case .moreThanTheStreamCanHold:
                declare(UInt32(block.length - 4) * 1_032 + 1)
                return "\(says) \((block.length - 4) * 1_032 + 1)"
            case .noStream:
                table.bytes.replaceSubrange(
                    block.offset + 4..<block.offset + block.length, with: repeatElement(0, count: block.length - 4))
                return "\(differs) \(raw) bytes"
            case .anotherStream:
                // A bit of the stream's own checksum, at its end.
                table.bytes[block.offset + block.length - 1] ^= 1
                return "\(differs) \(raw) bytes"
            case .unknown:
                table.bytes[block.offset + block.length + 1] = 2
                return "the block at offset \(block.offset) has the unknown compression 2"
            }
        }
    }

    @Test(arguments: Forgery.allCases)
    func forgedBlocksAreRefused(_ forgery: Forgery) throws {
        let (fileSystem, _, _) = try Self.build(.zlib)
        var table = try TableBytes(in: "/db", fileSystem)
        let block = table.dataBlocks[2]
        try #require(table.compression(of: block) == 1)
        let reason = forgery.apply(to: &table, block)
        table.seal(block)
        try table.write(to: fileSystem)
        let expected =
            forgery == .unknown
            ? StorageError.incompatible(path: table.path, reason: reason)
            : .corrupt(path: table.path, offset: UInt64(block.offset), reason: reason)
        let engine = try Self.open(fileSystem, .zlib)
        #expect(throws: expected) { _ = try engine.view().items() }
    }
}
