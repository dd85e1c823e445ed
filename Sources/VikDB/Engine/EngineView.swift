import VikWire

/// The state at one applied index, whatever happens after. A plain value for any thread; keeps memtables and files
/// alive, so it should not be kept for long; never until the directory is opened anew, which removes what is obsolete.
package struct EngineView: Sendable {
    /// Tombstones and old versions that one page of a range steps over.
    private static let maxSkipped = 100_000

    package let index: LogIndex
    let state: ReadState

    init(index: LogIndex, state: ReadState) {
        self.index = index
        self.state = state
    }

    /// Answers a client's query, from the user space alone.
    package func execute(_ query: Query) throws(StorageError) -> QueryResult {
        switch query {
        case .get(let key):
            return .value(try get(.user, key))
        case .range(let start, let end, let limit, let maxBytes):
            return .page(try range(from: start, to: end, limit: limit, maxBytes: maxBytes))
        case .stateHash:
            return .stateHash(try stateHash())
        }
    }

    /// Walks both spaces for as long as the caller likes; reads tables, on the thread that may block for that.
    package func cursor() -> VisibleCursor {
        VisibleCursor(state.cursor(fillCache: true), bound: index, maxSkipped: .max)
    }

    /// The runs that a read merges, with all versions that are there.
    package func runs() -> [Cursor] {
        state.cursors(fillCache: true)
    }

    func get(_ space: KeySpace, _ key: [UInt8]) throws(StorageError) -> StoredValue? {
        let target = SearchKey(space, key, bound: index)
        return try state.find(target)
    }

    private func range(
        from start: [UInt8], to end: [UInt8], limit: Int, maxBytes: Int
    ) throws(StorageError) -> RangePage {
        let pastLast = end.isEmpty ? [KeySpace.user.rawValue + 1] : [KeySpace.user.rawValue] + end
        var page = RangePage(items: [], next: nil)
        var bytes = 0
        var cursor = VisibleCursor(state.cursor(fillCache: true), bound: index, maxSkipped: Self.maxSkipped)
        try start.span.withUnsafeBytes { start throws(StorageError) in try cursor.seek(.user, start) }
        while cursor.isValid || cursor.isPaused {
            let stem = cursor.stem
            guard pastLast.span.withUnsafeBytes({ InternalKey.compareStems(stem, $0) < 0 }) else { break }
            let key = [UInt8](UnsafeRawBufferPointer(rebasing: stem.dropFirst()))
            let itemBytes = key.count + cursor.value.count
            let isFull = !page.items.isEmpty && (page.items.count >= limit || bytes + itemBytes > maxBytes)
            if cursor.isPaused || isFull {
                page.next = key
                break
            }
            page.items.append(RangePage.Item(key: key, value: [UInt8](cursor.value)))
            bytes += itemBytes
            try cursor.next()
        }
        return page
    }

    /// The keys of a range, as of a query, from the last one to the first. `next` is the `end` of the next page.
    package func reverseRange(
        from start: [UInt8], to end: [UInt8], limit: Int, maxBytes: Int
    ) throws(StorageError) -> RangePage {
        let first = [KeySpace.user.rawValue] + start
        var page = RangePage(items: [], next: nil)
        var bytes = 0
        var cursor = VisibleCursor(state.cursor(fillCache: true), bound: index, maxSkipped: Self.maxSkipped)
        if end.isEmpty {
            try cursor.seekToLast()
        } else {
            try end.span.withUnsafeBytes { end throws(StorageError) in try cursor.seek(.user, before: end) }
        }
        while cursor.isValid || cursor.isPaused {
            let stem = cursor.stem
            guard first.span.withUnsafeBytes({ InternalKey.compareStems($0, stem) <= 0 }) else { break }
            let key = [UInt8](cursor.userKey)
            guard !cursor.isPaused else {
                page.next = key
                break
            }
            let itemBytes = key.count + cursor.value.count
            if let last = page.items.last, page.items.count >= limit || bytes + itemBytes > maxBytes {
                page.next = last.key
                break
            }
            page.items.append(RangePage.Item(key: key, value: [UInt8](cursor.value)))
            bytes += itemBytes
            try cursor.previous()
        }
        return page
    }

    /// See ``StateHasher``. Reads everything.
    package func stateHash() throws(StorageError) -> UInt64 {
        try StateHasher(self).next(targetBytes: .max)!
    }
}
