import NIOCore
import Testing
import VikDB
import VikTestSupport
import VikWire

/// Tables whose checksums are right and whose contents contradict each other, as no engine writes them: what no reader
/// looks at, a check finds.
struct TableCheckTests {
    enum Forgery: CaseIterable {
        case filterDenies, filterOfHalfALine, keysOutOfOrder, keyOfTheNextBlock, unknownKind, tombstoneWithValue
        case entryToCome, keyBehindItsIndexEntry, blocksSwapped, restartOfAnotherKey, otherProperties

        /// Changes the table; returns what is said of it, and of which block.
        func apply(to table: inout TableBytes) -> (offset: Int, reason: String) {
            let blocks = table.dataBlocks
            let first = blocks[0]
            // An entry has 8 bytes of lengths; the first one of a block has its whole key.
            let keyEnd = first.offset + 8 + Int(table.integer(at: first.offset + 2) as UInt16)
            let second = keyEnd + Int(table.integer(at: first.offset + 4) as UInt32)
            let footer = table.bytes.count - TableBytes.footerBytes
            let (index, filter) = (table.block(at: footer), table.block(at: footer + 12))
            switch self {
            case .filterDenies:
                table.bytes.replaceSubrange(filter.contents, with: repeatElement(0, count: filter.length))
                table.seal(filter)
                return (filter.offset, "it denies a key of the block at offset 0")
            case .filterOfHalfALine:
                // The rest of the block is a gap, which is found as well.
                table.set(UInt32(32), at: footer + 12 + 8)
                let short = table.block(at: footer + 12)
                table.bytes[short.offset + 32] = 3
                table.bytes[short.offset + 33] = 0
                table.seal(short)
                table.sealFooter()
                return (filter.offset, "a filter of 32 bytes is not made of whole lines")
            case .keysOutOfOrder:
                // Of the second key, which shares the first bytes of the first one.
                table.bytes[second + 8] = 0
                table.seal(first)
                table.bytes.replaceSubrange(filter.contents, with: repeatElement(0xff, count: filter.length))
                table.seal(filter)
                return (0, "its keys are not in ascending order")
            case .keyOfTheNextBlock:
                table.bytes[blocks[1].offset + 8 + 1] = 0
                table.seal(blocks[1])
                return (blocks[1].offset, "its first key does not follow what the index says of the block before")
            case .unknownKind:
                table.bytes[keyEnd - 1] = 7
                table.seal(first)
                return (0, "a version of the unknown kind 7")
            case .tombstoneWithValue:
                table.bytes[keyEnd - 1] = 2
                table.seal(first)
                return (0, "a tombstone with a value")
            case .entryToCome:
                table.set(UInt64(53), at: keyEnd - 13)
                table.seal(first)
                return (0, "a key was written by entry 53, which the tables do not hold")
            case .keyBehindItsIndexEntry:
                // The last index entry is the last key, entry included; now it is one of an entry that came later.
                let last = index.offset + index.length - 4 * (blocks.count + 1) - 12 - 13
                table.set(UInt64(1 << 40), at: last)
                table.seal(index)
                return (index.offset, "it ends the block at offset \(blocks.last!.offset) before that block's last key")
            case .blocksSwapped:
                let handle = index.offset + 8 + Int(table.integer(at: index.offset + 2) as UInt16)
                table.set(UInt64(blocks[1].offset), at: handle)
                table.seal(index)
                return (0, "a block ends at 0, the next one is said to begin at \(blocks[1].offset)")
            case .restartOfAnotherKey:
                // The only restart, now at the second key, which shares its first bytes.
                table.set(UInt32(second), at: first.offset + first.length - 8)
                table.seal(first)
                return (0, "a restart without a whole key")
            case .otherProperties:
                let properties = table.block(at: footer + 24)
                table.set((table.integer(at: properties.offset + 8) as UInt64) + 1, at: properties.offset + 8)
                table.seal(properties)
                return (properties.offset, "the properties are not those of the keys in the table")
            }
        }
    }

    @Test(arguments: Forgery.allCases)
    func contradictionsAreFound(_ forgery: Forgery) throws {
        let fileSystem = try SmallStore().fileSystem
        var table = try TableBytes(in: SmallStore.tables, fileSystem)
        try #require(table.dataBlocks.count > 2)
        let (offset, reason) = forgery.apply(to: &table)
        try table.write(to: fileSystem)
        let report = try SmallStore.check(fileSystem)
        let expected = StorageError.corrupt(path: table.path, offset: UInt64(offset), reason: reason)
        #expect(report.problems.contains(expected), "\(report.problems)")
        #expect(report.problems.allSatisfy { $0.path == table.path })
    }
}
