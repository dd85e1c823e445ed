/// Tells, from ten bits a key, that a key is surely not in a table; about one answer in a hundred is a false "maybe".
///
/// All bits of a key lie in one line of 64 bytes, so that a question costs one cache miss. The filter block is nothing
/// but lines. For a key with hash h and n lines: the line is the high half of the 128-bit product h * n; within it, bit
/// i (of ``probes``) is the low 9 bits of `h >> (9 * i)`.
enum BloomFilter {
    private static let bitsPerKey = 10
    static let lineBytes = 64
    private static let probes = 6

    /// The filter of the keys whose stems have these hashes.
    static func build(_ hashes: [UInt64]) -> [UInt8] {
        let lines = max(1, (hashes.count * bitsPerKey + lineBytes * 8 - 1) / (lineBytes * 8))
        var bytes = [UInt8](repeating: 0, count: lines * lineBytes)
        for hash in hashes {
            let line = Int(hash.multipliedFullWidth(by: UInt64(lines)).high) * lineBytes
            for probe in 0..<probes {
                let bit = Int((hash >> UInt64(9 * probe)) & 511)
                bytes[line + bit / 8] |= 1 << UInt8(bit & 7)
            }
        }
        return bytes
    }

    static func mayContain(_ hash: UInt64, in filter: UnsafeRawBufferPointer) -> Bool {
        let lines = filter.count / lineBytes
        guard lines > 0 else { return true }
        let line = Int(hash.multipliedFullWidth(by: UInt64(lines)).high) * lineBytes
        for probe in 0..<probes {
            let bit = Int((hash >> UInt64(9 * probe)) & 511)
            if filter[line + bit / 8] & (1 << UInt8(bit & 7)) == 0 { return false }
        }
        return true
    }

    /// The hash of a stem; part of the format. Words of eight bytes, little-endian, the last padded with zeros, are
    /// folded one by one into a state that starts from the length.
    static func hash(_ stem: UnsafeRawBufferPointer) -> UInt64 {
        var state = fold(UInt64(stem.count) ^ 0x9e37_79b9_7f4a_7c15)
        var offset = 0
        while offset + 8 <= stem.count {
            state = fold(state ^ UInt64(littleEndian: stem.loadUnaligned(fromByteOffset: offset, as: UInt64.self)))
            offset += 8
        }
        var last: UInt64 = 0
        var shift: UInt64 = 0
        while offset < stem.count {
            last |= UInt64(stem[offset]) << shift
            shift += 8
            offset += 1
        }
        return fold(state ^ last)
    }

    /// Both halves of the product with an odd constant, combined; 0 does not stay 0.
    @inline(__always)
    static func fold(_ word: UInt64) -> UInt64 {
        let product = (word ^ 0x2d35_8dcc_aa6c_78a5).multipliedFullWidth(by: 0x8bb8_4b93_962e_acc9)
        return product.high ^ product.low
    }
}
