import NIOCore

/// Base64 of RFC 4648, strict: one text for each sequence of bytes. No state; any thread.
///
/// Foundation's wants a String or Data of its own for each text, and knows neither the URL-safe alphabet nor optional
/// padding; this one works on the bytes of the request where they are.
enum Base64 {
    enum Alphabet {
        /// `+` and `/`, padding required: keys and values in JSON.
        case standard
        /// The URL-safe or the standard alphabet, not both in one text; padding optional: keys in a target.
        case either
    }

    enum Failure: Error, Equatable {
        case length
        case character(offset: Int)
        case trailingBits

        var sentence: String {
            switch self {
            case .length: "its length is not that of a Base64 text"
            case .character(let offset): "unexpected character at offset \(offset)"
            case .trailingBits: "its last character has bits set that decode to nothing"
            }
        }
    }

    /// Length of the padded text of `count` bytes.
    static func encodedCount(_ count: Int) -> Int {
        (count + 2) / 3 * 4
    }

    /// The number of bytes that `text` decodes to if it is valid.
    static func decodedCount(_ text: Span<UInt8>, _ alphabet: Alphabet) throws(Failure) -> Int {
        let digits = text.count - paddingCount(text)
        switch alphabet {
        case .standard: guard text.count % 4 == 0 else { throw .length }
        case .either: guard text.count % 4 == 0 || digits == text.count else { throw .length }
        }
        guard digits % 4 != 1 else { throw .length }
        return digits * 3 / 4
    }

    /// Appends the bytes that `text` stands for; on failure `output` holds a part of them.
    static func decode(
        _ text: Span<UInt8>, _ alphabet: Alphabet, into output: inout OutputSpan<UInt8>
    ) throws(Failure) {
        _ = try decodedCount(text, alphabet)
        let digits = text.count - paddingCount(text)
        if alphabet == .either, isURLSafe(text) {
            try decode(text, digits, urlSafeValues.span, into: &output)
        } else {
            try decode(text, digits, standardValues.span, into: &output)
        }
    }

    static func decode(_ text: Span<UInt8>, _ alphabet: Alphabet) throws(Failure) -> [UInt8] {
        let count = try decodedCount(text, alphabet)
        var failure: Failure?
        let bytes = [UInt8](capacity: count) { output in
            do throws(Failure) {
                try decode(text, alphabet, into: &output)
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        return bytes
    }

    private static func decode(
        _ text: Span<UInt8>, _ digits: Int, _ values: Span<UInt8>, into output: inout OutputSpan<UInt8>
    ) throws(Failure) {
        var offset = 0
        while offset + 4 <= digits {
            let a = values[Int(text[offset])]
            let b = values[Int(text[offset + 1])]
            let c = values[Int(text[offset + 2])]
            let d = values[Int(text[offset + 3])]
            guard (a | b | c | d) & notADigit == 0 else { throw firstBadCharacter(text, from: offset, values) }
            output.append(a << 2 | b >> 4)
            output.append(b << 4 | c >> 2)
            output.append(c << 6 | d)
            offset += 4
        }
        guard offset < digits else { return }
        let a = values[Int(text[offset])]
        let b = values[Int(text[offset + 1])]
        let c = offset + 2 < digits ? values[Int(text[offset + 2])] : 0
        guard (a | b | c) & notADigit == 0 else { throw firstBadCharacter(text, from: offset, values) }
        output.append(a << 2 | b >> 4)
        if offset + 2 < digits {
            guard c & 0b11 == 0 else { throw .trailingBits }
            output.append(b << 4 | c >> 2)
        } else {
            guard b & 0b1111 == 0 else { throw .trailingBits }
        }
    }

    private static func firstBadCharacter(_ text: Span<UInt8>, from start: Int, _ values: Span<UInt8>) -> Failure {
        var offset = start
        while values[Int(text[offset])] & notADigit == 0 { offset += 1 }
        return .character(offset: offset)
    }

    /// Trailing `=`, at most two; more, or one in the middle, is then a bad character.
    private static func paddingCount(_ text: Span<UInt8>) -> Int {
        guard let last = text.indices.last, text[last] == padding else { return 0 }
        return last > 0 && text[last - 1] == padding ? 2 : 1
    }

    private static func isURLSafe(_ text: Span<UInt8>) -> Bool {
        for offset in text.indices where text[offset] == UInt8(ascii: "-") || text[offset] == UInt8(ascii: "_") {
            return true
        }
        return false
    }

    /// Appends the standard, padded text of `bytes`.
    static func encode(_ bytes: Span<UInt8>, into buffer: inout ByteBuffer) {
        encode(bytes, standardDigits.span, isPadded: true, into: &buffer)
    }

    /// Appends the URL-safe text of `bytes` without padding, which needs no percent-encoding anywhere in a target.
    static func encodeForURL(_ bytes: Span<UInt8>, into buffer: inout ByteBuffer) {
        encode(bytes, urlSafeDigits.span, isPadded: false, into: &buffer)
    }

    private static func encode(
        _ bytes: Span<UInt8>, _ digits: Span<UInt8>, isPadded: Bool, into buffer: inout ByteBuffer
    ) {
        buffer.writeWithOutputRawSpan(minimumWritableBytes: encodedCount(bytes.count)) { output in
            var offset = 0
            while offset + 3 <= bytes.count {
                let group = UInt32(bytes[offset]) << 16 | UInt32(bytes[offset + 1]) << 8 | UInt32(bytes[offset + 2])
                output.append(digits[Int(group >> 18)])
                output.append(digits[Int(group >> 12 & 63)])
                output.append(digits[Int(group >> 6 & 63)])
                output.append(digits[Int(group & 63)])
                offset += 3
            }
            let left = bytes.count - offset
            guard left > 0 else { return }
            let group = UInt32(bytes[offset]) << 16 | (left == 2 ? UInt32(bytes[offset + 1]) << 8 : 0)
            output.append(digits[Int(group >> 18)])
            output.append(digits[Int(group >> 12 & 63)])
            if left == 2 { output.append(digits[Int(group >> 6 & 63)]) }
            if isPadded { output.append(repeating: padding, count: 3 - left, as: UInt8.self) }
        }
    }

    private static let padding = UInt8(ascii: "=")
    private static let notADigit: UInt8 = 0x80
    private static let standardDigits = digits("+/")
    private static let urlSafeDigits = digits("-_")
    private static let standardValues = values(of: standardDigits)
    private static let urlSafeValues = values(of: urlSafeDigits)

    private static func digits(_ last: String) -> [UInt8] {
        Array(("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789" + last).utf8)
    }

    /// The value of each byte as a digit, ``notADigit`` for all others.
    private static func values(of digits: [UInt8]) -> [UInt8] {
        var values = [UInt8](repeating: notADigit, count: 256)
        for (value, digit) in digits.enumerated() {
            values[Int(digit)] = UInt8(value)
        }
        return values
    }
}
