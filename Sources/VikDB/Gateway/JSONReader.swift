/// A strict pull parser for the flat objects of VikDB's request bodies: known fields whose values are strings, arrays
/// of strings or whole numbers. A plain value that holds only its position; the bytes are passed to each call.
///
/// Nothing nests, so depth costs nothing; every text that is accepted is a known name or Base64, so all of it is
/// ASCII: invalid UTF-8, lone surrogates and control characters fail as what they are, unexpected characters.
/// For the PUT of a 256-byte value, JSONDecoder and Data's Base64 take 2.4 us, this reader with ``Base64`` and the
/// encoding of the command 0.8 to 1.1 us.
struct JSONReader {
    /// A string as it stands between its quotes.
    struct Token: Equatable {
        var range: Range<Int>
        var hasEscapes: Bool
    }

    /// Far above every limit.
    private static let largestNumber = 1_000_000_000

    private var offset = 0

    mutating func beginObject(_ bytes: Span<UInt8>) throws(HTTPFailure) {
        try expect(UInt8(ascii: "{"), in: bytes)
    }

    /// Reads up to the value of the next field: its place in `names`, or nil after the closing brace. A field that is
    /// unknown or in `seen` (a set of such places) already is a failure.
    mutating func nextField(
        of names: [StaticString], seen: inout UInt8, in bytes: Span<UInt8>
    ) throws(HTTPFailure) -> Int? {
        if seen == 0, peek(bytes) == UInt8(ascii: "}") {
            offset += 1
            return nil
        }
        if seen != 0 {
            guard try !endsList(UInt8(ascii: "}"), in: bytes) else { return nil }
        }
        let token = try readString(bytes)
        try expect(UInt8(ascii: ":"), in: bytes)
        let place = try place(of: token, in: names, bytes)
        guard seen & 1 << place == 0 else { throw .malformed("field \"\(names[place])\" is given twice") }
        seen |= 1 << place
        return place
    }

    mutating func beginArray(_ bytes: Span<UInt8>) throws(HTTPFailure) {
        try expect(UInt8(ascii: "["), in: bytes)
    }

    /// Whether another element follows; `count` is how many were read so far.
    mutating func nextElement(after count: Int, in bytes: Span<UInt8>) throws(HTTPFailure) -> Bool {
        if count == 0 {
            guard peek(bytes) == UInt8(ascii: "]") else { return true }
            offset += 1
            return false
        }
        return try !endsList(UInt8(ascii: "]"), in: bytes)
    }

    mutating func readString(_ bytes: Span<UInt8>) throws(HTTPFailure) -> Token {
        guard peek(bytes) == UInt8(ascii: "\"") else { throw unexpected("a string", in: bytes) }
        offset += 1
        let start = offset
        var hasEscapes = false
        while offset < bytes.count {
            switch bytes[offset] {
            case UInt8(ascii: "\""):
                offset += 1
                return Token(range: start..<offset - 1, hasEscapes: hasEscapes)
            case UInt8(ascii: "\\"):
                hasEscapes = true
                offset += 2
            default:
                offset += 1
            }
        }
        offset = bytes.count
        throw unexpected("the end of a string", in: bytes)
    }

