import CZlib
import NIOCore

/// Compresses the chunks of a snapshot, each by itself, in zlib's format (RFC 1950) at its fastest level.
///
/// Owns zlib's state, which costs more to set up than to use again. Bound to one thread at a time.
package struct ChunkCompressor: ~Copyable {
    private static let level: Int32 = 1
    /// What is saved must be worth inflating it: one part in so many.
    private static let minSaving = 16
    /// On the heap, since zlib's state points back to it.
    private let stream: UnsafeMutablePointer<z_stream>

    package init() {
        stream = .allocate(capacity: 1)
        stream.initialize(to: z_stream())
        let code = deflateInit_(stream, Self.level, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
        precondition(code == Z_OK, "zlib is the one that this was built with, and has memory")
    }

    deinit {
        deflateEnd(stream)
        stream.deallocate()
    }

    /// Nil if that would not make `raw` smaller by a sixteenth.
    package mutating func compress(_ raw: ByteBuffer) -> ByteBuffer? {
        let limit = raw.readableBytes - raw.readableBytes / Self.minSaving - 1
        guard limit > 0 else { return nil }
        deflateReset(stream)
        let (chunk, code) = run(stream, on: raw, limit: limit, deflate)
        return code == Z_STREAM_END ? chunk : nil
    }
}

/// Inflates what a ``ChunkCompressor`` made. Owns zlib's state, which is used again for every chunk. Bound to one
/// thread at a time.
package struct ChunkDecompressor: ~Copyable {
    /// No deflate stream grows by more.
    private static let maxRatio = 1_032
    private let stream: UnsafeMutablePointer<z_stream>

    package init() {
        stream = .allocate(capacity: 1)
        stream.initialize(to: z_stream())
        let code = inflateInit_(stream, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
        precondition(code == Z_OK, "zlib is the one that this was built with, and has memory")
    }

    deinit {
        inflateEnd(stream)
        stream.deallocate()
    }

    /// Inflates `chunk`, which is said to hold `rawBytes` bytes; one that holds another number, or more than one stream,
    /// is refused. The caller has compared `rawBytes` with a limit: a buffer for them is all that is allocated, and only
    /// if a chunk of this length can fill it.
    package mutating func decompress(_ chunk: ByteBuffer, rawBytes: Int) throws(WireError) -> ByteBuffer {
        guard rawBytes > 0, rawBytes <= chunk.readableBytes * Self.maxRatio else {
            throw .invalid("a chunk of \(chunk.readableBytes) bytes cannot inflate to \(rawBytes)")
        }
        inflateReset(stream)
        let (raw, code) = run(stream, on: chunk, limit: rawBytes, inflate)
        guard code == Z_STREAM_END, raw.readableBytes == rawBytes, stream.pointee.avail_in == 0 else {
            throw .invalid("a chunk does not inflate to \(rawBytes) bytes")
        }
        return raw
    }
}

/// Sends all of `input` through `step` in one call, into a buffer of at most `limit` bytes.
private func run(
    _ stream: UnsafeMutablePointer<z_stream>, on input: ByteBuffer, limit: Int,
    _ step: (z_streamp, Int32) -> Int32
) -> (output: ByteBuffer, code: Int32) {
    var output = ByteBuffer()
    var code = Z_OK
    output.writeWithUnsafeMutableBytes(minimumWritableBytes: limit) { space in
        input.withUnsafeReadableBytes { bytes in
            // zlib only reads there; its type is older than its use of const.
            stream.pointee.next_in = UnsafeMutablePointer(mutating: bytes.bindMemory(to: Bytef.self).baseAddress)
            stream.pointee.avail_in = uInt(bytes.count)
            stream.pointee.next_out = space.bindMemory(to: Bytef.self).baseAddress
            stream.pointee.avail_out = uInt(limit)
            code = step(stream, Z_FINISH)
            return limit - Int(stream.pointee.avail_out)
        }
    }
    return (output, code)
}
