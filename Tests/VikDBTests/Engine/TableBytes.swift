import NIOCore
import Testing
import VikDB
import VikTestSupport
import VikWire

/// A table's file, read and forged by the letter of docs/storage-format.md, without the engine's own code.
struct TableBytes {
    struct Block {
        var offset: Int
        /// Of the stored contents.
        var length: Int

        var contents: Range<Int> { offset..<offset + length }
    }

    static let trailerBytes = 6
    static let footerBytes = 60

    let path: String
    let number: UInt64
    var bytes: [UInt8]

    /// The newest table in `directory`.
    init(in directory: String, _ fileSystem: MemoryFileSystem) throws {
        let name = try #require(try fileSystem.list(directory).last { $0.hasSuffix(".sst") })
        path = directory + "/" + name
        number = try #require(UInt64(name.dropLast(4)))
        bytes = try #require(fileSystem.contents(of: path))
    }

    func integer<Number: FixedWidthInteger>(at offset: Int) -> Number {
        ByteBuffer(bytes: bytes).getInteger(at: offset)!
    }

    mutating func set(_ number: some FixedWidthInteger, at offset: Int) {
        let encoded = Array(ByteBuffer(integer: number).readableBytesView)
        bytes.replaceSubrange(offset..<offset + encoded.count, with: encoded)
    }

    /// The block of the handle that stands at `offset`.
    func block(at offset: Int) -> Block {
        Block(offset: Int(integer(at: offset) as UInt64), length: Int(integer(at: offset + 8) as UInt32))
    }

    /// By the index, whose entries have whole keys.
    var dataBlocks: [Block] {
        let index = block(at: bytes.count - Self.footerBytes)
        let restarts = Int(integer(at: index.offset + index.length - 4) as UInt32)
        let end = index.offset + index.length - 4 * restarts - 4
        var blocks: [Block] = []
        var offset = index.offset
        while offset < end {
            let handle = offset + 8 + Int(integer(at: offset + 2) as UInt16)
            blocks.append(block(at: handle))
            offset = handle + 12
        }
        return blocks
    }

    func compression(of block: Block) -> UInt8 {
        bytes[block.offset + block.length + 1]
    }

    /// Makes the checksum of a block right.
    mutating func seal(_ block: Block) {
        let trailer = block.offset + block.length
        var place = ByteBuffer()
        place.writeMultipleIntegers(bytes[trailer], bytes[trailer + 1], number, UInt64(block.offset))
        let contents = Checksum.crc32(ByteBuffer(bytes: bytes[block.contents]))
        set(Checksum.crc32(place, seed: contents), at: trailer + 2)
    }

    /// Makes the checksum of the footer right.
    mutating func sealFooter() {
        let start = bytes.count - Self.footerBytes
        set(Checksum.crc32(ByteBuffer(bytes: bytes[start..<start + 48])), at: start + 48)
    }

    func write(to fileSystem: MemoryFileSystem) throws {
        try fileSystem.open(path, .readWrite).write(ByteBuffer(bytes: bytes), at: 0)
    }
}
