import NIOCore
import Testing
import VikDB
import VikTestSupport
import VikWire

/// Bytes on disk that are not what was written (proof scenarios 28, 29, 35). `StoreCorruptionTests` flips every byte of
/// a log that was closed.
@Suite struct LogDamageTests {
    /// Three segments, several groups, an entry superseded.
    private func makeLog(isClosed: Bool) throws -> (image: DiskImage, entries: [Entry], synced: Int) {
        let fileSystem = MemoryFileSystem()
        let (log, _) = try openLog(fileSystem)
        try log.save(HardState(term: 1, vote: MemberID(rawValue: 5), commit: 2))
        for first in stride(from: UInt64(1), to: 80, by: 4) {
            try log.append((first..<first + 4).map { logEntry($0, bytes: 60) })
            try log.sync()
        }
        try log.append((79...82).map { logEntry($0, term: 2, bytes: 60) })
        try log.sync()
        try log.save(HardState(term: 3, vote: MemberID(rawValue: 9), commit: 80))
        try log.append((83...84).map { logEntry($0, term: 2, bytes: 60) })
        try log.sync()
        if isClosed { try log.close() }
        let image = try DiskImage(of: fileSystem)
        #expect(image.files.keys.sorted() == ["00000001.log", "00000002.log", "00000003.log", "hard-state"])
        let (reopened, recovered) = try openLog(fileSystem)
        return (image, try everything(in: reopened, recovered), 82)
    }

    /// Without the mark of a clean close, damage within the last group reads as a torn write; before it, never.
    @Test func aFlippedBitBeforeTheLastGroupIsNeverTakenForATornWrite() throws {
        let (image, entries, synced) = try makeLog(isClosed: false)
        let name = "00000003.log"
        var torn = 0
        for offset in image.files[name]!.indices {
            var damaged = image
            damaged.files[name]![offset] ^= 0x10
            do throws(StorageError) {
                let (store, recovered) = try openLog(try damaged.restored())
                if recovered.lastIndex < 84 { torn += 1 }
                #expect(recovered.lastIndex >= UInt64(synced), "flip at \(offset)")
                try expect(store, recovered, Array(entries.prefix(Int(recovered.lastIndex))), "flip at \(offset)")
            } catch {
                guard case .corrupt("/wal/\(name)", _, _) = error else {
                    Issue.record("flip at \(offset): \(error)")
                    continue
                }
            }
        }
        // Both entries of the last group, and their record's header.
        #expect(torn == 32 + 2 * (24 + 60))
    }

    private func expect(
        _ store: LogStore, _ recovered: RecoveredLog, _ entries: [Entry], _ context: Comment
    ) throws(StorageError) {
        #expect(recovered.lastIndex == UInt64(entries.count), context)
        for entry in entries.suffix(4) {
            #expect(try store.read(from: entry.index, through: entry.index, maxBytes: 1) == [entry], context)
        }
        #expect(recovered.termRuns == LogModel.termRuns(entries), context)
    }

    /// A sector that was never written, one of an earlier file, and a record at the wrong place.
    @Test func staleAndMisdirectedSectorsAreFound() throws {
        let (image, _, _) = try makeLog(isClosed: true)
        let name = "00000002.log"
        for sector in stride(from: 512, to: 3072, by: 512) {
            let range = sector..<sector + 512
            var lost = image
            lost.files[name]!.replaceSubrange(range, with: repeatElement(0, count: 512))
            expectCorrupt(lost, name)
            var stale = image
            stale.files[name]!.replaceSubrange(range, with: image.files["00000001.log"]![range])
            expectCorrupt(stale, name)
        }
        // Records of these four entries all have 368 bytes.
        var misdirected = image
        misdirected.files[name]!.replaceSubrange(64 + 368..<64 + 736, with: image.files[name]![64..<64 + 368])
        expectCorrupt(misdirected, name)
        var renamed = image
        renamed.files["00000001.log"] = image.files[name]
        expectCorrupt(renamed, "00000001.log")
    }

    /// Behind the end lies a whole record of another place: an earlier one, which would supersede all that followed.
    @Test func aWholeRecordOfAnotherPlaceIsNotRead() throws {
        let fileSystem = MemoryFileSystem()
        let (log, _) = try openLog(fileSystem)
        for index in UInt64(1)...3 {
            try log.append([logEntry(index)])
            try log.sync()
        }
        var image = try DiskImage(of: fileSystem)
        let record = image.files["00000001.log"]![64..<64 + 96]
        image.files["00000001.log"]!.replaceSubrange(64 + 3 * 96..<64 + 4 * 96, with: record)
        let (store, recovered) = try openLog(try image.restored())
        #expect(try everything(in: store, recovered) == (1...3).map { logEntry($0) })
    }

    /// The hard state was saved after the only group, which therefore cannot be torn.
    @Test func damageBeforeTheDurablePlaceOfTheHardStateIsFound() throws {
        let fileSystem = MemoryFileSystem()
        let (log, _) = try openLog(fileSystem)
        try log.append([logEntry(1)])
        try log.sync()
        try log.save(HardState(term: 1))
        let name = "00000001.log"
        var image = try DiskImage(of: fileSystem)
        image.files[name]![100] ^= 1
        expectCorrupt(image, name)
        image.files[name]!.replaceSubrange(64..<160, with: repeatElement(0, count: 96))
        expectCorrupt(image, name)
    }

    @Test func aMissingFileIsFound() throws {
        let (image, _, _) = try makeLog(isClosed: true)
        for name in image.files.keys.sorted() {
            var damaged = image
            damaged.files[name] = nil
            expectCorrupt(damaged, name)
        }
        var shortened = image
        shortened.files["00000002.log"]!.removeLast(1000)
        expectCorrupt(shortened, "00000002.log")
    }

    private func expectCorrupt(_ image: DiskImage, _ name: String, location: SourceLocation = #_sourceLocation) {
        do throws(StorageError) {
            let (_, recovered) = try openLog(try image.restored())
            Issue.record("opened to \(recovered.lastIndex)", sourceLocation: location)
        } catch {
            guard case .corrupt("/wal/\(name)", _, _) = error else {
                Issue.record("\(error)", sourceLocation: location)
                return
            }
        }
    }

    /// What a newer build wrote is refused, never skipped: an entry's kind and flags, a record's kind, a file's format.
    @Test(arguments: [(64 + 32 + 4, "entry kind"), (64 + 32 + 5, "entry flags"), (64 + 24, "kind"), (11, "format")])
    func theUnknownIsRefused(offset: Int, word: String) throws {
        let fileSystem = MemoryFileSystem()
        let (log, _) = try openLog(fileSystem)
        try log.append([logEntry(1)])
        try log.close()
        var image = try DiskImage(of: fileSystem)
        var bytes = image.files["00000001.log"]!
        bytes[offset] = 77
        func seal(_ range: Range<Int>, into place: Int) {
            let checksum = bytes.withUnsafeBytes { Checksum.crc32(UnsafeRawBufferPointer(rebasing: $0[range])) }
            withUnsafeBytes(of: checksum.bigEndian) { bytes.replaceSubrange(place..<place + 4, with: $0) }
        }
        seal(0..<60, into: 60)
        seal(68..<64 + 32 + 64, into: 64)
        image.files["00000001.log"] = bytes
        do throws(StorageError) {
            _ = try openLog(try image.restored())
            Issue.record("opened")
        } catch {
            guard case .incompatible("/wal/00000001.log", let reason) = error, reason.contains(word) else {
                Issue.record("\(error)")
                return
            }
        }
    }
}
