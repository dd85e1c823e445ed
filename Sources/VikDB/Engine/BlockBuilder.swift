import Glibc
import NIOCore

/// Builds the contents of one data or index block, see ``Block``. Bound to one job.
package struct BlockBuilder: ~Copyable {
    private let restartInterval: Int
    private var contents = ByteBuffer()
    private var restarts: [UInt32] = []
    private var sinceRestart = 0
    private let lastKeyStorage = UnsafeMutableRawPointer.allocate(byteCount: InternalKey.maxBytes, alignment: 8)
    private(set) var lastKey: UnsafeRawBufferPointer

    package init(restartInterval: Int) {
        self.restartInterval = restartInterval
        lastKey = UnsafeRawBufferPointer(start: lastKeyStorage, count: 0)
    }

    deinit {
        lastKeyStorage.deallocate()
    }

    var isEmpty: Bool { contents.readableBytes == 0 }

    /// Bytes of the block if it were finished now.
    var bytes: Int { contents.readableBytes + 4 * restarts.count + 4 }

    package mutating func add(_ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) {
        var shared = 0
        if sinceRestart == restartInterval || restarts.isEmpty {
            restarts.append(UInt32(contents.readableBytes))
            sinceRestart = 0
        } else {
            shared = InternalKey.sharedBytes(
                key.baseAddress!, lastKey.baseAddress!, atMost: min(key.count, lastKey.count))
        }
        let header = EntryHeader(shared: shared, unshared: key.count - shared, valueLength: value.count)
        let count = EntryHeader.encodedBytes + header.unshared + value.count
        // In one go: to ask the buffer for room field by field takes longer than to copy a small value.
        contents.writeWithUnsafeMutableBytes(minimumWritableBytes: count) { space in
            let entry = space.baseAddress!
            header.write(to: entry)
            memcpy(entry + EntryHeader.encodedBytes, key.baseAddress! + shared, header.unshared)
            if let source = value.baseAddress {
                memcpy(entry + EntryHeader.encodedBytes + header.unshared, source, value.count)
            }
            return count
        }
        sinceRestart += 1
        memcpy(lastKeyStorage + shared, key.baseAddress! + shared, key.count - shared)
        lastKey = UnsafeRawBufferPointer(start: lastKeyStorage, count: key.count)
    }

    /// Adds the restarts, hands the finished contents to `body` and starts over. `lastKey` stays.
    package mutating func finish<E: Error>(_ body: (ByteBuffer) throws(E) -> Void) throws(E) {
        for restart in restarts { contents.writeInteger(restart) }
        contents.writeInteger(UInt32(restarts.count))
        try body(contents)
        contents.clear()
        restarts.removeAll(keepingCapacity: true)
        sinceRestart = 0
    }
}
