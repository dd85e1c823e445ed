/// What a client reads from the state machine. The counterpart of ``Command``; it never enters the log.
package enum Query: Equatable, Sendable {
    case get(key: [UInt8])
    /// Keys in `[start, end)` in byte order; an empty `end` means to the last key. At most `limit` items and about
    /// `maxBytes` of keys and values, but always at least one item if there is any.
    case range(start: [UInt8], end: [UInt8], limit: Int, maxBytes: Int)
    /// One number for the whole state, members included. Reads everything.
    case stateHash
}

/// The answer to a ``Query``.
package enum QueryResult: Equatable, Sendable {
    /// The value and the index of the entry that wrote it, or nil: no such key.
    case value(StoredValue?)
    case page(RangePage)
    /// Equal on two nodes at the same index.
    case stateHash(UInt64)
}

package struct StoredValue: Equatable, Sendable {
    package var bytes: [UInt8]
    package var version: LogIndex

    package init(bytes: [UInt8], version: LogIndex) {
        self.bytes = bytes
        self.version = version
    }
}

package struct RangePage: Equatable, Sendable {
    package struct Item: Equatable, Sendable {
        package var key: [UInt8]
        package var value: [UInt8]

        package init(key: [UInt8], value: [UInt8]) {
            self.key = key
            self.value = value
        }
    }

    package var items: [Item]
    /// The first key that was left out; where the next page starts. Nil: the range is complete.
    package var next: [UInt8]?

    package init(items: [Item], next: [UInt8]?) {
        self.items = items
        self.next = next
    }
}

/// The deterministic result of applying one ``Command``; the same on every node.
package enum CommandResult: Equatable, Sendable {
    /// All of its operations took effect; how many there were.
    case applied(operations: Int)
}