    /// A whole number of any length; a larger one reads as `largestNumber`.
    mutating func readNumber(_ bytes: Span<UInt8>) throws(HTTPFailure) -> Int {
        var number = 0
        var digits = 0
        _ = peek(bytes)
        while offset < bytes.count, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[offset]) {
            guard digits == 0 || number > 0 else { break }
            number = min(number * 10 + Int(bytes[offset] - UInt8(ascii: "0")), Self.largestNumber)
            digits += 1
            offset += 1
        }
        guard digits > 0 else { throw unexpected("a whole number", in: bytes) }
        return number
    }

    mutating func readBoolean(_ bytes: Span<UInt8>) throws(HTTPFailure) -> Bool {
        _ = peek(bytes)
        let rest = bytes.extracting(offset..<bytes.count)
        for (text, value) in [("true", true), ("false", false)] as [(StaticString, Bool)] where rest.hasPrefix(text) {
            offset += text.utf8CodeUnitCount
            return value
        }
        throw unexpected("true or false", in: bytes)
    }

    /// Nothing but spaces may follow the object.
    mutating func end(_ bytes: Span<UInt8>) throws(HTTPFailure) {
        guard peek(bytes) == nil else { throw unexpected("nothing after the object", in: bytes) }
    }

    /// The bytes of a string, its escapes resolved; only ASCII can be meant.
    func unescaped(_ token: Token, _ bytes: Span<UInt8>) throws(HTTPFailure) -> [UInt8] {
        var text: [UInt8] = []
        text.reserveCapacity(token.range.count)
        var offset = token.range.lowerBound
        while offset < token.range.upperBound {
            guard bytes[offset] == UInt8(ascii: "\\") else {
                text.append(bytes[offset])
                offset += 1
                continue
            }
            let escape = bytes[offset + 1]
            offset += 2
            switch escape {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(escape)
            case UInt8(ascii: "b"): text.append(0x08)
            case UInt8(ascii: "f"): text.append(0x0C)
            case UInt8(ascii: "n"): text.append(0x0A)
            case UInt8(ascii: "r"): text.append(0x0D)
            case UInt8(ascii: "t"): text.append(0x09)
            case UInt8(ascii: "u"):
                guard offset + 4 <= token.range.upperBound, bytes[offset] == UInt8(ascii: "0"),
                    bytes[offset + 1] == UInt8(ascii: "0"), let high = PercentDecoding.hexValue(bytes[offset + 2]),
                    let low = PercentDecoding.hexValue(bytes[offset + 3]), high < 8
                else { throw .malformed("expected an escaped ASCII character at offset \(offset - 2)") }
                text.append(high << 4 | low)
                offset += 4
            default:
                throw .malformed("unknown escape at offset \(offset - 2)")
            }
        }
        return text
    }

    /// After an element: true at `closing`, false at a comma.
    private mutating func endsList(_ closing: UInt8, in bytes: Span<UInt8>) throws(HTTPFailure) -> Bool {
        switch peek(bytes) {
        case closing:
            offset += 1
            return true
        case UInt8(ascii: ","):
            offset += 1
            return false
        default:
            throw unexpected("\",\" or \"\(Unicode.Scalar(closing))\"", in: bytes)
        }
    }

    private mutating func expect(_ byte: UInt8, in bytes: Span<UInt8>) throws(HTTPFailure) {
        guard peek(bytes) == byte else { throw unexpected("\"\(Unicode.Scalar(byte))\"", in: bytes) }
        offset += 1
    }

    /// The next byte that is not a space.
    private mutating func peek(_ bytes: Span<UInt8>) -> UInt8? {
        while offset < bytes.count {
            switch bytes[offset] {
            case UInt8(ascii: " "), UInt8(ascii: "\n"), UInt8(ascii: "\r"), UInt8(ascii: "\t"): offset += 1
            default: return bytes[offset]
            }
        }
        return nil
    }

    private func unexpected(_ expected: String, in bytes: Span<UInt8>) -> HTTPFailure {
        let place = offset < bytes.count ? "at offset \(offset)" : "where the body ends"
        return .malformed("the body is not the JSON that belongs here: expected \(expected) \(place)")
    }

    private func place(of token: Token, in names: [StaticString], _ bytes: Span<UInt8>) throws(HTTPFailure) -> Int {
        let unescaped = token.hasEscapes ? try unescaped(token, bytes) : []
        let text = token.hasEscapes ? unescaped.span : bytes.extracting(token.range)
        for place in names.indices where text.isEqual(to: names[place]) { return place }
        let name = String(copying: text.extracting(first: 64))
        let expected = names.map { "\"\($0)\"" }.joined(separator: ", ")
        throw .malformed("unknown field \"\(name)\", expected \(expected)")
    }
}
