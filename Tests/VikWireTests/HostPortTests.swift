import Testing
import VikWire

@Suite struct HostPortTests {
    @Test(
        arguments: [
            ("node1.example.com:9090", "node1.example.com", 9090),
            ("10.0.0.1:1", "10.0.0.1", 1),
            ("under_score-host:65535", "under_score-host", 65535),
            ("[::1]:8080", "::1", 8080),
            ("[fd00::192.0.2.1]:8080", "fd00::192.0.2.1", 8080),
        ])
    func valid(_ text: String, _ host: String, _ port: Int) throws {
        let address = try HostPort.parse(text)
        #expect(address.host == host)
        #expect(address.port == port)
        #expect(address.description == text)
    }

    @Test(
        arguments: [
            "", ":", ":80", "host", "host:", "host:0", "host:65536", "host:000080", "host:+80", "host:-1", "host:8o",
            "::1:80", "[]:80", "[host]:80", "[::1]", "[::1:80", "::1]:80", "[::1%eth0]:80", "[:g:]:80", "[:]:80",
            "-host:80", ".host:80", "ho st:80", "host/:80", "user@host:80", "host\r\n:80", "höst:80", "host:٨٠",
            "a:b:80",
        ])
    func invalid(_ text: String) {
        #expect(throws: WireError.self) { try HostPort.parse(text) }
    }

    @Test func lengthsHaveLimits() throws {
        let longest = String(repeating: "h", count: HostPort.maxHostBytes)
        _ = try HostPort.parse(longest + ":80")
        #expect(throws: WireError.self) { try HostPort.parse(longest + "h:80") }
        #expect(throws: WireError.self) { try HostPort.parse(String(repeating: "h", count: 1 << 20) + ":80") }
    }

    @Test func listeningNeedsNoHostAndNoPort() throws {
        #expect(try HostPort.parse(":0", forListening: true).description == ":0")
        #expect(try HostPort.parse("[::]:8080", forListening: true).host == "::")
        #expect(throws: WireError.self) { try HostPort.parse("8080", forListening: true) }
    }
}
