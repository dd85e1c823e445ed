import NIOCore

extension File {
    /// A fresh buffer with up to `count` bytes from `offset`; fewer only at the end of the file.
    package func bytes(at offset: UInt64, count: Int) throws(StorageError) -> ByteBuffer {
        var buffer = ByteBuffer()
        var failure: StorageError?
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: count) { space in
            do throws(StorageError) {
                return try read(at: offset, into: UnsafeMutableRawBufferPointer(rebasing: space[..<count]))
            } catch {
                failure = error
                return 0
            }
        }
        if let failure { throw failure }
        return buffer
    }

    package func write(_ buffer: ByteBuffer, at offset: UInt64) throws(StorageError) {
        let outcome: Result<Void, StorageError> = buffer.withUnsafeReadableBytes { bytes in
            Result { () throws(StorageError) in try write(bytes, at: offset) }
        }
        try outcome.get()
    }
}
