import Testing
import VikDB

/// The cache of data blocks beside a dictionary: what it returns is what was put there, and it keeps its cap.
@Suite struct BlockCacheTests {
    private func block(_ file: UInt64, _ offset: UInt64, bytes: Int) -> Block {
        let memory = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 8)
        return Block(adopting: memory, count: bytes, path: "\(file)", offset: offset)
    }

    @Test(arguments: seeds(8)) func returnsWhatWasPut(seed: UInt64) {
        var random = SeededGenerator(seed)
        let capacity = 1 << 20
        let cache = BlockCache(bytes: capacity)
        var present = 0
        for _ in 0..<20_000 {
            let file = UInt64.random(in: 1...20, using: &random)
            let offset = UInt64.random(in: 0..<100, using: &random) * 4_099
            let key = BlockCache.Key(file: file, offset: offset)
            if let block = cache.block(key) {
                present += 1
                #expect(block.path == "\(file)" && block.offset == offset)
            } else {
                cache.insert(block(file, offset, bytes: Int.random(in: 1...6_000, using: &random)), for: key)
            }
            #expect(cache.usage.bytes <= capacity)
        }
        #expect(present > 0 && cache.usage.hits == UInt64(present))
        #expect(cache.usage.hits + cache.usage.misses == 20_000)
        // About full: each of the shards lacks less than the largest block.
        #expect(cache.usage.bytes > capacity - 16 * 6_200)
    }

    @Test func growsToManySmallBlocks() {
        let cache = BlockCache(bytes: 64 << 20)
        for number in 0..<50_000 as Range<UInt64> {
            cache.insert(block(number / 1_000, number, bytes: 16), for: .init(file: number / 1_000, offset: number))
        }
        for number in 0..<50_000 as Range<UInt64> {
            #expect(cache.block(.init(file: number / 1_000, offset: number))?.offset == number)
        }
        #expect(cache.block(.init(file: 0, offset: 50_000)) == nil)
    }

    @Test func whatIsUsedOutlivesAScan() {
        let cache = BlockCache(bytes: 16 * 100 << 10)
        let hot = (0..<100 as Range<UInt64>).map { BlockCache.Key(file: 1, offset: $0) }
        for key in hot { cache.insert(block(1, key.offset, bytes: 4_000), for: key) }
        for offset in 0..<5_000 as Range<UInt64> {
            cache.insert(block(2, offset, bytes: 4_000), for: .init(file: 2, offset: offset))
            if offset % 20 == 0 { for key in hot { _ = cache.block(key) } }
        }
        #expect(hot.allSatisfy { cache.block($0) != nil })
    }

    @Test func tooLargeABlockIsLeftOut() {
        let cache = BlockCache(bytes: 16 << 10)
        cache.insert(block(1, 0, bytes: 2_000), for: .init(file: 1, offset: 0))
        #expect(cache.usage == BlockCacheUsage())
        let none = BlockCache(bytes: 0)
        none.insert(block(1, 0, bytes: 1), for: .init(file: 1, offset: 0))
        #expect(none.block(.init(file: 1, offset: 0)) == nil)
    }
}
