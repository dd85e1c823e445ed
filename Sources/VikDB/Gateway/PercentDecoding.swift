/// Percent-decoding of RFC 3986, to bytes: a key is bytes, so nothing here is UTF-8 and `+` is a plus.
enum PercentDecoding {
    /// The bytes that `text` stands for, or nil if a `%` lacks its two hexadecimal digits.
    static func decode(_ text: Span<UInt8>) -> [UInt8]? {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.count)
        var offset = 0
        while offset < text.count {
            if text[offset] == UInt8(ascii: "%") {
                guard offset + 2 < text.count, let high = hexValue(text[offset + 1]),
                    let low = hexValue(text[offset + 2])
                else { return nil }
                bytes.append(high << 4 | low)
                offset += 3
            } else {
                bytes.append(text[offset])
                offset += 1
            }
        }
        return bytes
    }

    static func hexValue(_ digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}
