import NIOCore

/// The payload of an entry of kind ``EntryKind/command``: one client's request, all of it or none.
///
/// Encoded once, by the gateway; read by the engine when it is applied, operation by operation and without copies.
///
///     offset size
///     0      4    number of operations (1...1000)
///     then for each operation
///     0      1    1 = put, 2 = delete
///     1      2    key length (1...4096)
///     3      4    value length (0 for a delete)
///     7      …    key, value
package enum Command {
    package static let headerBytes = 4
    package static let operationHeaderBytes = 7
    package static let putKind: UInt8 = 1
    package static let deleteKind: UInt8 = 2

    package static func writeHeader(operationCount: Int, into buffer: inout ByteBuffer) {
        buffer.writeInteger(UInt32(operationCount))
    }

    package static func writePut(key: RawSpan, value: RawSpan, into buffer: inout ByteBuffer) {
        writeOperation(putKind, key: key, value: value, into: &buffer)
    }

    package static func writeDelete(key: RawSpan, into buffer: inout ByteBuffer) {
        writeOperation(deleteKind, key: key, value: RawSpan(), into: &buffer)
    }

    /// A command of one put.
    package static func put(key: RawSpan, value: RawSpan) -> ByteBuffer {
        single(putKind, key: key, value: value)
    }

    /// A command of one delete.
    package static func delete(key: RawSpan) -> ByteBuffer {
        single(deleteKind, key: key, value: RawSpan())
    }

    private static func single(_ kind: UInt8, key: RawSpan, value: RawSpan) -> ByteBuffer {
        let length = headerBytes + operationHeaderBytes + key.byteCount + value.byteCount
        var buffer = ByteBufferAllocator().buffer(capacity: length)
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: length) { space in
            space.storeBytes(of: UInt32(1).bigEndian, as: UInt32.self)
            encode(kind, key: key, value: value, to: space.baseAddress! + headerBytes)
            return length
        }
        return buffer
    }

    private static func writeOperation(_ kind: UInt8, key: RawSpan, value: RawSpan, into buffer: inout ByteBuffer) {
        let length = operationHeaderBytes + key.byteCount + value.byteCount
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: length) { space in
            encode(kind, key: key, value: value, to: space.baseAddress!)
            return length
        }
    }

    /// In one go: to ask a buffer for room field by field takes longer than to copy a small value.
    private static func encode(_ kind: UInt8, key: RawSpan, value: RawSpan, to target: UnsafeMutableRawPointer) {
        target.storeBytes(of: kind, as: UInt8.self)
        target.storeBytes(of: UInt16(key.byteCount).bigEndian, toByteOffset: 1, as: UInt16.self)
        target.storeBytes(of: UInt32(value.byteCount).bigEndian, toByteOffset: 3, as: UInt32.self)
        let (keyStart, valueStart) = (target + operationHeaderBytes, target + operationHeaderBytes + key.byteCount)
        key.withUnsafeBytes {
            if let source = $0.baseAddress { keyStart.copyMemory(from: source, byteCount: $0.count) }
        }
        value.withUnsafeBytes {
            if let source = $0.baseAddress { valueStart.copyMemory(from: source, byteCount: $0.count) }
        }
    }

    /// Bytes of the keys and values of a command that has so many operations.
    package static func dataBytes(in payload: ByteBuffer, operations: Int) -> Int {
        payload.readableBytes - headerBytes - operations * operationHeaderBytes
    }

    /// Reads a command's operations in order, checking every length against its limit.
    ///
    /// - Returns: the number of operations.
    @discardableResult
    package static func forEachOperation(
        in payload: ByteBuffer,
        _ body: (_ ordinal: UInt32, _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer?) -> Void
    ) throws(WireError) -> Int {
        let outcome: Result<Int, WireError> = payload.withUnsafeReadableBytes { walk($0, body) }
        return try outcome.get()
    }

    /// Whether ``forEachOperation(in:_:)`` will read all of `payload`: how many operations it has.
    static func check(_ payload: UnsafeRawBufferPointer) -> Result<Int, WireError> {
        walk(payload) { _, _, _ in }
    }

    @inline(__always)
    private static func walk(
        _ bytes: UnsafeRawBufferPointer,
        _ body: (_ ordinal: UInt32, _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer?) -> Void
    ) -> Result<Int, WireError> {
        guard bytes.count >= headerBytes else { return .failure(.truncated("command header")) }
        let count = Int(UInt32(bigEndian: bytes.loadUnaligned(as: UInt32.self)))
        guard count >= 1, count <= WireLimits.maxOperationsPerCommand else {
            return .failure(
                .tooLarge(
                    field: "operations in a command", value: UInt64(count),
                    limit: UInt64(WireLimits.maxOperationsPerCommand)))
        }
        var offset = headerBytes
        for ordinal in 0..<UInt32(count) {
            guard bytes.count - offset >= operationHeaderBytes else {
                return .failure(.truncated("operation header"))
            }
            let kind = bytes[offset]
            let keyLength = Int(
                UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: offset + 1, as: UInt16.self)))
            let valueLength = Int(
                UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: offset + 3, as: UInt32.self)))
            guard keyLength >= 1, keyLength <= WireLimits.maxKeyBytes else {
                return .failure(
                    .tooLarge(field: "key", value: UInt64(keyLength), limit: UInt64(WireLimits.maxKeyBytes)))
            }
            guard valueLength <= WireLimits.maxValueBytes else {
                return .failure(
                    .tooLarge(field: "value", value: UInt64(valueLength), limit: UInt64(WireLimits.maxValueBytes)))
            }
            offset += operationHeaderBytes
            guard bytes.count - offset >= keyLength + valueLength else {
                return .failure(.truncated("operation"))
            }
            let key = UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + keyLength])
            let value = UnsafeRawBufferPointer(
                rebasing: bytes[offset + keyLength..<offset + keyLength + valueLength])
            offset += keyLength + valueLength
            switch kind {
            case putKind: body(ordinal, key, value)
            case deleteKind where valueLength == 0: body(ordinal, key, nil)
            case deleteKind: return .failure(.invalid("a delete has no value"))
            default: return .failure(.unknown(field: "operation kind", value: UInt64(kind)))
            }
        }
        guard offset == bytes.count else { return .failure(.invalid("bytes after the last operation")) }
        return .success(count)
    }
}

/// The same for arrays.
extension Command {
    package static func writePut(key: [UInt8], value: [UInt8], into buffer: inout ByteBuffer) {
        writePut(key: key.span.bytes, value: value.span.bytes, into: &buffer)
    }

    package static func writeDelete(key: [UInt8], into buffer: inout ByteBuffer) {
        writeDelete(key: key.span.bytes, into: &buffer)
    }

    package static func put(key: [UInt8], value: [UInt8]) -> ByteBuffer {
        put(key: key.span.bytes, value: value.span.bytes)
    }

    package static func delete(key: [UInt8]) -> ByteBuffer {
        delete(key: key.span.bytes)
    }
}
