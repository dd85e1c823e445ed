import NIOCore
import VikDB
import VikWire

/// One put: which key, and a number that no other put has and that its value begins with.
struct Write {
    let key: Int
    let number: UInt64
}

/// Turns key numbers and write numbers into keys and values, and back. A plain value, all of it decided by the seed.
///
/// A key is 12 bytes: 6 that look random, so that keys come in no order, and its number. A value is the write's number
/// in 6 bytes, then filler that is the same in all values. Both parts are multiples of three bytes, so their Base64
/// can be put together from parts too, and only 8 characters of a prebuilt request change.
struct Workload: Sendable {
    static let keyBytes = 12
    static let stampBytes = 6

    private let seed: UInt64
    private let filler: [UInt8]
    private let commandTemplate: ByteBuffer
    private let bodyTemplate: ByteBuffer

    init(valueSize: Int, seed: UInt64) {
        precondition(valueSize >= Self.stampBytes, "a value has room for its number")
        var random = SplitMix64(seed: seed)
        self.seed = random.next()
        filler = (0..<valueSize - Self.stampBytes).map { _ in UInt8.random(in: .min ... .max, using: &random) }
        commandTemplate = Command.put(
            key: [UInt8](repeating: 0, count: Self.keyBytes),
            value: [UInt8](repeating: 0, count: Self.stampBytes) + filler)
        bodyTemplate = ByteBuffer(string: Self.bodyStart + "AAAAAAAA" + base64(filler) + "\"}")
    }

    func key(_ key: Int) -> [UInt8] {
        sixBytes(scrambled(key)) + sixBytes(UInt64(key))
    }

    /// The encoded ``Command``.
    func command(_ write: Write) -> ByteBuffer {
        var command = commandTemplate
        let start = Command.headerBytes + Command.operationHeaderBytes
        command.set48Bits(scrambled(write.key), at: start)
        command.set48Bits(UInt64(write.key), at: start + 6)
        command.set48Bits(write.number, at: start + Self.keyBytes)
        return command
    }

    /// The path of the key in the HTTP API.
    func path(_ key: Int) -> String {
        "/kv/" + String(decoding: eightDigits(scrambled(key), .urlSafe), as: UTF8.self)
            + String(decoding: eightDigits(UInt64(key), .urlSafe), as: UTF8.self)
    }

    /// The body of a put in the HTTP API.
    func body(_ write: Write) -> ByteBuffer {
        var body = bodyTemplate
        body.setBytes(eightDigits(write.number, .standard), at: Self.bodyStart.utf8.count)
        return body
    }

    /// The number of the write that this value came from; nil if no write could have left it.
    func number(of value: [UInt8]) -> UInt64? {
        guard value.count == Self.stampBytes + filler.count, value[Self.stampBytes...].elementsEqual(filler) else {
            return nil
        }
        return value[..<Self.stampBytes].reduce(0) { $0 << 8 | UInt64($1) }
    }

    private static let bodyStart = #"{"value":""#

    private func scrambled(_ key: Int) -> UInt64 {
        var random = SplitMix64(seed: seed ^ UInt64(key))
        return random.next() >> 16
    }
}

extension ByteBuffer {
    /// Big-endian, 6 bytes.
    fileprivate mutating func set48Bits(_ number: UInt64, at index: Int) {
        setInteger(UInt16(truncatingIfNeeded: number >> 32), at: index)
        setInteger(UInt32(truncatingIfNeeded: number), at: index + 2)
    }
}

private func sixBytes(_ number: UInt64) -> [UInt8] {
    (0..<6).map { UInt8(truncatingIfNeeded: number >> (40 - 8 * $0)) }
}

private enum Base64Alphabet {
    case standard, urlSafe

    func character(_ digit: UInt64) -> UInt8 {
        switch UInt8(digit & 63) {
        case let digit where digit < 26: UInt8(ascii: "A") + digit
        case let digit where digit < 52: UInt8(ascii: "a") + digit - 26
        case let digit where digit < 62: UInt8(ascii: "0") + digit - 52
        case 62: self == .standard ? UInt8(ascii: "+") : UInt8(ascii: "-")
        default: self == .standard ? UInt8(ascii: "/") : UInt8(ascii: "_")
        }
    }
}

/// The Base64 of a number's 6 bytes.
private func eightDigits(_ number: UInt64, _ alphabet: Base64Alphabet) -> [UInt8] {
    (0..<8).map { alphabet.character(number >> (42 - 6 * $0)) }
}

/// The standard Base64 text, padded.
private func base64(_ bytes: [UInt8]) -> String {
    var text: [UInt8] = []
    for start in stride(from: 0, to: bytes.count, by: 3) {
        let group = bytes[start..<min(start + 3, bytes.count)]
        let bits = group.reduce(UInt64(0)) { $0 << 8 | UInt64($1) } << (8 * (3 - group.count))
        for digit in 0..<4 {
            let isPadding = digit > group.count
            text.append(isPadding ? UInt8(ascii: "=") : Base64Alphabet.standard.character(bits >> (18 - 6 * digit)))
        }
    }
    return String(decoding: text, as: UTF8.self)
}
