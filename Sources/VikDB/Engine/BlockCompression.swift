import NIOCore
import VikWire

/// How the contents of a block are stored: a byte of its trailer, which the checksum covers.
package enum BlockCompression: UInt8, CaseIterable, Sendable {
    case none = 0
    /// Their length (4), then what zlib makes of them.
    case zlib = 1

    /// What stands before the stream.
    static let headerBytes = 4
    /// Contents of more bytes are stored as they are, and no stored length above it is believed. Blocks end at the entry
    /// that reaches ``EngineOptions/maxBlockBytes``, and clients write no entry of more than 1 MiB and a key.
    static let maxRawBytes = 4 << 20
}

/// Compresses the data blocks of one table. Bound to the job that writes it.
struct BlockCompressor: ~Copyable {
    private var zlib = ChunkCompressor()
    private var stored = ByteBuffer()

    /// What to store in place of `contents`; nil if it would not be smaller by an eighth, which is not worth the time that
    /// every reader needs for it.
    mutating func compress(_ contents: ByteBuffer) -> ByteBuffer? {
        let count = contents.readableBytes
        let limit = count - count / 8 - BlockCompression.headerBytes
        guard limit > 0, count <= BlockCompression.maxRawBytes else { return nil }
        stored.clear()
        stored.writeInteger(UInt32(count))
        return zlib.compress(contents, into: &stored, limit: limit) ? stored : nil
    }
}

extension Block {
    /// The block with the contents that this one has compressed. The checksum was right, so what does not fit was not
    /// written by this engine: it must not cost more memory than the file can account for.
    func inflated() throws(StorageError) -> Block {
        guard bytes.count > BlockCompression.headerBytes else { throw damaged("a compressed block is cut off") }
        let rawBytes = Int(bytes.loadUnaligned(as: UInt32.self).bigEndian)
        let stream = UnsafeRawBufferPointer(rebasing: bytes[BlockCompression.headerBytes...])
        guard rawBytes <= BlockCompression.maxRawBytes, ChunkDecompressor.canInflate(stream.count, to: rawBytes) else {
            throw damaged("a compressed block of \(bytes.count) bytes says that it holds \(rawBytes)")
        }
        let raw = UnsafeMutableRawBufferPointer.allocate(byteCount: rawBytes, alignment: 8)
        let block = Block(adopting: raw.baseAddress!, count: rawBytes, path: path, offset: offset)
        // zlib's state for reading is small: to set it up costs little beside the inflating itself.
        var zlib = ChunkDecompressor()
        guard zlib.decompress(stream, into: raw) else {
            throw damaged("a compressed block does not inflate to \(rawBytes) bytes")
        }
        return block
    }
}
