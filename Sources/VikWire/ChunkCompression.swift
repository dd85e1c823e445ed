import CZlib
import NIOCore

/// Compresses chunks of a snapshot, or blocks of a table, each by itself, in zlib's format (RFC 1950) at its fastest
/// level.
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
        var chunk = ByteBuffer()
        return compress(raw, into: &chunk, limit: limit) ? chunk : nil
    }

    /// Appends the compressed form of `raw` to `output`. False, and nothing appended, if it has more than `limit` bytes.
    package mutating func compress(_ raw: ByteBuffer, into output: inout ByteBuffer, limit: Int) -> Bool {
        deflateReset(stream)
        var isWhole = false
        output.writeWithUnsafeMutableBytes(minimumWritableBytes: limit) { space in
            let space = UnsafeMutableRawBufferPointer(rebasing: space[..<limit])
            isWhole = raw.withUnsafeReadableBytes { run(stream, on: $0, into: space, deflate) } == Z_STREAM_END
            return isWhole ? limit - Int(stream.pointee.avail_out) : 0
        }
        return isWhole
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
        guard Self.canInflate(chunk.readableBytes, to: rawBytes) else {
            throw .invalid("a chunk of \(chunk.readableBytes) bytes cannot inflate to \(rawBytes)")
        }
        var raw = ByteBuffer()
        var isWhole = false
        raw.writeWithUnsafeMutableBytes(minimumWritableBytes: rawBytes) { space in
            let space = UnsafeMutableRawBufferPointer(rebasing: space[..<rawBytes])
            isWhole = chunk.withUnsafeReadableBytes { decompress($0, into: space) }
            return rawBytes
        }
        guard isWhole else { throw .invalid("a chunk does not inflate to \(rawBytes) bytes") }
        return raw
    }

    /// Whether some chunk of `bytes` bytes inflates to `rawBytes`: to be asked before a buffer for them is allocated.
    package static func canInflate(_ bytes: Int, to rawBytes: Int) -> Bool {
        rawBytes > 0 && rawBytes <= bytes * maxRatio
    }

    /// Fills `raw` with what `chunk` inflates to; false if that has another size, or more than one stream.
    package mutating func decompress(_ chunk: UnsafeRawBufferPointer, into raw: UnsafeMutableRawBufferPointer) -> Bool {
        inflateReset(stream)
        return run(stream, on: chunk, into: raw, inflate) == Z_STREAM_END
            && stream.pointee.avail_out == 0 && stream.pointee.avail_in == 0
    }
}

/// Sends all of `input` through `step` in one call, into `output`; the stream tells how much of both was used.
private func run(
    _ stream: UnsafeMutablePointer<z_stream>, on input: UnsafeRawBufferPointer,
    into output: UnsafeMutableRawBufferPointer, _ step: (z_streamp, Int32) -> Int32
) -> Int32 {
    // zlib only reads there; its type is older than its use of const.
    stream.pointee.next_in = UnsafeMutablePointer(mutating: input.bindMemory(to: Bytef.self).baseAddress)
    stream.pointee.avail_in = uInt(input.count)
    stream.pointee.next_out = output.bindMemory(to: Bytef.self).baseAddress
    stream.pointee.avail_out = uInt(output.count)
    return step(stream, Z_FINISH)
}
