import NIOCore
import VikWire

/// Why a snapshot could not be taken.
package enum SnapshotError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The records are not those of a snapshot; nothing is wrong here, but where they come from.
    case malformed(String)
    /// This node could not store them.
    case storage(StorageError)

    package var description: String {
        switch self {
        case .malformed(let reason): "malformed snapshot: \(reason)"
        case .storage(let error): "\(error)"
        }
    }
}

/// Takes the records of a snapshot in order, and writes them into tables that no manifest names until
/// ``Engine/install(_:at:)``. A crash leaves orphans, which the next start removes.
///
/// Beside flushes and merges: it takes numbers for its files and nothing else that they share. Memory is bounded by one
/// chunk and one ``TableWriter``.
///
/// `@unchecked Sendable`: handed from thread to thread, but used by one at a time.
package final class SnapshotWriter: @unchecked Sendable {
    private enum Phase {
        case writing
        case failed(SnapshotError)
        /// Abandoned, or its tables handed over.
        case closed
    }

    /// The applied index of the state that it takes.
    package let index: LogIndex
    /// How many were taken so far.
    package private(set) var records: UInt64 = 0
    /// The payload of the configuration entry among them, once it has come.
    package private(set) var configuration: [UInt8]?
    private var run: TableRun
    private var phase = Phase.writing
    private var lastStem: [UInt8] = []

    init(index: LogIndex, _ run: TableRun) {
        self.index = index
        self.run = run
    }

    deinit {
        if case .writing = phase { run.abandon() }
    }

    /// Takes the next records, whole ones. Writes tables, so it runs on a thread that may block.
    ///
    /// An error is final: the files are gone, and every further call throws it again.
    package func append(_ chunk: ByteBuffer) throws(SnapshotError) {
        switch phase {
        case .writing: break
        case .failed(let error): throw error
        case .closed: preconditionFailure("nothing follows the end of a snapshot")
        }
        let outcome: Result<Void, SnapshotError> = chunk.withUnsafeReadableBytes { bytes in
            Result { () throws(SnapshotError) in try take(bytes) }
        }
        do throws(SnapshotError) {
            try outcome.get()
        } catch {
            fail(error)
            throw error
        }
    }

    /// Gives up and removes the files, on a thread that may block. Letting go of the writer does the same.
    package func abandon() {
        run.abandon()
        phase = .closed
    }

    /// Hands over the tables, durable but for their names.
    func finish() throws(StorageError) -> [TableMetadata] {
        guard case .writing = phase else { preconditionFailure("a whole snapshot is installed, and only once") }
        do throws(StorageError) {
            let tables = try run.finish()
            phase = .closed
            return tables
        } catch {
            fail(.storage(error))
            throw error
        }
    }

    private func fail(_ error: SnapshotError) {
        run.abandon()
        phase = .failed(error)
    }

    private func take(_ chunk: UnsafeRawBufferPointer) throws(SnapshotError) {
        var offset = 0
        while offset < chunk.count {
            guard chunk.count - offset >= SnapshotRecord.headerBytes else { throw malformed("its lengths are cut off") }
            let keyLength = Int(chunk.loadUnaligned(fromByteOffset: offset, as: UInt16.self).bigEndian)
            let valueLength = Int(chunk.loadUnaligned(fromByteOffset: offset + 2, as: UInt32.self).bigEndian)
            // No key is empty, in either space.
            guard keyLength > InternalKey.minBytes, keyLength <= InternalKey.maxBytes else {
                throw malformed("an internal key of \(keyLength) bytes")
            }
            guard valueLength <= WireLimits.maxValueBytes else { throw malformed("a value of \(valueLength) bytes") }
            offset += SnapshotRecord.headerBytes
            guard chunk.count - offset >= keyLength + valueLength else { throw malformed("it is cut off") }
            let key = UnsafeRawBufferPointer(rebasing: chunk[offset..<offset + keyLength])
            offset += keyLength
            let value = UnsafeRawBufferPointer(rebasing: chunk[offset..<offset + valueLength])
            offset += valueLength
            try check(key)
            if key[0] == KeySpace.system.rawValue, InternalKey.userKey(key).elementsEqual(Engine.configurationKey) {
                configuration = Array(value)
            }
            do throws(StorageError) {
                try run.add(key, value)
            } catch {
                throw .storage(error)
            }
            records += 1
        }
    }

    /// What is let through here is trusted by all that reads tables.
    private func check(_ key: UnsafeRawBufferPointer) throws(SnapshotError) {
        guard KeySpace(rawValue: key[0]) != nil else { throw malformed("the unknown space \(key[0])") }
        let kind = key[key.count - 1]
        guard kind == VersionKind.put.rawValue else { throw malformed("a version of kind \(kind)") }
        let version = InternalKey.index(key)
        guard version >= 1, version <= index else {
            throw malformed("written by entry \(version), the snapshot is of entry \(index)")
        }
        let stem = InternalKey.stem(key)
        if !lastStem.isEmpty {
            let order = lastStem.withUnsafeBytes { InternalKey.compareStems($0, stem) }
            guard order < 0 else { throw malformed("its key does not follow the one before") }
        }
        lastStem.removeAll(keepingCapacity: true)
        lastStem.append(contentsOf: stem)
    }

    private func malformed(_ reason: String) -> SnapshotError {
        .malformed("record \(records + 1): \(reason)")
    }
}
