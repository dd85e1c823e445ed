import VikWire

/// Reads a whole table and holds everything in it against everything else: layout, index, filter, order of keys,
/// properties, and what the manifest says. A plain value of one job.
struct TableCheck {
    /// What the data blocks hold, counted.
    private(set) var counted = TableProperties()
    private(set) var blocks = 0

    private let file: TableFile
    private let metadata: TableMetadata?
    /// The newest entry of the log that the tables hold; nil: it is not known.
    private let newest: LogIndex?
    private var smallest: [UInt8] = []
    /// The last key that was read, and the last key of the index.
    private var lastKey: [UInt8] = []
    private var lastBound: [UInt8] = []

    init(_ file: TableFile, metadata: TableMetadata?, newest: LogIndex?) {
        self.file = file
        self.metadata = metadata
        self.newest = newest
    }

    /// Verifies the table; a damaged block keeps none of the others from being read.
    mutating func run(_ findings: inout Findings, _ progress: CheckProgress) {
        let before = findings.problems.count
        var read: UInt64 = 0
        defer { progress.add(file.bytes - read) }
        let properties = findings.attempt { () throws(StorageError) in
            try file.properties(expecting: metadata)
        }
        let filter = findings.attempt { () throws(StorageError) in try filterBlock() }
        var isWhole = true
        do throws(StorageError) {
            let index = try file.block(file.footer.index, .index)
            var end: UInt64 = 0
            var entry = BlockCursor()
            entry.open(index)
            entry.seekToFirst()
            guard entry.isValid else { throw index.damaged("the index is empty") }
            while entry.isValid {
                let handle = try file.dataHandle(entry.value)
                guard handle.offset == end else { throw gap(from: end, to: handle.offset) }
                end = handle.end
                do throws(StorageError) {
                    try checkBlock(try file.block(handle, .data), upTo: entry.key, filter, index)
                } catch {
                    isWhole = false
                    findings.add(error)
                }
                lastBound = [UInt8](entry.key)
                blocks += 1
                progress.add(handle.end - handle.offset)
                read = min(handle.end, file.bytes)
                entry.next()
            }
            for handle in [file.footer.filter, file.footer.properties, file.footer.index] {
                guard handle.offset == end else { throw gap(from: end, to: handle.offset) }
                end = handle.end
            }
            let footer = file.bytes - UInt64(TableFooter.encodedBytes)
            guard footer == end else { throw gap(from: end, to: footer) }
        } catch {
            isWhole = false
            findings.add(error)
        }
        guard isWhole, findings.problems.count == before, let properties else { return }
        findings.attempt { () throws(StorageError) in try checkSums(properties) }
    }

    private func corrupt(_ offset: UInt64, _ reason: String) -> StorageError {
        .corrupt(path: file.path, offset: offset, reason: reason)
    }

    private func gap(from end: UInt64, to offset: UInt64) -> StorageError {
        corrupt(min(end, offset), "a block ends at \(end), the next one is said to begin at \(offset)")
    }

    private func filterBlock() throws(StorageError) -> Block {
        let filter = try file.block(file.footer.filter, .filter)
        guard !filter.bytes.isEmpty, filter.bytes.count % BloomFilter.lineBytes == 0 else {
            throw filter.damaged("a filter of \(filter.bytes.count) bytes is not made of whole lines")
        }
        return filter
    }

    /// - Parameter bound: the key that the index gives the block.
    private mutating func checkBlock(
        _ block: Block, upTo bound: UnsafeRawBufferPointer, _ filter: Block?, _ index: Block
    ) throws(StorageError) {
        var cursor = BlockCursor()
        cursor.open(block)
        cursor.seekToFirst()
        guard cursor.isValid else { throw block.damaged("a block without a key") }
        var search = BlockCursor()
        search.open(block)
        let isInOrder = lastBound.withUnsafeBytes { $0.isEmpty || InternalKey.compare($0, cursor.key) < 0 }
        guard isInOrder else {
            throw block.damaged("its first key does not follow what the index says of the block before")
        }
        while cursor.isValid {
            try checkKey(cursor.key, cursor.value, block)
            if let filter {
                let hash = BloomFilter.hash(InternalKey.stem(cursor.key))
                guard BloomFilter.mayContain(hash, in: filter.bytes) else {
                    throw filter.damaged("it denies a key of the block at offset \(block.offset)")
                }
            }
            // A reader finds the key by the restarts.
            search.seek(cursor.key)
            guard search.isValid, search.value.baseAddress == cursor.value.baseAddress else {
                throw block.damaged("a key is not found where it is")
            }
            count(cursor.key, cursor.value)
            cursor.next()
        }
        let isWithin = lastKey.withUnsafeBytes { InternalKey.compare($0, bound) <= 0 }
        guard isWithin else {
            throw index.damaged("it ends the block at offset \(block.offset) before that block's last key")
        }
    }

    private func checkKey(
        _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, _ block: Block
    ) throws(StorageError) {
        let isInOrder = lastKey.withUnsafeBytes {
            $0.isEmpty || InternalKey.compareStems(InternalKey.stem($0), InternalKey.stem(key)) < 0
        }
        guard isInOrder else { throw block.damaged("its keys are not in ascending order") }
        guard let kind = VersionKind(rawValue: key[key.count - 1]) else {
            throw block.damaged("a version of the unknown kind \(key[key.count - 1])")
        }
        guard kind == .put || value.isEmpty else { throw block.damaged("a tombstone with a value") }
        let version = InternalKey.index(key)
        guard version >= 1, version <= newest ?? WireLimits.maxIndex else {
            throw block.damaged("a key was written by entry \(version), which the tables do not hold")
        }
    }

    private mutating func count(_ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) {
        counted.add(key, value)
        if smallest.isEmpty { smallest = [UInt8](key) }
        lastKey.removeAll(keepingCapacity: true)
        lastKey.append(contentsOf: key)
    }

    /// What the whole table must add up to.
    private func checkSums(_ properties: TableProperties) throws(StorageError) {
        guard counted == properties else {
            throw corrupt(file.footer.properties.offset, "the properties are not those of the keys in the table")
        }
        guard let metadata else { return }
        guard smallest == metadata.smallest, lastKey == metadata.largest else {
            throw corrupt(0, "its first and last key are not those that the manifest names")
        }
    }
}

extension BlockHandle {
    /// Where the next block begins.
    var end: UInt64 { offset + UInt64(length) + UInt64(BlockTrailer.encodedBytes) }
}
