import VikDB

/// Keys as db_bench makes them: the number in eight bytes, big-endian, then the digit 0.
enum NumberedKey {
    static func blank(bytes: Int) -> [UInt8] {
        [UInt8](repeating: UInt8(ascii: "0"), count: bytes)
    }

    static func write(_ number: Int, into key: inout [UInt8]) {
        key.withUnsafeMutableBytes { $0.storeBytes(of: UInt64(number).bigEndian, as: UInt64.self) }
    }
}

/// Values as db_bench makes them: pieces of a text of 1 MiB that compresses to about half. A plain value.
struct CompressibleValues {
    private static let textBytes = 1 << 20
    /// Printable characters at random, then the same ones again.
    private static let unitBytes = 100
    private static let repeats = 2

    private let text: [UInt8]
    private let valueBytes: Int
    private var position = 0

    init(valueBytes: Int, using random: inout SplitMix64) {
        self.valueBytes = valueBytes
        var text: [UInt8] = []
        while text.count < max(Self.textBytes, valueBytes) {
            let half = (0..<Self.unitBytes / Self.repeats).map { _ in
                UInt8(ascii: " ") + UInt8.random(in: 0..<95, using: &random)
            }
            for _ in 0..<Self.repeats { text += half }
        }
        self.text = text
    }

    mutating func next() -> ArraySlice<UInt8> {
        if position + valueBytes > text.count { position = 0 }
        defer { position += valueBytes }
        return text[position..<position + valueBytes]
    }
}
