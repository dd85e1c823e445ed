import NIOCore
import Testing
import VikWire

/// Chunks of a snapshot, compressed and inflated; and what a hostile peer could send instead.
@Suite struct ChunkCompressionTests {
    @Test func chunksComeBack() throws {
        var random = SeededGenerator.announced()
        let codec = Codec()
        var smaller = 0
        for _ in 0..<100 {
            let count = Int.random(in: 0...50_000, using: &random)
            let values = UInt8.random(in: 0...255, using: &random)
            let raw = ByteBuffer(bytes: (0..<count).map { _ in UInt8.random(in: 0...values, using: &random) })
            guard let chunk = codec.compress(raw) else { continue }
            smaller += 1
            #expect(chunk.readableBytes < raw.readableBytes)
            #expect(try codec.decompress(chunk, rawBytes: count) == raw)
        }
        #expect(smaller > 40)
    }

    @Test func whatDoesNotShrinkIsNotCompressed() {
        var random = SeededGenerator.announced()
        let codec = Codec()
        #expect(codec.compress(ByteBuffer()) == nil)
        #expect(codec.compress(ByteBuffer(bytes: [1])) == nil)
        #expect(codec.compress(ByteBuffer(bytes: [1, 2, 3, 4])) == nil)
        let noise = ByteBuffer(bytes: (0..<50_000).map { _ in UInt8.random(in: 0...255, using: &random) })
        #expect(codec.compress(noise) == nil)
        // The next chunk does not suffer from it.
        #expect(codec.compress(ByteBuffer(repeating: 7, count: 50_000)) != nil)
    }

    @Test func anyOtherSizeIsRefused() throws {
        let codec = Codec()
        let raw = ByteBuffer(bytes: (0..<5_000).map { UInt8($0 % 251) })
        let chunk = try #require(codec.compress(raw))
        for count in [-1, 0, 1, 4_999, 5_001, 100_000, .max] {
            #expect(codec.refuses(chunk, count), "\(count)")
        }
        #expect(try codec.decompress(chunk, rawBytes: 5_000) == raw)
    }

    /// A stream that inflates to a thousand times its size: no more than the declared bytes are ever made of it, and
    /// a size that no stream of this length has is refused before anything is allocated.
    @Test func bombsAreRefused() throws {
        let codec = Codec()
        // One block, whose code spends two bits on 258 zeros: each zero byte of it stands for 1,032 of them.
        let middle = 16_000
        let size = 100_000 + 1_032 * middle
        var bomb = ByteBuffer()
        bomb.writeMultipleIntegers(
            UInt64(0x78da_edc1_3101_0000), UInt64(0x00c2_a0f5_4f6d_0d0f), UInt8(0xa0))
        bomb.writeRepeatingByte(0, count: 96 + middle)
        bomb.writeMultipleIntegers(UInt8(0x80), UInt16(0x5703), UInt32(size % 65_521) << 16 | 1)
        #expect(bomb.readableBytes < size / 1_030)
        for declared in [1, 1_000, 1 << 20, size - 1] {
            #expect(codec.refuses(bomb, declared), "\(declared)")
        }
        #expect(try codec.decompress(bomb, rawBytes: size).readableBytes == size)
        #expect(codec.refuses(bomb, bomb.readableBytes * 1_032 + 1))
        #expect(codec.refuses(ByteBuffer(bytes: [0x78]), 1 << 30))
    }

    @Test func garbageIsRefused() throws {
        var random = SeededGenerator.announced()
        let codec = Codec()
        let raw = ByteBuffer(bytes: (0..<2_000).map { UInt8($0 / 8 % 256) })
        let chunk = try #require(codec.compress(raw))
        for length in 0..<chunk.readableBytes {
            #expect(codec.refuses(chunk.getSlice(at: 0, length: length)!, 2_000), "cut at \(length)")
        }
        var longer = chunk
        longer.writeInteger(UInt8(0))
        #expect(codec.refuses(longer, 2_000))
        var twice = chunk
        twice.writeImmutableBuffer(chunk)
        #expect(codec.refuses(twice, 2_000) && codec.refuses(twice, 4_000))
        for offset in 0..<chunk.readableBytes {
            var flipped = chunk
            flipped.setInteger(chunk.getInteger(at: offset, as: UInt8.self)! ^ 0x10, at: offset)
            #expect(codec.refuses(flipped, 2_000), "flipped at \(offset)")
        }
        for _ in 0..<2_000 {
            let count = Int.random(in: 0...300, using: &random)
            let garbage = ByteBuffer(bytes: (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) })
            #expect(codec.refuses(garbage, Int.random(in: 1...3_000, using: &random)))
        }
        // It starts anew after every one of them.
        #expect(try codec.decompress(chunk, rawBytes: 2_000) == raw)
    }

    @Test func theChecksumOfAWholeComesFromItsParts() {
        var random = SeededGenerator.announced()
        for _ in 0..<200 {
            let bytes = (0..<Int.random(in: 0...5_000, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            var whole: UInt32 = 0
            var rest = bytes[...]
            while !rest.isEmpty {
                let part = rest.prefix(Int.random(in: 0...2_000, using: &random))
                rest = rest.dropFirst(part.count)
                whole = Checksum.crc32Combine(
                    whole, Checksum.crc32(ByteBuffer(bytes: part)), secondBytes: part.count)
            }
            #expect(whole == Checksum.crc32(ByteBuffer(bytes: bytes)))
        }
    }
}

/// Both directions, as an object that the macros of the tests can call.
private final class Codec {
    private var compressor = ChunkCompressor()
    private var decompressor = ChunkDecompressor()

    func compress(_ raw: ByteBuffer) -> ByteBuffer? {
        compressor.compress(raw)
    }

    func decompress(_ chunk: ByteBuffer, rawBytes: Int) throws(WireError) -> ByteBuffer {
        try decompressor.decompress(chunk, rawBytes: rawBytes)
    }

    func refuses(_ chunk: ByteBuffer, _ rawBytes: Int) -> Bool {
        do throws(WireError) {
            _ = try decompress(chunk, rawBytes: rawBytes)
            return false
        } catch {
            return true
        }
    }
}
