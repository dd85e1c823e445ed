import NIOCore
import Testing
import VikDB
import VikTestSupport
import VikWire

/// What `vikdb dump` shows of each kind of file, line by line.
struct FileDumpTests {
    private func dump(
        _ path: String, of fileSystem: MemoryFileSystem, items: Int? = nil, bytes: Int = 64
    ) throws -> [String] {
        var lines: [String] = []
        let limits = FileDump.Limits(items: items, bytes: bytes)
        #expect(try FileDump.run(path, fileSystem: fileSystem, limits: limits, out: { lines.append($0) }))
        return lines
    }

    @Test func aSegment() throws {
        let lines = try dump("/data/wal/00000001.log", of: try SmallStore().fileSystem)
        #expect(
            lines.prefix(9) == [
                "log segment 1, format 1, 4096 bytes",
                "the oldest segment of the log is 1, the one before this ends at 0",
                "the log follows entry 0 of term 0",
                "offset 64: entries, 336 bytes, durable to segment 1, offset 64",
                "  entry 1, term 1: configuration of cluster 00000000000000030000000000000004",
                #"    voter 9 "node1" at localhost:8081, store 00000000000000010000000000000002"#,
                "  entry 2, term 1: no operation",
                "  entry 3, term 1: command, 70 bytes",
                #"    put "key15" "value 3, value 3, value 3, value 3, value 3, value 3, ""#,
            ])
        #expect(lines.contains(#"    delete "key11""#))
        #expect(lines.contains { $0.hasSuffix(": no record follows") })
    }

    @Test func limits() throws {
        let lines = try dump("/data/wal/00000002.log", of: try SmallStore().fileSystem, items: 1, bytes: 3)
        #expect(lines.contains { $0.hasSuffix(#"put "key"… (4 bytes) "val"… (60 bytes)"#) }, "\(lines)")
        #expect(lines.filter { $0.hasPrefix("  entry") }.count == 1)
        #expect(lines.contains { $0.contains("the mark of a clean close") })
        #expect(lines.contains { $0.hasPrefix("… and ") && $0.hasSuffix(" entries more") })
    }

    @Test func aHardState() throws {
        let lines = try dump("/data/wal/hard-state", of: try SmallStore().fileSystem)
        #expect(lines.count == 6)
        #expect(lines[0] == "hard state, format 1, two slots of two copies")
        #expect(lines[1].hasPrefix("offset 0: save ") && lines[4].hasPrefix("offset 12288: save "))
        #expect(lines.filter { $0.contains("term 3, vote 9, commit index 52, log durable to segment 2") }.count >= 2)
        #expect(lines[5].hasSuffix(" counts"))
    }

    @Test(arguments: [("000002", true), ("000004", false)])
    func aTable(number: String, isCompressed: Bool) throws {
        let lines = try dump("/data/tables/\(number).sst", of: try SmallStore().fileSystem)
        #expect(lines[0].hasPrefix("table \(number.last!), format 2, "))
        for (line, name) in zip(lines[1...3], ["index", "filter", "properties"]) {
            #expect(line.hasPrefix("footer: \(name) block at offset "))
        }
        #expect(lines[4].hasPrefix("properties: entries 2"))
        #expect(lines[5].hasPrefix("filter: 1 line, "))
        let blocks = lines.filter { $0.hasPrefix("index: block at offset ") }
        #expect(blocks.count > 2)
        #expect(lines.filter { $0.hasPrefix("block at offset ") }.count == blocks.count)
        #expect(lines.contains { $0.hasPrefix("block at offset 0: zlib, ") } == isCompressed)
        if isCompressed { #expect(lines.contains { $0.hasPrefix(#"  system "configuration" @1.0 put ""#) }) }
        #expect(lines.contains { $0.hasPrefix(#"  user "key"#) && $0.hasSuffix(".0 delete") })
        #expect(lines.contains { $0.hasPrefix(#"  user "key"#) && $0.contains(#".0 put "value "#) })
    }

    @Test func aManifestAndWhatNamesIt() throws {
        let fileSystem = try SmallStore().fileSystem
        #expect(
            try dump("/data/tables/CURRENT", of: fileSystem)
                == ["CURRENT, format 1: MANIFEST-000003, durable to \(try durableBytes(fileSystem))"])
        let lines = try dump("/data/tables/MANIFEST-000003", of: fileSystem)
        #expect(lines[0].hasPrefix("manifest 3, format 1, "))
        #expect(
            lines[1...3] == [
                "offset 24: edit, durable to 0", "  flushed up to entry 26 of term 1", "  next file number 4",
            ])
        #expect(lines[4].hasPrefix("  adds table 2 on level 0: "))
        #expect(lines.contains { $0.contains(": mark, durable to ") })
        #expect(lines.suffix(2) == ["tables of entries up to 52, term 2", "level 0: 4, 2"])
    }

    private func durableBytes(_ fileSystem: MemoryFileSystem) throws -> Int {
        Int(try #require(fileSystem.contents(of: "/data/tables/CURRENT"))[27])
    }

    @Test func anIdentity() throws {
        let lines = try dump("/data/wal/store-id", of: try SmallStore().fileSystem)
        #expect(lines.count == 1 && lines[0].hasPrefix("store ") && lines[0].count == 38)
    }

    /// A file is known by its bytes, and by its name where these are damaged; anything else is refused.
    @Test func kindsAreTold() throws {
        let fileSystem = try SmallStore().fileSystem
        for (path, bytes) in try SmallStore.files(fileSystem) {
            let copy = try fileSystem.open("/data/wal/copy", .create)
            try copy.write(ByteBuffer(bytes: bytes), at: 0)
            #expect(try dump("/data/wal/copy", of: fileSystem) == dump(path, of: fileSystem), "\(path)")
            try fileSystem.remove("/data/wal/copy")
            fileSystem.corrupt(path, at: path.hasSuffix(".sst") ? bytes.count - 1 : 0, xor: 1)
            if !path.hasSuffix("hard-state") {
                #expect(throws: StorageError.self) { try dump(path, of: fileSystem) }
            }
        }
        let limits = FileDump.Limits(items: nil, bytes: 64)
        _ = try fileSystem.open("/data/other", .create)
        #expect(try !FileDump.run("/data/other", fileSystem: fileSystem, limits: limits, out: { _ in }))
    }

    /// Bytes that no terminal should get.
    @Test func bytesAreEscaped() throws {
        let fileSystem = MemoryFileSystem()
        let (log, _) = try openLog(fileSystem)
        let key: [UInt8] = [0, 9, 10, 27, 34, 92, 97, 126, 127, 200]
        try log.append([Entry(index: 1, term: 1, kind: .command, payload: Command.put(key: key, value: []))])
        try log.close()
        let lines = try dump(logDirectory + "/00000001.log", of: fileSystem)
        #expect(lines.contains(#"    put "\x00\t\n\x1b\"\\a~\x7f\xc8" """#), "\(lines)")
    }
}
