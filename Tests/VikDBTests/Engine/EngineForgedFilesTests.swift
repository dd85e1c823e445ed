import NIOCore
import Testing
import VikDB
import VikTestSupport
import VikWire

/// Files whose checksums are right and whose contents no engine writes: errors, never a trap.
struct EngineForgedFilesTests {
    private static var options: EngineOptions {
        var options = EngineOptions()
        options.memtableMaxBytes = EngineOptions.minMemtableBytes
        return options
    }

    private func open(_ fileSystem: MemoryFileSystem) throws -> Engine {
        try Engine.open(directory: "/db", fileSystem: fileSystem, options: Self.options)
    }

    private func integer<Number: FixedWidthInteger>(_ bytes: [UInt8], at offset: Int) -> Number {
        ByteBuffer(bytes: bytes).getInteger(at: offset)!
    }

    private func write(_ bytes: ByteBuffer, to path: String, at offset: Int, _ fileSystem: MemoryFileSystem) throws {
        try fileSystem.open(path, .readWrite).write(bytes, at: UInt64(offset))
    }

    @Test func aKeyOfAnUnknownSpaceIsCorrupt() throws {
        let fileSystem = MemoryFileSystem()
        var log = TestLog()
        for number in 0..<3 { try log.put("key\(number)", "value") }
        do {
            let engine = try open(fileSystem)
            try log.bringUp(engine)
            try engine.flush()
        }
        var table = try TableBytes(in: "/db", fileSystem)
        let block = try #require(table.dataBlocks.first)
        try #require(table.bytes[block.offset + 8] == 1)
        table.bytes[block.offset + 8] = 2
        table.seal(block)
        try table.write(to: fileSystem)

        let engine = try open(fileSystem)
        let expected = StorageError.corrupt(
            path: table.path, offset: UInt64(block.offset), reason: "a key of the unknown space 2")
        #expect(throws: expected) { _ = try engine.view().items() }
        #expect(throws: expected) { _ = try engine.view().execute(.get(key: Array("key1".utf8))) }
        #expect(throws: expected) { _ = try engine.view().stateHash() }
    }

    /// Tables of the layout before this one, and of one that may come.
    @Test(arguments: [UInt32(1), 3])
    func anotherVersionOfTablesIsRefused(_ version: UInt32) throws {
        let fileSystem = MemoryFileSystem()
        var log = TestLog()
        try log.put("key", "value")
        do {
            let engine = try open(fileSystem)
            try log.bringUp(engine)
            try engine.flush()
        }
        var table = try TableBytes(in: "/db", fileSystem)
        table.set(version, at: table.bytes.count - 16)
        table.sealFooter()
        try table.write(to: fileSystem)
        let expected = StorageError.incompatible(
            path: table.path, reason: "table version \(version), this build knows 2")
        #expect(throws: expected) { _ = try open(fileSystem) }
    }

    @Test(arguments: ["18446744073709551615.sst", "MANIFEST-18446744073709551615", "4611686018427387905.sst"])
    func aFileWithAnImpossibleNumberIsNamed(_ name: String) throws {
        let fileSystem = MemoryFileSystem()
        _ = try open(fileSystem)
        _ = try fileSystem.open("/db/" + name, .create)
        do {
            _ = try open(fileSystem)
            Issue.record("opened beside \(name)")
        } catch StorageError.incompatible(let path, _) {
            #expect(path == "/db/" + name)
        }
        try fileSystem.remove("/db/" + name)
        _ = try open(fileSystem)
    }

    @Test func anImpossibleNextFileNumberIsCorrupt() throws {
        let fileSystem = MemoryFileSystem()
        _ = try open(fileSystem)
        let name = try #require(try fileSystem.list("/db").first { $0.hasPrefix("MANIFEST") })
        let path = "/db/" + name
        let manifest = try #require(fileSystem.contents(of: path))
        // Header, record header, then the flushed position and the next file number.
        let (record, payload) = (24, 40)
        let field = payload + 17
        try #require(manifest[field] == 2)
        let (length, durable): (UInt32, UInt64) = (integer(manifest, at: record), integer(manifest, at: record + 8))
        try #require(length == 26)
        let number = try #require(UInt64(name.dropFirst(9)))
        for next in [.max, .max - 1, 1 << 63 + 1] as [UInt64] {
            var forged = ByteBuffer(bytes: manifest[payload...])
            forged.setInteger(next, at: 18)
            var place = ByteBuffer()
            place.writeMultipleIntegers(number, UInt64(record), length, durable)
            try write(forged, to: path, at: payload, fileSystem)
            let checksum = Checksum.crc32(forged, seed: Checksum.crc32(place))
            try write(ByteBuffer(integer: checksum), to: path, at: record + 4, fileSystem)
            #expect(throws: StorageError.corrupt(path: path, offset: 24, reason: "the edit is malformed")) {
                _ = try open(fileSystem)
            }
        }
    }
}
