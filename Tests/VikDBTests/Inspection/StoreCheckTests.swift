import NIOCore
import Testing
import VikDB
import VikTestSupport
import VikWire

/// What `vikdb check` finds beside flipped bytes, and that it leaves everything as it is.
struct StoreCheckTests {
    private static func store() throws -> MemoryFileSystem {
        try SmallStore().fileSystem
    }

    @Test func aWholeStoreIsWholeAndStaysAsItIs() throws {
        let fileSystem = try Self.store()
        let before = try SmallStore.files(fileSystem).map { "\($0)" }
        let report = try SmallStore.check(fileSystem)
        #expect(report.isOK && report.notes.isEmpty, "\(report)")
        #expect(
            report.findings.map(\.subject) == [
                "store identity", "hard state", "log segments", "leftovers", "store identity", "CURRENT", "manifest",
                "files of the manifest", "tables", "leftovers", "log and tables",
            ])
        let summaries = report.findings.map(\.summary)
        #expect(summaries[1] == "term 3, vote for 9, commit index 52")
        #expect(summaries[2].hasSuffix("entries 1 to 52"))
        #expect(summaries[7] == "tables: 2 on level 0")
        #expect(summaries[10] == "the log ends with entry 52, the tables hold everything up to 52")
        #expect(try SmallStore.files(fileSystem).map { "\($0)" } == before)
        #expect(fileSystem.openFileCount == 0)
    }

    @Test func aRunningNodeIsLeftAlone() throws {
        let fileSystem = try Self.store()
        for directory in [SmallStore.log, SmallStore.tables] {
            let lock = try fileSystem.lock(directory + "/lock", create: false)
            #expect(throws: StorageError.locked(path: directory + "/lock")) { try SmallStore.check(fileSystem) }
            withExtendedLifetime(lock) {}
        }
        #expect(try SmallStore.check(fileSystem).isOK)
        // A copy of the files has no locks, and gets none.
        for directory in [SmallStore.log, SmallStore.tables] { try fileSystem.remove(directory + "/lock") }
        #expect(try SmallStore.check(fileSystem).isOK)
        #expect(!fileSystem.exists(SmallStore.log + "/lock"))
    }

    @Test func aNodeCannotStartMeanwhile() throws {
        let fileSystem = try Self.store()
        var refusals: [StorageError] = []
        _ = try StoreCheck.run(
            SmallStore.both, fileSystem: fileSystem
        ) { _ in
            do throws(StorageError) { _ = try SmallStore.read(fileSystem) } catch { refusals.append(error) }
        }
        #expect(!refusals.isEmpty && refusals.allSatisfy { $0 == .locked(path: SmallStore.log + "/lock") })
    }

    @Test func progressGoesUpToTheEnd() throws {
        var percents: [Int] = []
        _ = try StoreCheck.run(
            SmallStore.both, fileSystem: try Self.store()
        ) { percents.append($0) }
        #expect(percents == percents.sorted() && Set(percents).count == percents.count)
        #expect(percents.first ?? 0 > 0 && percents.last ?? 0 > 90 && percents.last ?? 0 <= 100)
    }

    @Test func leftoversAreNoted() throws {
        let fileSystem = try Self.store()
        let leftovers = [
            "/data/wal/00000009.log.tmp", "/data/wal/hard-state.tmp", "/data/tables/000999.sst",
            "/data/tables/MANIFEST-000001", "/data/tables/CURRENT.tmp",
        ]
        for path in leftovers + ["/data/wal/notes.txt", "/data/tables/notes.txt"] {
            _ = try fileSystem.open(path, .create)
        }
        let report = try SmallStore.check(fileSystem)
        #expect(report.isOK && report.notes.count == leftovers.count, "\(report)")
        for path in leftovers { #expect(report.notes.contains { $0.hasPrefix(path + ": ") }, "\(path)") }
        // They do not keep a node from starting, and it removes them.
        _ = try SmallStore.read(fileSystem)
        for path in leftovers { #expect(!fileSystem.exists(path), "\(path)") }
    }

    /// One damaged place does not hide the others.
    @Test func allDamageIsFound() throws {
        let fileSystem = try Self.store()
        fileSystem.corrupt("/data/wal/00000001.log", at: 100, xor: 1)
        fileSystem.corrupt("/data/wal/00000002.log", at: 100, xor: 1)
        fileSystem.corrupt("/data/wal/store-id", at: 20, xor: 1)
        fileSystem.corrupt("/data/tables/000002.sst", at: 20, xor: 1)
        let table = try TableBytes(in: SmallStore.tables, fileSystem)
        for block in table.dataBlocks.prefix(2) { fileSystem.corrupt(table.path, at: block.offset + 3, xor: 1) }
        let report = try SmallStore.check(fileSystem)
        let places = report.problems.map { problem -> String in
            guard case .corrupt(let path, let offset, _) = problem else { return "\(problem)" }
            return "\(path) \(offset)"
        }
        #expect(
            places == [
                "/data/wal/store-id 0", "/data/wal/00000001.log 64", "/data/wal/00000002.log 64",
                "\(table.path) \(table.dataBlocks[0].offset)", "\(table.path) \(table.dataBlocks[1].offset)",
                "/data/tables/000002.sst 0",
            ])
    }

    /// Without what names the tables, each of them is read all the same.
    @Test func tablesAreReadWithoutAManifest() throws {
        for name in ["CURRENT", "MANIFEST-000003"] {
            let fileSystem = try Self.store()
            fileSystem.corrupt("/data/tables/" + name, at: 20, xor: 1)
            fileSystem.corrupt("/data/tables/000002.sst", at: 20, xor: 1)
            let report = try SmallStore.check(fileSystem)
            #expect(report.problems.map(\.path) == ["/data/tables/" + name, "/data/tables/000002.sst"])
        }
    }

    /// Of one directory alone, and of two that do not belong together.
    @Test func directoriesOfTwoStores() throws {
        let fileSystem = try Self.store()
        for directories in [
            StoreDirectories(log: SmallStore.log), StoreDirectories(tables: SmallStore.tables),
        ] {
            let report = try StoreCheck.run(directories, fileSystem: fileSystem) { _ in }
            #expect(report.isOK && report.parts.count == 1)
        }
        var random = SeededGenerator(7)
        _ = try StoreIdentity.open(
            walDirectory: "/other/wal", tableDirectory: "/other/tables", fileSystem: fileSystem, using: &random)
        _ = try LogStore.open(
            directory: "/other/wal", fileSystem: fileSystem, options: LogOptions(segmentBytes: 4_096))
        let mixed = StoreDirectories(log: "/other/wal", tables: SmallStore.tables)
        let report = try StoreCheck.run(mixed, fileSystem: fileSystem) { _ in }
        #expect(
            report.problems.first
                == .incompatible(path: SmallStore.tables, reason: "belongs to another store than /other/wal"))
        // An empty log lacks what the tables hold.
        #expect(report.problems.count == 2 && report.problems.last?.path == "/other/wal")
    }

    /// All files of the log but its identity are gone: a start would refuse that, so the check does.
    @Test func anEmptiedLogIsNoNewOne() throws {
        let fileSystem = try Self.store()
        for name in try fileSystem.list(SmallStore.log) where name != "store-id" && name != "lock" {
            try fileSystem.remove(SmallStore.log + "/" + name)
        }
        var directories = StoreDirectories()
        try directories.add("/data", fileSystem)
        #expect(directories == SmallStore.both)
        let report = try SmallStore.check(fileSystem, directories)
        #expect(report.problems.map(\.path) == [SmallStore.log])
        #expect(throws: StorageError.self) { try SmallStore.read(fileSystem) }
    }

    @Test func directoriesAreToldByTheirFiles() throws {
        let fileSystem = try Self.store()
        try fileSystem.createDirectory("/empty")
        func found(_ paths: String...) throws -> StoreDirectories {
            var directories = StoreDirectories()
            for path in paths { try directories.add(path, fileSystem) }
            return directories
        }
        #expect(try found("/data") == SmallStore.both)
        #expect(try found("/data/tables/", "/data/wal") == SmallStore.both)
        #expect(try found("/data/wal") == StoreDirectories(log: SmallStore.log))
        #expect(throws: StoreDirectoriesError.noStore("/empty")) { try found("/empty") }
        #expect(throws: StoreDirectoriesError.twice("/data/wal", "/data/wal")) { try found("/data", "/data/wal") }
        #expect(throws: StoreDirectoriesError.self) { try found("/nowhere") }
    }
}
