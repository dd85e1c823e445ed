import NIOCore
import VikDB

/// What one fdatasync costs here, whoever calls it: the floor under every commit.
enum SyncProbe {
    private static let blockBytes = 4_096
    private static let blocks = 256
    /// Enough for a median even of a slow disk.
    private static let limit = TimeAmount.seconds(3)

    /// Median microseconds of writing 4 KiB and calling fdatasync, each at the next place of a file whose blocks were
    /// all written before, so that nothing but the data has to become durable.
    static func medianMicroseconds(in directory: String) throws(StorageError) -> Double {
        let fileSystem = PosixFileSystem()
        let path = "\(directory)/sync-probe"
        let file = try fileSystem.open(path, .create)
        let block = ByteBuffer(repeating: 0xA5, count: blockBytes)
        for place in 0..<blocks { try file.write(block, at: UInt64(place * blockBytes)) }
        try file.sync()

        var samples: [Double] = []
        let deadline = NIODeadline.now() + limit
        for place in 0..<blocks where samples.isEmpty || NIODeadline.now() < deadline {
            let start = NIODeadline.now()
            try file.write(block, at: UInt64(place * blockBytes))
            try file.sync()
            samples.append(Double((NIODeadline.now() - start).nanoseconds) / 1_000)
        }
        try fileSystem.remove(path)
        return median(samples)
    }
}
