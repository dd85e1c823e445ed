/// Spellings of one address. Names are not looked up: two that lead to one machine are two.
extension HostPort {
    /// The one spelling of all that surely mean the same: names without regard to case and without a dot at their end,
    /// addresses by their bits.
    package var canonical: HostPort {
        (try? HostPort(host: Self.canonicalHost(host), port: port, forListening: true)) ?? self
    }

    /// All interfaces, as 0.0.0.0 or [::]: to be listened on, and nobody's to be reached at.
    package var isUnspecified: Bool { ["0.0.0.0", "0:0:0:0:0:0:0:0"].contains(canonical.host) }

    /// Whether two addresses, as configurations have them, surely mean the same.
    package static func areSame(_ one: String, _ other: String) -> Bool {
        if one == other { return true }
        guard let one = try? parse(one), let other = try? parse(other) else { return false }
        return one.canonical == other.canonical
    }

    private static func canonicalHost(_ host: String) -> String {
        if host.utf8.contains(UInt8(ascii: ":")) {
            guard let groups = groups(host[...]) else { return host.lowercased() }
            // An IPv4 address inside an IPv6 one.
            if groups[..<5].allSatisfy({ $0 == 0 }), groups[5] == 0xFFFF {
                return dotted(UInt32(groups[6]) << 16 | UInt32(groups[7]))
            }
            return groups.map { String($0, radix: 16) }.joined(separator: ":")
        }
        let name = (host.utf8.last == UInt8(ascii: ".") ? String(host.dropLast()) : host).lowercased()
        return number(name).map(dotted) ?? name
    }

    private static func dotted(_ address: UInt32) -> String {
        [24, 16, 8, 0].map { "\(address >> UInt32($0) & 0xFF)" }.joined(separator: ".")
    }

    /// An IPv4 address as resolvers read it: one to four numbers, decimal, octal after 0 and hexadecimal after 0x, of
    /// which the last fills the rest.
    private static func number(_ text: String) -> UInt32? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard (1...4).contains(parts.count) else { return nil }
        var address: UInt64 = 0
        for (place, part) in parts.enumerated() {
            let digits = part.utf8
            guard let first = digits.first, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first) else { return nil }
            let parsed =
                part.hasPrefix("0x")
                ? UInt64(part.dropFirst(2), radix: 16) : UInt64(part, radix: digits.count > 1 && first == 0x30 ? 8 : 10)
            let isLast = place == parts.count - 1
            let bits = isLast ? UInt64(8 * (4 - place)) : 8
            guard let parsed, parsed < 1 << bits else { return nil }
            address = address << bits | parsed
        }
        return UInt32(address)
    }

    /// The eight groups of an IPv6 address; nil: it is none.
    private static func groups(_ text: Substring) -> [UInt16]? {
        let marks = text.indices.filter { text[$0...].hasPrefix("::") }
        guard let mark = marks.first else {
            let all = run(text)
            return all?.count == 8 ? all : nil
        }
        guard marks.count == 1 else { return nil }
        guard let front = run(text[..<mark]), let back = run(text[text.index(mark, offsetBy: 2)...]),
            front.count + back.count < 8
        else { return nil }
        return front + Array(repeating: 0, count: 8 - front.count - back.count) + back
    }

    /// Groups with a colon between them, of which the last may be an IPv4 address; none: none.
    private static func run(_ text: Substring) -> [UInt16]? {
        guard !text.isEmpty else { return [] }
        var groups: [UInt16] = []
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        for (place, part) in parts.enumerated() {
            if place == parts.count - 1, part.contains(".") {
                guard part.split(separator: ".").count == 4, let address = number(String(part)) else { return nil }
                groups += [UInt16(address >> 16), UInt16(address & 0xFFFF)]
            } else {
                guard (1...4).contains(part.utf8.count), let group = UInt16(part, radix: 16) else { return nil }
                groups.append(group)
            }
        }
        return groups
    }
}
