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

    @Test(
        arguments: [
            ("Node1.Example.COM.:9090", "node1.example.com:9090"), ("10.0.0.1:1", "10.0.0.1:1"),
            ("10.1:1", "10.0.0.1:1"), ("0x0a.0.1:1", "10.0.0.1:1"), ("012.0.0.1:1", "10.0.0.1:1"),
            ("167772161:1", "10.0.0.1:1"), ("10.0.0.1.:1", "10.0.0.1:1"),
            ("[::1]:1", "[0:0:0:0:0:0:0:1]:1"), ("[FD00::00a:1]:1", "[fd00:0::0:000A:1]:1"),
            ("[::ffff:10.0.0.1]:1", "10.0.0.1:1"), ("[0:0:0:0:0:ffff:0a00:1]:1", "10.0.0.1:1"),
            ("[1:2:3:4:5:6:7::]:1", "[1:2:3:4:5:6:7:0]:1"), ("[64:ff9b::1.2.3.4]:1", "[64:ff9b::102:304]:1"),
        ])
    func spellingsOfOneAddress(_ one: String, _ other: String) throws {
        #expect(HostPort.areSame(one, other) && HostPort.areSame(other, one))
        #expect(try HostPort.parse(one).canonical == HostPort.parse(other).canonical)
        #expect(try HostPort.parse(one).canonical.canonical == HostPort.parse(one).canonical)
    }

    @Test(
        arguments: [
            ("a:1", "a:2"), ("a:1", "b:1"), ("localhost:1", "127.0.0.1:1"), ("10.0.0.1:1", "10.0.0.2:1"),
            ("a.b:1", "a-b:1"), ("[::1]:1", "[::2]:1"), ("[::1:0]:1", "[::1]:1"), ("256.0.0.1:1", "0.0.0.1:1"),
            ("10.0.0.0.1:1", "10.0.0.1:1"), ("08.0.0.1:1", "8.0.0.1:1"), ("[1::2::3]:1", "[1::2:3]:1"),
            ("[:::]:1", "[::]:1"), ("[1:2:3:4:5:6:7:8:9]:1", "[1:2:3:4:5:6:7:8]:1"), ("a:1", ""),
        ])
    func differentAddresses(_ one: String, _ other: String) {
        #expect(!HostPort.areSame(one, other) && !HostPort.areSame(other, one))
    }

    @Test func nobodysAddress() throws {
        for text in ["0.0.0.0:1", "0:1", "0x0:1", "00.0.0.:1", "[::]:1", "[0::0:0]:1", "[::ffff:0.0.0.0]:1"] {
            #expect(try HostPort.parse(text).isUnspecified, "\(text)")
        }
        for text in ["0.0.0.1:1", "[::1]:1", "a:1", "zero:1", "127.0.0.1:1"] {
            #expect(try !HostPort.parse(text).isUnspecified, "\(text)")
        }
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
