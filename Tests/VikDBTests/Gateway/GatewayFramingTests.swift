import Foundation
import Testing
import VikDB

/// HTTP itself: framing, pipelining, and everything a hostile or clumsy client may send.
@Suite struct GatewayFramingTests {
    static let put = "PUT /kv/a2V5 HTTP/1.1\r\nHost: x\r\nContent-Length: 16\r\n\r\n{\"value\":\"YWJj\"}"

    @Test func byteAtATime() async throws {
        try await GatewayHarness.run { gateway in
            let client = gateway.client()
            for byte in Self.put.utf8 { client.send([byte]) }
            #expect(client.response()?.status == 200)
            let chunked =
                "PUT /kv/a2V5 HTTP/1.1\r\nhOST: x\r\ntransfer-encoding: Chunked\r\n\r\n"
                + "5;x=y\r\n{\"val\r\n0b\r\nue\":\"YWJj\"}\r\n0\r\nTrailer: x\r\n\r\n"
            for byte in chunked.utf8 { client.send([byte]) }
            #expect(client.response()?.status == 200)
            #expect(gateway.service.writes == 2)
        }
    }

    /// Ten thousand requests in one go are answered in order, while the client closes its side.
    @Test func pipelining() async throws {
        try await GatewayHarness.run { gateway in
            let client = gateway.client()
            let requests = (0..<10_000).map { number in
                switch number % 4 {
                case 0: "GET /kv/a2V5\(1_000 + number / 40) HTTP/1.1\r\nHost: x\r\n\r\n"
                case 1: "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
                case 2: Self.put
                default: "GET /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
                }
            }
            let sender = Thread { [text = requests.joined()] in
                client.send(text)
                client.closeOutput()
            }
            sender.start()
            for number in 0..<10_000 {
                let answer = try #require(client.response(), "answer \(number)")
                #expect(answer.status == [404, 200, 200, 404][number % 4])
                if number % 4 == 1 { #expect(answer.json["status"] as? String == "healthy") }
            }
            #expect(client.seesEnd())
            #expect(gateway.service.writes == 2_500)
        }
    }

    /// One request at a time is with the node, however many have arrived.
    @Test func oneRequestInProgress() async throws {
        try await GatewayHarness.run { gateway in
            gateway.service.hold()
            let client = gateway.client()
            client.send(Self.put + Self.put + "GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            #expect(await GatewayHarness.eventually { gateway.service.heldCount == 1 })
            client.send(String(repeating: Self.put, count: 100))
            try await Task.sleep(for: .milliseconds(30))
            #expect(gateway.service.heldCount == 1)
            gateway.service.release()
            for _ in 0..<103 { #expect(client.response()?.status == 200) }
        }
    }

    @Test func head() async throws {
        try await GatewayHarness.run { gateway in
            gateway.service.fill([Array("key".utf8): Array("value".utf8)])
            let client = gateway.client()
            for target in ["/kv/a2V5", "/kv/bm9uZQ==", "/kv/range", "/health", "/cluster/status", "/nothing", "/kv/!"] {
                let head = try #require(client.request("HEAD", target))
                let get = try #require(client.request("GET", target))
                #expect(head.status == get.status)
                #expect(head.headers.filter { $0.key != "date" } == get.headers.filter { $0.key != "date" })
                #expect(get.headers["content-length"] == String(get.body.count))
            }
        }
    }

    @Test func expectContinue() async throws {
        try await GatewayHarness.run { gateway in
            let client = gateway.client()
            let head = "PUT /kv/a2V5 HTTP/1.1\r\nHost: x\r\nContent-Length: 16\r\nExpect: 100-Continue\r\n\r\n"
            for _ in 0..<2 {
                client.send(head)
                #expect(client.response()?.status == 100)
                client.send("{\"value\":\"YWJj\"}")
                #expect(client.response()?.status == 200)
            }
            client.send(head.replacingOccurrences(of: "100-Continue", with: "200-ok"))
            #expect(client.response()?.status == 417)
            #expect(client.seesEnd())

            // What the request will get anyway is said at once, and the connection closes: the body may come or not.
            gateway.service.status = ScriptedService.follower(of: "h:1")
            let redirected = gateway.client()
            redirected.send(head)
            let answer = redirected.response()
            #expect(answer?.status == 307)
            #expect(answer?.headers["connection"] == "close")
            #expect(redirected.seesEnd())
            gateway.service.status = ScriptedService.leader
            for (head, status) in [
                (head.replacingOccurrences(of: ": 16", with: ": 99999999"), 413),
                (head.replacingOccurrences(of: "Host: x", with: "Host: x\r\nContent-Type: text/plain"), 415),
                (head.replacingOccurrences(of: "a2V5", with: "a2V"), 400),
                (head.replacingOccurrences(of: "PUT", with: "POST"), 405),
            ] {
                let client = gateway.client()
                client.send(head)
                #expect(client.response()?.status == status)
                #expect(client.seesEnd())
            }
            #expect(gateway.service.writes == 2)
        }
    }

    /// An early answer does not lose its place: the body that follows is thrown away.
    @Test func bodyAfterAnEarlyAnswer() async throws {
        try await GatewayHarness.run { gateway in
            gateway.service.status = ScriptedService.follower(of: "h:1")
            let client = gateway.client()
            client.send("PUT /kv/a2V5 HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
            #expect(client.response()?.status == 307)
            client.send([UInt8](repeating: 65, count: 100_000))
            #expect(client.request("GET", "/health")?.status == 200)
            #expect(client.request("DELETE", "/kv/a2V5", "some body", contentType: "text/plain")?.status == 307)
            gateway.service.status = ScriptedService.leader
            #expect(client.request("DELETE", "/kv/a2V5", "some body", contentType: "text/plain")?.status == 200)
            #expect(client.request("GET", "/kv/a2V5", "some body", contentType: "text/plain")?.status == 404)
        }
    }

    static let broken: [(String, String, Int)] = [
        ("two lengths", "PUT /kv/a2V5 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400),
        ("lengths", "PUT /kv/a2V5 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
        ("list of lengths", "PUT /kv/a2V5 HTTP/1.1\r\nHost: x\r\nContent-Length: 2, 2\r\n\r\n{}", 400),
        ("negative length", "PUT /kv/a2V5 HTTP/1.1\r\nHost: x\r\nContent-Length: -2\r\n\r\n{}", 400),
        ("signed length", "PUT /kv/a2V5 HTTP/1.1\r\nHost: x\r\nContent-Length: +2\r\n\r\n{}", 400),
        (
            "huge length",
            "PUT /kv/a2V5 HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n{}", 400
        ),
        (
            "length and chunked",
            "PUT /kv/a2V5 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400
        ),
        (
            "chunked and length",
            "PUT /kv/a2V5 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n", 400
        ),
        (
            "chunked twice",
            "PUT /kv/a2V5 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400
        ),
        ("coded", "PUT /kv/a2V5 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
        ("unknown coding", "PUT /kv/a2V5 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
        ("chunked 1.0", "PUT /kv/a2V5 HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("bad chunk", "PUT /kv/a2V5 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n", 400),
        (
            "huge chunk",
            "PUT /kv/a2V5 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", 400
        ),
        ("space before colon", "GET /health HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        ("folded header", "GET /health HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", 400),
        ("no name", "GET /health HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n", 400),
        ("nul in header", "GET /health HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n", 400),
        ("bare cr", "GET /health HTTP/1.1\r\nHost: x\rA: b\r\n\r\n", 400),
        ("no host", "GET /health HTTP/1.1\r\n\r\n", 400),
        ("two hosts", "GET /health HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400),
        ("version 0.9", "GET /health\r\n\r\n", 400),
        ("version 2", "GET /health HTTP/2.0\r\nHost: x\r\n\r\n", 400),
        ("preface of version 2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        ("method", "GOT /health HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("method in lower case", "get /health HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("TLS", "\u{16}\u{3}\u{1}\0\u{1}", 400),
        ("target of 1 MiB", "GET /" + String(repeating: "a", count: 1 << 20) + " HTTP/1.1\r\nHost: x\r\n\r\n", 431),
        (
            "header of 20 KiB",
            "GET /health HTTP/1.1\r\nHost: x\r\nA: " + String(repeating: "a", count: 20_480) + "\r\n\r\n", 431
        ),
        (
            "header without end",
            "GET /health HTTP/1.1\r\nHost: x\r\nA: " + String(repeating: "a", count: 10 << 20), 431
        ),
        (
            "65 fields",
            "GET /health HTTP/1.1\r\nHost: x\r\n" + String(repeating: "A: b\r\n", count: 64) + "\r\n", 431
        ),
    ]

    /// What breaks the framing is answered, changes nothing, and ends the connection; what came before it counts.
    @Test func brokenFraming() async throws {
        try await GatewayHarness.run { gateway in
            for (name, text, status) in Self.broken {
                let client = gateway.client()
                client.send(Self.put + text)
                #expect(client.response()?.status == 200, "\(name)")
                let answer = client.response()
                #expect(answer?.status == status, "\(name): \(answer?.text ?? "closed")")
                #expect(answer?.headers["connection"] == "close", "\(name)")
                #expect(answer?.json["success"] as? Bool == false, "\(name)")
                #expect(client.seesEnd(), "\(name)")
            }
            #expect(gateway.service.writes == Self.broken.count)
        }
    }

    @Test func targets() async throws {
        try await GatewayHarness.run { gateway in
            for (target, status) in [
                ("http://x/health", 200), ("https://y:1/health?a=b", 200), ("http://x", 404), ("http://x?y", 404),
                ("/health#x", 400), ("*", 400), ("/kv/é", 400), ("//health", 404),
            ] {
                let client = gateway.client()
                client.send("GET \(target) HTTP/1.1\r\nHost: x\r\n\r\n")
                #expect(client.response()?.status == status, "\(target)")
            }
        }
    }

    static let upgrade =
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"

    /// An upgrade is not granted, and costs nothing: neither the connection nor a request behind it, however the bytes
    /// arrive.
    @Test func upgradesAreIgnored() async throws {
        var random = GatewayRandom()
        let upgrades = [
            Self.upgrade, "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n", "Upgrade: TLS/1.3, h2c\r\n",
            "Connection: upgrade\r\n", "UPGRADE: x\r\nCONNECTION:UPGRADE\r\n", "",
            "Connection: keep-alive\r\nUpgrade: y\r\nConnection: \tupgrade \r\n",
            "Connection: a , upgrade , b\r\nUpgrade: x\r\n",
            "Proxy-Connection: upgrade\r\nUpgrade: x\r\n", "Proxy-Connection: keep-alive\r\n",
        ]
        try await GatewayHarness.run { gateway in
            for _ in 0..<60 {
                let client = gateway.client()
                var text = ""
                var expected: [(status: Int, mention: String)] = []
                for number in 0..<Int.random(in: 1...8, using: &random) {
                    let fields = "Host: x\r\n" + upgrades.randomElement(using: &random)!
                    switch Int.random(in: 0..<5, using: &random) {
                    case 0:
                        text += "PUT /kv/a2V5 HTTP/1.1\r\n\(fields)Content-Length: 16\r\n\r\n{\"value\":\"YWJj\"}"
                        expected.append((200, "stored"))
                    case 1:
                        text += "PUT /kv/a2V5 HTTP/1.1\r\n\(fields)Transfer-Encoding: chunked\r\n\r\n"
                        text += "10\r\n{\"value\":\"YWJj\"}\r\n0\r\n\r\n"
                        expected.append((200, "stored"))
                    case 2:
                        text += "GET /nothing HTTP/1.1\r\n\(fields)Content-Length: 3\r\n\r\nGET"
                        expected.append((404, "no such path"))
                    case 3:
                        text += "GET /kv/a2V5?x\(number)=1 HTTP/1.1\r\n\(fields)\r\n"
                        expected.append((400, "unknown parameter \\\"x\(number)\\\""))
                    default:
                        text += "GET /health HTTP/1.1\r\n\(fields)\r\n"
                        expected.append((200, "healthy"))
                    }
                }
                var rest = Array(text.utf8)[...]
                let most = [1, 7, 100, 10_000].randomElement(using: &random)!
                while !rest.isEmpty {
                    let count = min(rest.count, Int.random(in: 1...most, using: &random))
                    #expect(client.send(rest.prefix(count)))
                    rest = rest.dropFirst(count)
                }
                for (status, mention) in expected {
                    let answer = try #require(client.response(), "\(text)")
                    #expect(answer.status == status && answer.text.contains(mention), "\(answer.text) in \(text)")
                    #expect(answer.headers["connection"] == nil, "\(text)")
                }
                client.closeOutput()
                #expect(client.seesEnd(), "\(text)")
            }
            // What another protocol would send is no request here.
            let client = gateway.client()
            client.send("GET /health HTTP/1.1\r\nHost: x\r\n\(Self.upgrade)\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            #expect(client.response()?.status == 200)
            let second = try #require(client.response())
            #expect(second.status == 400 && second.headers["connection"] == "close")
            #expect(client.seesEnd())
            // Nor is what follows a tunnel that was not opened.
            let tunnel = gateway.client()
            tunnel.send("CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n" + Self.put)
            #expect(tunnel.response()?.headers["connection"] == "close")
            #expect(tunnel.seesEnd())
        }
    }

    @Test func persistence() async throws {
        try await GatewayHarness.run { gateway in
            let cases: [(String, String?, closes: Bool)] = [
                ("GET /health HTTP/1.1\r\nHost: x\r\n\r\n", nil, false),
                ("GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "close", true),
                ("GET /health HTTP/1.0\r\n\r\n", "close", true),
                ("GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "keep-alive", false),
                // As Java's HttpClient begins.
                ("GET /health HTTP/1.1\r\nHost: x\r\n\(Self.upgrade)\r\n", nil, false),
                ("GET /health HTTP/1.0\r\nConnection: Upgrade, keep-alive\r\nUpgrade: x\r\n\r\n", "keep-alive", false),
                ("GET /health HTTP/1.1\r\nHost: x\r\nConnection: upgrade,close\r\nUpgrade: x\r\n\r\n", "close", true),
                // Whether the parser stops behind it cannot be told.
                ("GET /health HTTP/1.1\r\nHost: x\r\nConnection: xupgrade\r\nUpgrade: x\r\n\r\n", "close", true),
                ("GET /health HTTP/1.1\r\nHost: x\r\nConnection: a,\tupgrade\t,b\r\nUpgrade: x\r\n\r\n", "close", true),
                ("CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", "close", true),
            ]
            for (text, connection, closes) in cases {
                let client = gateway.client()
                client.send(text)
                let answer = try #require(client.response())
                #expect(answer.headers["connection"] == connection, "\(text)")
                if closes {
                    #expect(client.seesEnd(), "\(text)")
                } else {
                    #expect(client.request("GET", "/health")?.status == 200, "\(text)")
                }
            }
        }
    }

    /// A client that closes its side early still gets its answer; an unfinished request gets none of the node's time.
    @Test func halfClosed() async throws {
        try await GatewayHarness.run { gateway in
            gateway.service.hold()
            let client = gateway.client()
            client.send(Self.put)
            client.closeOutput()
            #expect(await GatewayHarness.eventually { gateway.service.heldCount == 1 })
            try await Task.sleep(for: .milliseconds(30))
            gateway.service.release()
            #expect(client.response()?.status == 200)
            #expect(client.seesEnd())
            let unfinished = gateway.client()
            unfinished.send(String(Self.put.dropLast(3)))
            unfinished.closeOutput()
            #expect(unfinished.response()?.status == 400)
            #expect(unfinished.seesEnd())
            let silent = gateway.client()
            silent.closeOutput()
            #expect(silent.seesEnd())
            #expect(gateway.service.writes == 1)
        }
    }
}
