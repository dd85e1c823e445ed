import Foundation
import NIOCore
import Testing
import VikDB
import VikWire

/// Bodies and answers that take long because somebody is slow: they get there, and who trickles is cut off.
@Suite struct GatewayRateTests {
    /// Times that are over long before a slow transfer is.
    private static var options: GatewayOptions {
        var options = GatewayTimeoutTests.impatient
        options.transferWindow = .seconds(1)
        return options
    }

    private static let piece = 64 << 10

    /// Sends `bytes` in pieces over some two seconds.
    private static func sendSlowly(_ client: TestClient, _ bytes: [UInt8]) async -> Bool {
        var rest = bytes[...]
        let pause = Duration.milliseconds(2_000) / max(1, bytes.count / piece)
        while !rest.isEmpty {
            guard client.send(rest.prefix(piece)) else { return false }
            rest = rest.dropFirst(piece)
            try? await Task.sleep(for: pause)
        }
        return true
    }

    @Test(arguments: [false, true]) func aSlowBody(isChunked: Bool) async throws {
        try await GatewayHarness.run(Self.options) { gateway in
            let client = gateway.client()
            let value = [UInt8](repeating: 7, count: 1 << 20)
            let body = Array(#"{"value":"\#(base64(value))"}"#.utf8)
            let framing = isChunked ? "Transfer-Encoding: chunked" : "Content-Length: \(body.count)"
            client.send("PUT /kv/a2V5 HTTP/1.1\r\nHost: x\r\n\(framing)\r\n\r\n")
            if isChunked { client.send("\(String(body.count, radix: 16))\r\n") }
            let isSent = await Self.sendSlowly(client, body)
            #expect(isSent)
            if isChunked { client.send("\r\n0\r\n\r\n") }
            #expect(client.response()?.status == 200)
            #expect(gateway.service.contents[Array("key".utf8)]?.bytes == value)
        }
    }

    /// A body that was answered early, and whose connection goes on.
    @Test func aSlowBodyBehindItsAnswer() async throws {
        try await GatewayHarness.run(Self.options) { gateway in
            gateway.service.status = ScriptedService.follower(of: "h:1")
            let client = gateway.client()
            let body = [UInt8](repeating: 65, count: 1 << 20)
            client.send("PUT /kv/a2V5 HTTP/1.1\r\nHost: x\r\nContent-Length: \(body.count)\r\n\r\n")
            #expect(client.response()?.status == 307)
            let isSent = await Self.sendSlowly(client, body)
            #expect(isSent)
            #expect(client.request("GET", "/health")?.status == 200)
        }
    }

    /// The 413 is there when a slow client has sent all of its body.
    @Test func aSlowBodyThatIsTooLarge() async throws {
        try await GatewayHarness.run(Self.options) { gateway in
            let client = gateway.client()
            let body = [UInt8](repeating: 65, count: 8 << 20)
            client.send("PUT /kv/a2V5 HTTP/1.1\r\nHost: x\r\nContent-Length: \(body.count)\r\n\r\n")
            let isSent = await Self.sendSlowly(client, body)
            #expect(isSent)
            let answer = try #require(client.response())
            #expect(answer.status == 413 && answer.headers["connection"] == "close")
            #expect(client.seesEnd())
        }
    }

    @Test func aTrickle() async throws {
        try await GatewayHarness.run(Self.options) { gateway in
            for (head, status) in [("PUT /kv/a2V5", 408), ("PUT /kv/!", 400), ("GET /kv/a2V5", 408)] {
                let client = gateway.client()
                var isOpen = client.send("\(head) HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
                for _ in 0..<500 where isOpen {
                    isOpen = client.send("A") && client.send("B")
                    try await Task.sleep(for: .milliseconds(20))
                }
                #expect(!isOpen, "\(head)")
                // The answer may be lost to the reset: a trickle is not waited for.
                if let answer = client.response() { #expect(answer.status == status, "\(head)") }
            }
            #expect(gateway.service.writes == 0)
        }
    }

    /// However fast it comes, a body has an end.
    @Test func aBodyWithoutEnd() async throws {
        var options = Self.options
        options.maxTransferTime = .seconds(1)
        try await GatewayHarness.run(options) { gateway in
            let client = gateway.client()
            client.send("PUT /kv/a2V5 HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n{\"value\":\"")
            var isOpen = true
            for _ in 0..<500 where isOpen {
                isOpen = client.send([UInt8](repeating: 65, count: 20_000 / 10))
                try await Task.sleep(for: .milliseconds(20))
            }
            #expect(!isOpen)
        }
    }

    /// Pages of megabytes, read in two seconds and more.
    @Test func aSlowReader() async throws {
        try await GatewayHarness.run(Self.options) { gateway in
            let value = [UInt8](repeating: 9, count: 1 << 20)
            gateway.service.fill(Dictionary(uniqueKeysWithValues: (0..<3).map { ([UInt8($0)], value) }))
            let client = gateway.client(receiveBuffer: 65_536)
            for _ in 0..<3 { client.send("GET /kv/range HTTP/1.1\r\nHost: x\r\n\r\n") }
            for _ in 0..<3 {
                let answer = await client.slowResponse(pause: .milliseconds(15))
                #expect((answer?.json["items"] as? [Any])?.count == 3)
            }
            // The last one, behind which the connection closes.
            client.send("GET /kv/range HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            let last = await client.slowResponse(pause: .milliseconds(30))
            #expect((last?.json["items"] as? [Any])?.count == 3)
            #expect(client.seesEnd())
        }
    }
}
