import CDeflate
import CZlib
import NIOCore

/// CRC-32 (IEEE 802.3, as in zlib), the checksum of frames, log records, table blocks and small files.
///
/// By libdeflate, which multiplies without carry: zlib's own code took a fifth of the time of a scan, see
/// docs/performance.md.
package enum Checksum {
    /// The checksum of `bytes`, continuing from `seed` (the checksum of what came before).
    package static func crc32(_ bytes: UnsafeRawBufferPointer, seed: UInt32 = 0) -> UInt32 {
        guard let base = bytes.baseAddress else { return seed }
        return libdeflate_crc32(seed, base, bytes.count)
    }

    /// The checksum of a whole, from that of its first part and that of its second one, which has `secondBytes` bytes.
    package static func crc32Combine(_ first: UInt32, _ second: UInt32, secondBytes: Int) -> UInt32 {
        UInt32(truncatingIfNeeded: CZlib.crc32_combine(UInt(first), UInt(second), secondBytes))
    }

    /// The checksum of the readable bytes of `buffer`.
    package static func crc32(_ buffer: ByteBuffer, seed: UInt32 = 0) -> UInt32 {
        buffer.withUnsafeReadableBytes { crc32($0, seed: seed) }
    }
}
