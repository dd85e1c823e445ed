/// Walks one table, block by block. Keeps it open from the first search on.
final class TableCursor: Cursor {
    private let table: Table
    private let fillCache: Bool
    @exclusivity(unchecked) private var reader: TableReader?
    @exclusivity(unchecked) private var index = BlockCursor()
    @exclusivity(unchecked) private var data = BlockCursor()

    /// - Parameter fillCache: false for a merge, which reads every block once.
    init(_ table: Table, fillCache: Bool) {
        self.table = table
        self.fillCache = fillCache
    }

    override func seek(_ target: UnsafeRawBufferPointer) throws(StorageError) {
        try openTable()
        index.seek(target)
        guard index.isValid else {
            isValid = false
            return
        }
        try openBlock()
        data.seek(target)
        try settle()
    }

    override func next() throws(StorageError) {
        data.next()
        try settle()
    }

    override func seek(before target: UnsafeRawBufferPointer) throws(StorageError) {
        try openTable()
        index.seek(target)
        // The block that may have the target, if any: no block after it has a lesser key.
        guard index.isValid else { return try seekToLast() }
        try openBlock()
        data.seek(before: target)
        try settleBackward()
    }

    override func seekToLast() throws(StorageError) {
        try openTable()
        index.seekToLast()
        try openBlock()
        data.seekToLast()
        try settleBackward()
    }

    override func previous() throws(StorageError) {
        data.previous()
        try settleBackward()
    }

    private func openTable() throws(StorageError) {
        guard reader == nil else { return }
        let opened = try table.reader()
        index.open(opened.index)
        reader = opened
    }

    /// Opens the data block at which the index stands.
    private func openBlock() throws(StorageError) {
        guard let reader else { preconditionFailure("the table is open once it was searched") }
        data.open(try reader.dataBlock(index.value, fillCache: fillCache))
    }

    /// Goes on to the next block where one ends, and publishes the position.
    private func settle() throws(StorageError) {
        while !data.isValid {
            index.next()
            guard index.isValid else {
                isValid = false
                return
            }
            try openBlock()
            data.seekToFirst()
        }
        publish()
    }

    /// Goes back to the block before where one begins, and publishes the position.
    private func settleBackward() throws(StorageError) {
        while !data.isValid {
            index.previous()
            guard index.isValid else {
                isValid = false
                return
            }
            try openBlock()
            data.seekToLast()
        }
        publish()
    }

    private func publish() {
        key = data.key
        value = data.value
        isValid = true
    }
}

/// Walks the tables of one level below the first, which are disjoint and in order; there is at least one. Opens one at a
/// time.
final class LevelCursor: Cursor {
    private let tables: [Table]
    private let fillCache: Bool
    @exclusivity(unchecked) private var position = 0
    @exclusivity(unchecked) private var current: TableCursor?

    init(_ tables: [Table], fillCache: Bool) {
        self.tables = tables
        self.fillCache = fillCache
    }

    override func seek(_ target: UnsafeRawBufferPointer) throws(StorageError) {
        let found = tables.firstTable(endingNotBefore: target)
        if current == nil || found != position {
            position = found
            current = found < tables.count ? TableCursor(tables[found], fillCache: fillCache) : nil
        }
        try current?.seek(target)
        try settle()
    }

    override func next() throws(StorageError) {
        try current?.next()
        try settle()
    }

    override func seek(before target: UnsafeRawBufferPointer) throws(StorageError) {
        let found = min(tables.firstTable(endingNotBefore: target), tables.count - 1)
        if current == nil || found != position {
            position = found
            current = TableCursor(tables[found], fillCache: fillCache)
        }
        try current?.seek(before: target)
        try settleBackward()
    }

    override func seekToLast() throws(StorageError) {
        position = tables.count - 1
        let last = TableCursor(tables[position], fillCache: fillCache)
        current = last
        try last.seekToLast()
        try settleBackward()
    }

    override func previous() throws(StorageError) {
        try current?.previous()
        try settleBackward()
    }

    private func settle() throws(StorageError) {
        while let cursor = current {
            if cursor.isValid {
                publish(cursor)
                return
            }
            position += 1
            guard position < tables.count else { break }
            let following = TableCursor(tables[position], fillCache: fillCache)
            current = following
            try following.seek(tables[position].smallest)
        }
        current = nil
        isValid = false
    }

    private func settleBackward() throws(StorageError) {
        while let cursor = current {
            if cursor.isValid {
                publish(cursor)
                return
            }
            position -= 1
            guard position >= 0 else { break }
            let preceding = TableCursor(tables[position], fillCache: fillCache)
            current = preceding
            try preceding.seekToLast()
        }
        current = nil
        isValid = false
    }

    private func publish(_ cursor: TableCursor) {
        key = cursor.key
        value = cursor.value
        isValid = true
    }
}

extension [Table] {
    /// Position of the first table whose last key is not less than `target`, in tables that are disjoint and in order.
    func firstTable(endingNotBefore target: UnsafeRawBufferPointer) -> Int {
        partitioningIndex { InternalKey.compare($0.largest, target) >= 0 }
    }
}
