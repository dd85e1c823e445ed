import NIOCore
import Testing
import VikDB
import VikTestSupport
import VikWire

/// Every byte of every file of a closed store changed, and every file cut at every length: opening and reading
/// everything gives an error that names the file, or has no effect; never a wrong answer, never a trap. What a node
/// finds, `vikdb check` finds without the node (proof scenarios 28, 29).
struct StoreCorruptionTests {
    private static let store = Result { try SmallStore() }
    private static let names = [
        "wal/00000001.log", "wal/00000002.log", "wal/hard-state", "wal/store-id", "tables/000002.sst",
        "tables/000004.sst", "tables/CURRENT", "tables/MANIFEST-000003", "tables/store-id",
    ]

    @Test func theStoreHasFilesOfEveryKind() throws {
        let files = try SmallStore.files(try Self.store.get().fileSystem)
        #expect(files.map(\.path) == Self.names.map { "/data/" + $0 })
        let report = try SmallStore.check(try Self.store.get().fileSystem.copy())
        #expect(report.problems.isEmpty && report.notes.isEmpty, "\(report)")
    }

    private enum Outcome: Equatable {
        /// A node does not start, or some read of it fails.
        case refused
        /// Everything is as it was; and the check says nothing, or has a note.
        case harmless(isNoted: Bool)
    }

    /// What comes of a store in which `path` was damaged at `offset`, or from there on.
    private func outcome(
        _ damaged: MemoryFileSystem, _ path: String, at offset: Int, _ context: @autoclosure () -> String
    ) throws -> Outcome {
        let isLog = path.hasPrefix(SmallStore.log)
        let report = try SmallStore.check(
            damaged, isLog ? StoreDirectories(log: SmallStore.log) : StoreDirectories(tables: SmallStore.tables))
        try show(path, of: damaged)
        switch Result(catching: { () throws(StorageError) in try SmallStore.read(damaged) }) {
        case .success(let contents):
            guard contents == (try Self.store.get().contents) else { throw Wrong("\(context()): another answer") }
            guard report.isOK else { throw Wrong("\(context()): the check found \(report.problems)") }
            return .harmless(isNoted: !report.notes.isEmpty)
        case .failure(.corrupt(path, let place, let reason)) where place <= offset:
            let error = StorageError.corrupt(path: path, offset: place, reason: reason)
            guard report.problems.contains(error) else {
                throw Wrong("\(context()): \(error), but the check found \(report.problems)")
            }
            return .refused
        case .failure(let error):
            throw Wrong("\(context()): \(error)")
        }
    }

    private struct Wrong: Error, CustomStringConvertible {
        let description: String

        init(_ description: String) { self.description = description }
    }

    /// A dump shows what it can and never traps.
    private func show(_ path: String, of damaged: MemoryFileSystem) throws {
        do throws(StorageError) {
            let limits = FileDump.Limits(items: 2, bytes: 8)
            _ = try FileDump.run(path, fileSystem: damaged, limits: limits, out: { _ in })
        } catch {
            if error.path != path { throw Wrong("the dump of \(path) says: \(error)") }
        }
    }

    /// From where on a file has nothing that must be there.
    private func endOfRecords(_ name: String, _ bytes: [UInt8]) throws -> Int {
        switch name {
        case "wal/00000001.log":
            let next = try #require(try Self.store.get().fileSystem.contents(of: "/data/wal/00000002.log"))
            return Int(try #require(ByteBuffer(bytes: next).getInteger(at: 24, as: UInt32.self)))
        case "wal/00000002.log":
            // The last byte is the kind in the mark of a clean close. Nothing vouches for the mark itself.
            return try #require(bytes.lastIndex { $0 != 0 }) - 24
        case "tables/MANIFEST-000003":
            return bytes.count - 16
        default:
            return bytes.count
        }
    }

    @Test(arguments: names)
    func everyFlippedByteIsFoundOrHarmless(_ name: String) throws {
        let path = "/data/" + name
        let pristine = try Self.store.get().fileSystem
        let bytes = try #require(pristine.contents(of: path))
        let end = try endOfRecords(name, bytes)
        var found = 0
        for offset in bytes.indices {
            // Most of the hard state is space between its copies.
            let isSpace = name == "wal/hard-state" && offset % 4_096 >= 64
            for mask in isSpace ? [0xff] : [UInt8(1) << UInt8(offset % 8), 0xff] {
                let damaged = pristine.copy()
                damaged.corrupt(path, at: offset, xor: mask)
                let outcome = try outcome(damaged, path, at: offset, "\(path), byte \(offset)")
                let expected: Outcome =
                    switch name {
                    // One copy of a save makes up for the other.
                    case "wal/hard-state": .harmless(isNoted: !isSpace)
                    // Nothing is stored there, and the segment has a successor.
                    case "wal/00000001.log" where offset >= end: .harmless(isNoted: false)
                    // This looks torn.
                    case _ where offset >= end: .harmless(isNoted: true)
                    default: .refused
                    }
                if outcome != expected { throw Wrong("\(path), byte \(offset): \(outcome), not \(expected)") }
                found += outcome == .refused ? 1 : 0
            }
        }
        print("store corruption test: \(path), \(found) flips of \(bytes.count) bytes found")
    }

    @Test(arguments: names)
    func everyCutIsFoundOrHarmless(_ name: String) throws {
        let path = "/data/" + name
        let pristine = try Self.store.get().fileSystem
        let bytes = try #require(pristine.contents(of: path))
        var harmless: [Int] = []
        for length in bytes.indices {
            let damaged = pristine.copy()
            try damaged.open(path, .readWrite).truncate(to: UInt64(length))
            // A copy that is missing altogether is named by its place.
            let place = name == "wal/hard-state" ? 8_192 : length
            if try outcome(damaged, path, at: place, "\(path), cut at \(length)") != .refused {
                harmless.append(length)
            }
        }
        switch name {
        // The second copy of the second slot.
        case "wal/hard-state": #expect(harmless == Array(2 * 4_096 + 64..<4 * 4_096))
        // All edits after the one that CURRENT vouches for: the log has what they flushed.
        case "tables/MANIFEST-000003": #expect(harmless.count > 100 && harmless.last == bytes.count - 1)
        default: #expect(harmless.isEmpty, "\(path)")
        }
    }

    /// Bytes behind the end of a file.
    @Test(arguments: names)
    func longerFilesAreFoundOrHarmless(_ name: String) throws {
        let path = "/data/" + name
        let pristine = try Self.store.get().fileSystem
        let size = try #require(pristine.contents(of: path)).count
        for added in [[0], [255], [UInt8](repeating: 0x5a, count: 4_096)] as [[UInt8]] {
            let damaged = pristine.copy()
            try damaged.open(path, .readWrite).write(ByteBuffer(bytes: added), at: UInt64(size))
            let outcome = try outcome(damaged, path, at: .max, "\(path), \(added.count) bytes longer")
            let isFound = name.hasSuffix(".sst") || name == "tables/CURRENT"
            #expect((outcome == .refused) == isFound, "\(path), \(added.count) bytes longer")
        }
    }

    @Test(arguments: names)
    func aMissingFileIsNamed(_ name: String) throws {
        let path = "/data/" + name
        let damaged = try Self.store.get().fileSystem.copy()
        try damaged.remove(path)
        let report = try SmallStore.check(damaged)
        #expect(report.problems.contains { "\($0)".contains(path) || "\(path)/".hasPrefix($0.path + "/") }, "\(report)")
        #expect(throws: StorageError.self) { try SmallStore.read(damaged) }
    }
}
