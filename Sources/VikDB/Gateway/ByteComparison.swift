/// Comparing bytes with names known at build time, without making Strings.
extension Span<UInt8> {
    func isEqual(to name: StaticString) -> Bool {
        count == name.utf8CodeUnitCount && hasPrefix(name)
    }

    func hasPrefix(_ prefix: StaticString) -> Bool {
        guard count >= prefix.utf8CodeUnitCount else { return false }
        return prefix.withUTF8Buffer { prefix in
            for offset in 0..<prefix.count where self[offset] != prefix[offset] { return false }
            return true
        }
    }

    /// Whether these bytes are `lowercase` (ASCII, lower-case) in any case.
    func isEqualIgnoringCase(_ lowercase: StaticString) -> Bool {
        guard count == lowercase.utf8CodeUnitCount else { return false }
        return lowercase.withUTF8Buffer { lowercase in
            for offset in 0..<lowercase.count {
                let isUpper = self[offset] >= UInt8(ascii: "A") && self[offset] <= UInt8(ascii: "Z")
                guard self[offset] | (isUpper ? 0x20 : 0) == lowercase[offset] else { return false }
            }
            return true
        }
    }

    /// Whether `lowercase` (ASCII, lower-case) occurs in these bytes in any case.
    func containsIgnoringCase(_ lowercase: StaticString) -> Bool {
        let length = lowercase.utf8CodeUnitCount
        guard count >= length else { return false }
        for start in 0...count - length
        where extracting(start..<start + length).isEqualIgnoringCase(lowercase) {
            return true
        }
        return false
    }

    /// Without spaces and tabs at both ends.
    func trimmed() -> Range<Int> {
        var range = 0..<count
        while let first = range.first, Self.isSpace(self[first]) { range.removeFirst() }
        while let last = range.last, Self.isSpace(self[last]) { range.removeLast() }
        return range
    }

    private static func isSpace(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t")
    }

    /// Offset of the first `byte` at or after `start`, or nil.
    func firstOffset(of byte: UInt8, from start: Int = 0) -> Int? {
        var offset = start
        while offset < count {
            if self[offset] == byte { return offset }
            offset += 1
        }
        return nil
    }
}

extension String {
    /// A copy of `bytes`; what is not UTF-8 is replaced.
    init(copying bytes: Span<UInt8>) {
        self = bytes.withUnsafeBufferPointer { String(decoding: $0, as: UTF8.self) }
    }
}
