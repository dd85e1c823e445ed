/// A network address as flags, configurations and handshakes write it: `host:port`, an IPv6 address in brackets.
///
/// A plain value. Only characters that can stand in a host are let through, so that an address from a peer can go into
/// a `Location` header or a log line as it is (design rule 13).
package struct HostPort: Hashable, Sendable, CustomStringConvertible {
    /// A name or an address, without brackets. Empty only in an address to listen on: all interfaces.
    package let host: String
    /// 0 only in an address to listen on: any free port.
    package let port: Int

    package static let maxHostBytes = 253

    package init(host: String, port: Int, forListening: Bool = false) throws(WireError) {
        guard port >= (forListening ? 0 : 1), port <= 65_535 else {
            throw .invalid("port \(port) is not between 1 and 65535")
        }
        guard forListening && host.isEmpty || Self.isHost(host.utf8) else {
            throw .invalid("not a host name or address")
        }
        self.host = host
        self.port = port
    }

    /// Reads `host:port`. An address to listen on may be `:port` and have port 0.
    package static func parse(_ text: String, forListening: Bool = false) throws(WireError) -> HostPort {
        let bytes = text.utf8
        guard bytes.count <= WireLimits.maxAddressBytes else {
            throw .tooLarge(field: "address", value: UInt64(bytes.count), limit: UInt64(WireLimits.maxAddressBytes))
        }
        guard let colon = bytes.lastIndex(of: UInt8(ascii: ":")) else { throw .invalid("an address is host:port") }
        let digits = text[bytes.index(after: colon)...]
        guard (1...5).contains(digits.utf8.count), digits.utf8.allSatisfy(isDigit), let port = Int(digits) else {
            throw .invalid("an address ends with a port number")
        }
        var host = text[..<colon]
        if host.utf8.first == UInt8(ascii: "["), host.utf8.last == UInt8(ascii: "]") {
            host = host.dropFirst().dropLast()
            guard host.utf8.contains(UInt8(ascii: ":")) else { throw .invalid("only IPv6 addresses have brackets") }
        } else if host.utf8.contains(UInt8(ascii: ":")) {
            throw .invalid("an IPv6 address has brackets")
        }
        return try HostPort(host: String(host), port: port, forListening: forListening)
    }

    package var description: String {
        host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]:\(port)" : "\(host):\(port)"
    }

    private static func isHost(_ host: String.UTF8View) -> Bool {
        guard let first = host.first, host.count <= maxHostBytes else { return false }
        if host.contains(UInt8(ascii: ":")) {
            return host.count <= 45 && host.count { $0 == UInt8(ascii: ":") } >= 2
                && host.allSatisfy { isHexDigit($0) || $0 == UInt8(ascii: ":") || $0 == UInt8(ascii: ".") }
        }
        return (isDigit(first) || isLetter(first))
            && host.allSatisfy { byte in
                isDigit(byte) || isLetter(byte) || byte == UInt8(ascii: ".") || byte == UInt8(ascii: "-")
                    || byte == UInt8(ascii: "_")
            }
    }

    private static func isDigit(_ byte: UInt8) -> Bool {
        byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9")
    }

    private static func isLetter(_ byte: UInt8) -> Bool {
        let lower = byte | 0x20
        return lower >= UInt8(ascii: "a") && lower <= UInt8(ascii: "z")
    }

    private static func isHexDigit(_ byte: UInt8) -> Bool {
        let lower = byte | 0x20
        return isDigit(byte) || lower >= UInt8(ascii: "a") && lower <= UInt8(ascii: "f")
    }
}
