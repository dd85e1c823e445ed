import Testing
import VikDB
import VikTestSupport
import VikWire

/// Files that are missing, cut short or hold bytes of another place: an error that names file and offset, or no effect;
/// never a wrong answer (proof scenarios 29, 35). `StoreCorruptionTests` flips every byte.
struct EngineCorruptionTests {
    private static var options: EngineOptions {
        var options = EngineOptions()
        options.memtableMaxBytes = EngineOptions.minMemtableBytes
        options.blockBytes = 128
        options.level0MergeTables = 3
        return options
    }

    /// Two tables that overlap, and a manifest with an edit for each.
    private static func build() throws -> (fileSystem: MemoryFileSystem, log: TestLog) {
        let fileSystem = MemoryFileSystem()
        let engine = try Engine.open(directory: "/db", fileSystem: fileSystem, options: options)
        var log = TestLog()
        for round in 0..<2 {
            for number in 0..<12 { try log.put("key\(number + 3 * round)", "round \(round) value \(number)") }
            try log.delete("key\(4 + round)")
            try log.bringUp(engine)
            try engine.flush()
        }
        return (fileSystem, log)
    }

    private static func files(_ fileSystem: MemoryFileSystem) throws -> [String] {
        try fileSystem.list("/db").map { "/db/" + $0 }
    }

    private static func copy(_ files: [(String, [UInt8])]) throws -> MemoryFileSystem {
        let copy = MemoryFileSystem()
        try copy.createDirectory("/db")
        for (path, contents) in files {
            let file = try copy.open(path, .create)
            try contents.span.withUnsafeBytes { bytes throws(StorageError) in try file.write(bytes, at: 0) }
        }
        return copy
    }

    /// Valid bytes in the wrong place: a table under another's name, another table's block at the right offset, and
    /// another block of the same table.
    @Test func misplacedBytesAreFound() throws {
        let fileSystem = MemoryFileSystem()
        let engine = try Engine.open(directory: "/db", fileSystem: fileSystem, options: Self.options)
        var log = TestLog()
        for round in 0..<2 {
            // Keys that share nothing past their first bytes, so that all blocks have one length.
            for number in 10..<40 { try log.put("\(number)key", "value \(round)\(number)") }
            try log.bringUp(engine)
            try engine.flush()
        }
        let pristine = try Self.files(fileSystem).map { ($0, fileSystem.contents(of: $0)!) }
        let tables = pristine.indices.filter { pristine[$0].0.hasSuffix(".sst") }
        try #require(tables.count == 2)
        let (own, other) = (pristine[tables[0]].1, pristine[tables[1]].1)
        let firstBlock = try #require(Self.equalBlockBytes(own))
        #expect(Self.equalBlockBytes(other) == firstBlock)
        let misplaced = [
            other,
            Array(other[..<firstBlock]) + own[firstBlock...],
            Array(own[firstBlock..<2 * firstBlock]) + own[firstBlock...],
        ]
        for contents in misplaced {
            var files = pristine
            files[tables[0]].1 = contents
            do {
                let engine = try Engine.open(directory: "/db", fileSystem: Self.copy(files), options: Self.options)
                _ = try engine.view().items()
                Issue.record("misplaced bytes were read")
            } catch let error as StorageError {
                guard case .corrupt(pristine[tables[0]].0, _, _) = error else { throw error }
            }
        }
    }

    /// Bytes of the first data block with its trailer, if the second one is as long: both begin with a whole key.
    private static func equalBlockBytes(_ table: [UInt8]) -> Int? {
        let firstEntry = Array(table[..<8])
        let starts = table.indices.dropLast(8).filter { Array(table[$0..<$0 + 8]) == firstEntry }
        guard starts.count > 2, starts[2] == 2 * starts[1] else { return nil }
        return starts[1]
    }

    /// Cutting the manifest short at every byte loses at most what CURRENT does not vouch for; it never shows a mix.
    @Test func aTornManifestIsTheStateBefore() throws {
        let fileSystem = MemoryFileSystem()
        var log = TestLog()
        var models = [Model()]
        let engine = try Engine.open(directory: "/db", fileSystem: fileSystem, options: Self.options)
        for round in 0..<2 {
            try log.put("key", "value \(round)")
            try log.bringUp(engine)
            try engine.flush()
            models.append(log.model)
        }
        let pristine = try Self.files(fileSystem).map { ($0, fileSystem.contents(of: $0)!) }
        let manifest = pristine.firstIndex { $0.0.contains("MANIFEST") }!
        var outcomes: Set<Int> = []
        for length in 0...pristine[manifest].1.count {
            var files = pristine
            files[manifest].1.removeSubrange(length...)
            do {
                let engine = try Engine.open(
                    directory: "/db", fileSystem: Self.copy(files), options: Self.options)
                let index = Int(engine.flushed.index)
                try expectEqual(engine, models[index], "\(length) bytes")
                outcomes.insert(index)
            } catch let error as StorageError {
                guard case .corrupt(pristine[manifest].0, _, _) = error else { throw error }
                outcomes.insert(-1)
            }
        }
        #expect(outcomes == [-1, 0, 1, 2])
    }

    @Test func missingFilesAreNamed() throws {
        let (fileSystem, _) = try Self.build()
        for path in try Self.files(fileSystem) {
            let rest = try Self.files(fileSystem).filter { $0 != path }.map { ($0, fileSystem.contents(of: $0)!) }
            do {
                _ = try Engine.open(directory: "/db", fileSystem: Self.copy(rest), options: Self.options)
                Issue.record("opened without \(path)")
            } catch {
                #expect("\(error)".contains(path))
            }
        }
    }
}
