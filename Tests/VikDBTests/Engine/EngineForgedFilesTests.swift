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
        let name = try #require(try fileSystem.list("/db").first { $0.hasSuffix(".sst") })
        let path = "/db/" + name
        var table = try #require(fileSystem.contents(of: path))
        // The handle of the one data block is the value of the one entry of the index, whose handle is in the footer.
        let index = Int(integer(table, at: table.count - 60) as UInt64)
        let handle = index + 8 + Int(integer(table, at: index + 2) as UInt16)
        let block = Int(integer(table, at: handle) as UInt64)
        let end = block + Int(integer(table, at: handle + 8) as UInt32)
        let number = try #require(UInt64(name.dropLast(4)))
        try #require(table[block + 8] == 1)
        table[block + 8] = 2
        var place = ByteBuffer()
        place.writeMultipleIntegers(UInt8(1), number, UInt64(block))
        let checksum = Checksum.crc32(place, seed: Checksum.crc32(ByteBuffer(bytes: table[block..<end])))
        try write(ByteBuffer(bytes: [2]), to: path, at: block + 8, fileSystem)
        try write(ByteBuffer(integer: checksum), to: path, at: end + 1, fileSystem)

        let engine = try open(fileSystem)
        let expected = StorageError.corrupt(
            path: path, offset: UInt64(block), reason: "a key of the unknown space 2")
        #expect(throws: expected) { _ = try engine.view().items() }
        #expect(throws: expected) { _ = try engine.view().execute(.get(key: Array("key1".utf8))) }
        #expect(throws: expected) { _ = try engine.view().stateHash() }
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
