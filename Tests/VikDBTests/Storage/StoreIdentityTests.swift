import Glibc
import NIOCore
import Testing
import VikDB
import VikTestSupport
import VikWire

/// The id that two directories share (design rule 7).
@Suite struct StoreIdentityTests {
    private func open(_ fileSystem: MemoryFileSystem, seed: UInt64 = 1) throws(StorageError) -> StoreIdentity {
        var generator = SplitMix64(seed: seed)
        return try StoreIdentity.open(
            walDirectory: "/data/wal", tableDirectory: "/data/tables", fileSystem: fileSystem, using: &generator)
    }

    private func write(_ fileSystem: MemoryFileSystem, _ path: String) throws {
        _ = try fileSystem.open(path, .create)
    }

    @Test func aNewStoreGetsAnIdAndKeepsIt() throws {
        let fileSystem = MemoryFileSystem()
        let id = try open(fileSystem).id
        try write(fileSystem, "/data/wal/00000001.log")
        #expect(try open(fileSystem, seed: 2).id == id)
        #expect(try open(MemoryFileSystem(), seed: 2).id != id)
    }

    @Test func bothDirectoriesAreLocked() throws {
        let fileSystem = MemoryFileSystem()
        var identity: StoreIdentity? = try open(fileSystem)
        for directory in ["/data/wal", "/data/tables"] {
            #expect(throws: StorageError.locked(path: directory + "/lock")) {
                _ = try fileSystem.lock(directory + "/lock", create: false)
            }
        }
        #expect(throws: StorageError.locked(path: "/data/wal/lock")) { _ = try open(fileSystem) }
        #expect(identity != nil)
        identity = nil
        _ = try open(fileSystem)
    }

    @Test func aFirstStartMayCrashAnywhere() throws {
        var generator = SplitMix64(seed: Seeds.list(1)[0])
        for keep in MemoryFileSystem.Keep.allCases {
            var calls = 0
            var isComplete = false
            while !isComplete {
                let fileSystem = MemoryFileSystem()
                fileSystem.crashAfter(calls: calls)
                var id: StoreID?
                do throws(StorageError) {
                    id = try open(fileSystem).id
                    isComplete = true
                } catch {
                    try #require(fileSystem.hasReachedCrashPoint, "\(error)")
                }
                fileSystem.crash(keep: keep, using: &generator)
                let reopened = try open(fileSystem, seed: 2)
                if let id { #expect(reopened.id == id) }
                calls += 1
            }
            #expect(calls > 10)
        }
    }

    @Test(arguments: ["wal", "tables"])
    func aLostIdIsAnErrorOnceThereIsData(lost: String) throws {
        for data in ["/data/wal/00000001.log", "/data/tables/000001.sst"] {
            let fileSystem = MemoryFileSystem()
            let id = try open(fileSystem).id
            try fileSystem.remove("/data/\(lost)/store-id")
            #expect(try open(fileSystem, seed: 2).id == id)
            try fileSystem.remove("/data/\(lost)/store-id")
            try write(fileSystem, data)
            expectIncompatible(fileSystem)
            #expect(!fileSystem.exists("/data/\(lost)/store-id"))
        }
    }

    @Test func dataWithoutAnyIdIsAnError() throws {
        let fileSystem = MemoryFileSystem()
        try fileSystem.createDirectory("/data/tables")
        try write(fileSystem, "/data/tables/000001.sst")
        expectIncompatible(fileSystem)
    }

    /// The one in the other, by its name or by a link, whatever it is a link to.
    @Test(arguments: [false, true]) func oneMayLieInTheOther(isLink: Bool) throws {
        try withTemporaryDirectory { directory in
            let log = directory + "/data"
            let tables = log + "/tables"
            if isLink {
                mkdir(log, 0o700)
                mkdir(directory + "/elsewhere", 0o700)
                try #require(symlink(directory + "/elsewhere", tables) == 0)
            }
            var generator = SplitMix64(seed: 1)
            for _ in 0..<2 {
                _ = try StoreIdentity.open(
                    walDirectory: log, tableDirectory: tables, fileSystem: PosixFileSystem(), using: &generator)
            }
        }
    }

    @Test func directoriesOfTwoStoresAreAnError() throws {
        let (fileSystem, other) = (MemoryFileSystem(), MemoryFileSystem())
        _ = try open(fileSystem)
        _ = try open(other, seed: 2)
        let foreign = try fileSystem.open("/data/tables/store-id", .readWrite)
        try foreign.write(ByteBuffer(bytes: other.contents(of: "/data/wal/store-id")!), at: 0)
        expectIncompatible(fileSystem)
    }

    @Test func everyDamagedByteIsFound() throws {
        let fileSystem = MemoryFileSystem()
        _ = try open(fileSystem)
        let path = "/data/tables/store-id"
        for offset in fileSystem.contents(of: path)!.indices {
            fileSystem.corrupt(path, at: offset, xor: 4)
            #expect(throws: StorageError.self) { _ = try open(fileSystem) }
            fileSystem.corrupt(path, at: offset, xor: 4)
        }
        _ = try open(fileSystem)
    }

    /// The message names both directories.
    private func expectIncompatible(_ fileSystem: MemoryFileSystem, location: SourceLocation = #_sourceLocation) {
        do throws(StorageError) {
            _ = try open(fileSystem)
            Issue.record("opened", sourceLocation: location)
        } catch {
            let text = error.description
            guard case .incompatible = error, text.contains("/data/wal"), text.contains("/data/tables") else {
                Issue.record("\(error)", sourceLocation: location)
                return
            }
        }
    }
}
