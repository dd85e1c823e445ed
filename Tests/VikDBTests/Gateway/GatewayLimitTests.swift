import Foundation
import Testing
import VikDB
import VikWire

/// Sizes: what just fits, and what is one too large.
@Suite struct GatewayLimitTests {
    /// Each legal key gets through in every legal spelling, the longest one with each character percent-encoded.
    @Test func largestKey() async throws {
        try await GatewayHarness.run { gateway in
            let client = gateway.client()
            let key = [UInt8](repeating: 0xFF, count: 4_096)
            let text = base64(key)
            let encoded = text.utf8.map { "%" + String($0, radix: 16) }.joined()
            for path in [text.replacingOccurrences(of: "/", with: "_"), encoded] {
                let put = client.request("PUT", "/kv/\(path)", #"{"value":""}"#)
                #expect(put?.status == 200, "\(put?.text ?? "closed")")
                #expect(gateway.service.contents[key]?.bytes == [])
                gateway.service.fill([:])
            }
            let bytes = key.map { "%" + String($0, radix: 16) }.joined()
            #expect(client.request("GET", "/kv/range?start=\(bytes)&end=\(bytes)&limit=10000")?.status == 200)
            #expect(client.request("GET", "/kv/range?start=\(encoded)&end=\(encoded)&encoding=base64")?.status == 200)
        }
    }

    @Test func tooLarge() async throws {
        var options = GatewayOptions()
        options.limits.maxKeyBytes = 10
        options.limits.maxValueBytes = 100
        options.limits.maxBatchPairs = 3
        options.limits.maxBatchBytes = 200
        try await GatewayHarness.run(options) { gateway in
            let client = gateway.client()
            let key = base64([UInt8](repeating: 7, count: 11))
            let longest = base64([UInt8](repeating: 7, count: 4_097))
            let value = base64([UInt8](repeating: 7, count: 101))
            let large = base64([UInt8](repeating: 7, count: 96))
            let cases: [(String, String, String?, String, String)] = [
                ("PUT", "/kv/\(key)", #"{"value":""}"#, "-max-key-bytes", "10"),
                ("GET", "/kv/\(longest)", nil, "-max-key-bytes", "4096"),
                ("DELETE", "/kv/\(longest)", nil, "-max-key-bytes", "4096"),
                ("GET", "/kv/range?encoding=base64&end=\(longest)", nil, "-max-key-bytes", "4096"),
                ("POST", "/kv/range", #"{"start_key":"\#(longest)"}"#, "-max-key-bytes", "4096"),
                ("PUT", "/kv/a2V5", #"{"value":"\#(value)"}"#, "-max-value-bytes", "100"),
                ("POST", "/kv/batch", #"{"keys":["\#(key)"],"values":[""]}"#, "-max-key-bytes", "10"),
                ("POST", "/kv/batch", #"{"keys":["a2V5"],"values":["\#(value)"]}"#, "-max-value-bytes", "100"),
                ("POST", "/kv/batch", #"{"keys":["YQ==","Yg==","Yw==","ZA=="],"#, "-max-batch-pairs", "3"),
                (
                    "POST", "/kv/batch", #"{"values":["\#(large)","\#(large)"],"keys":["a2V5a2V5","a2V5"]}"#,
                    "-max-batch-bytes", "200"
                ),
            ]
            for (method, target, body, flag, limit) in cases {
                let answer = try #require(client.request(method, target, body))
                #expect(answer.status == 413, "\(answer.text)")
                #expect(answer.error.contains(flag) && answer.error.contains(limit), "\(answer.error)")
                #expect(answer.headers["connection"] == nil)
            }
            #expect(gateway.service.writes == 0)
            let fits = base64([UInt8](repeating: 7, count: 100))
            #expect(client.request("PUT", "/kv/a2V5a2V5a2U=", #"{"value":"\#(fits)"}"#)?.status == 200)
            #expect(
                client.request("POST", "/kv/batch", #"{"keys":["a2V5a2V5","a2V5"],"values":["\#(large)",""]}"#)?.status
                    == 200)
        }
    }

    /// The limits of one node bind what is written there: what was written before they were lowered, or at a node with
    /// others, is read, deleted and redirected all the same.
    @Test func limitsBindWritesAlone() async throws {
        var options = GatewayOptions()
        options.limits.maxKeyBytes = 10
        options.limits.maxValueBytes = 100
        options.limits.maxBatchPairs = 1
        options.limits.maxBatchBytes = 110
        options.limits.maxRangeLimit = 1
        try await GatewayHarness.run(options) { gateway in
            let client = gateway.client()
            var keys = [11, 100, 4_096].map { [UInt8](repeating: 0xFF, count: $0) }
            let value = [UInt8](repeating: 9, count: 1 << 20)
            gateway.service.fill(Dictionary(uniqueKeysWithValues: keys.map { ($0, value) }))
            func spelt(_ key: [UInt8]) -> String { base64(key).replacingOccurrences(of: "/", with: "%2F") }
            for key in keys {
                #expect(client.request("GET", "/kv/\(spelt(key))")?.json["value"] as? String == base64(value))
                #expect(client.request("HEAD", "/kv/\(spelt(key))")?.status == 200)
            }
            // Page by page, each as the one before said.
            for start in ["/kv/range", "/kv/range?start=%FF&end=" + String(repeating: "%FF", count: 4_096)] {
                var found = 0
                var path: String? = start
                while let target = path, found < 4 {
                    let page = try #require(client.request("GET", target))
                    #expect(page.status == 200, "\(page.text.prefix(200))")
                    found += (page.json["items"] as? [Any])?.count ?? 0
                    path = page.json["next_path"] as? String
                }
                #expect(found == (start == "/kv/range" ? 3 : 2))
            }
            for body in [#"{"start_key":"\#(base64(keys[2]))"}"#, #"{"end_key":"\#(base64(keys[2]))"}"#] {
                let escaped = body.replacingOccurrences(of: "/", with: "\\/")
                #expect(client.request("POST", "/kv/range", escaped)?.status == 200, "\(body.prefix(60))")
            }
            let put = try #require(client.request("PUT", "/kv/\(spelt(keys[0]))", #"{"value":""}"#))
            #expect(put.status == 413 && put.error.contains("10 (-max-key-bytes)"), "\(put.text)")
            #expect(put.outcome == "not_applied")
            #expect(gateway.service.writes == 0)
            // What another node takes is for that node to judge.
            gateway.service.status = ScriptedService.follower(of: "10.0.0.1:8080")
            #expect(client.request("PUT", "/kv/\(spelt(keys[0]))", #"{"value":""}"#)?.status == 307)
            gateway.service.status = ScriptedService.leader
            while let key = keys.popLast() {
                #expect(client.request("DELETE", "/kv/\(spelt(key))")?.status == 200)
                #expect(gateway.service.contents.count == keys.count)
            }
        }
    }

    /// Clients that ask for much and read nothing: the node keeps a bounded amount for them, and serves again once they
    /// are gone.
    @Test func answersThatNobodyTakes() async throws {
        var options = GatewayOptions()
        options.maxUnsentBytes = 8 << 20
        try await GatewayHarness.run(options) { gateway in
            let value = [UInt8](repeating: 7, count: 1 << 20)
            gateway.service.fill(["a", "b", "c"].reduce(into: [:]) { $0[Array($1.utf8)] = value })
            // Each takes no more than what the kernel holds for it, less than a page.
            var idle = (0..<16).map { _ in gateway.client(receiveBuffer: 4_096) }
            for client in idle { client.send("GET /kv/range HTTP/1.1\r\nHost: test\r\n\r\n") }
            let client = gateway.client()
            let isFull = await GatewayHarness.eventually { client.request("GET", "/kv/YQ==")?.status == 429 }
            #expect(isFull)
            #expect(client.request("PUT", "/kv/a2V5", #"{"value":""}"#)?.status == 200)
            idle = []
            let servesAgain = await GatewayHarness.eventually { client.request("GET", "/kv/YQ==")?.status == 200 }
            #expect(servesAgain)
        }
    }

    @Test func largestValueAndBatch() async throws {
        try await GatewayHarness.run { gateway in
            let client = gateway.client()
            let value = [UInt8](repeating: 0xFF, count: 1 << 20)
            let text = base64(value)
            let escaped = text.replacingOccurrences(of: "/", with: "\\/")
            #expect(client.request("PUT", "/kv/a2V5", #"{"value":"\#(text)"}"#)?.status == 200)
            #expect(gateway.service.contents[Array("key".utf8)]?.bytes.count == 1 << 20)
            #expect(client.request("PUT", "/kv/a2V5", #"{"value":"\#(escaped)"}"#)?.status == 200)
            #expect(client.request("GET", "/kv/a2V5")?.json["value"] as? String == text)
            let tooLong = base64([UInt8](repeating: 0xFF, count: 1 << 20 + 1))
            let refused = try #require(client.request("PUT", "/kv/a2V5", #"{"value":"\#(tooLong)"}"#))
            #expect(refused.status == 413)
            #expect(refused.error.contains("1048576 (-max-value-bytes)"))
            // 8 MiB of keys and values in 1,000 pairs.
            let part = base64([UInt8](repeating: 0xFF, count: (8 << 20) / 1_000 - 3))
            let keys = (0..<1_000).map { "\"" + base64([UInt8($0 >> 8), UInt8($0 & 255), 0]) + "\"" }
            let values = keys.map { _ in "\"\(part)\"" }
            let batch = #"{"keys":[\#(keys.joined(separator: ","))],"values":[\#(values.joined(separator: ","))]}"#
            let answer = try #require(client.request("POST", "/kv/batch", batch))
            #expect(answer.json["count"] as? Int == 1_000, "\(answer.text)")
            let items = String(repeating: "\"YQ==\",", count: 1_000_000)
            let many = try #require(client.request("POST", "/kv/batch", #"{"keys":[\#(items)"#))
            #expect(many.status == 413)
            #expect(many.error.contains("1000 (-max-batch-pairs)"))
        }
    }

    /// The 413 is readable although the client sends all of its body first; then the connection closes.
    @Test(arguments: [true, false]) func drainsAnOversizedBody(isChunked: Bool) async throws {
        try await GatewayHarness.run { gateway in
            let client = gateway.client()
            let body = [UInt8](repeating: UInt8(ascii: "A"), count: 16 << 20)
            let framing =
                isChunked
                ? "Transfer-Encoding: chunked\r\n\r\n\(String(body.count, radix: 16))\r\n"
                : "Content-Length: \(body.count)\r\n\r\n"
            client.send("PUT /kv/a2V5 HTTP/1.1\r\nHost: x\r\n" + framing)
            #expect(client.send(body))
            client.closeOutput()
            let answer = try #require(client.response())
            #expect(answer.status == 413)
            #expect(answer.headers["connection"] == "close")
            #expect(answer.error.contains("-max-value-bytes"))
            #expect(answer.outcome == "not_applied")
            #expect(client.seesEnd())
        }
    }

    /// A body that no one asked for is thrown away, and past a limit refused: before it comes, or when it gets there.
    @Test func aBodyWithoutUse() async throws {
        try await GatewayHarness.run { gateway in
            let limit = 32 << 20
            let requests: [(method: String, outcome: String?)] = [
                ("GET", nil), ("HEAD", nil), ("DELETE", "not_applied"),
            ]
            for (method, outcome) in requests {
                let client = gateway.client()
                client.send("\(method) /kv/a2V5 HTTP/1.1\r\nHost: x\r\nContent-Length: \(limit + 1)\r\n\r\n")
                let answer = try #require(client.response(toHead: method == "HEAD"), "\(method)")
                #expect(answer.status == 413)
                #expect(answer.headers["connection"] == "close")
                #expect(method == "HEAD" || answer.error.contains("more than \(limit) bytes"), "\(answer.error)")
                #expect(answer.outcome == outcome)
                client.closeOutput()
                #expect(client.seesEnd())

                let chunked = gateway.client()
                let body = [UInt8](repeating: UInt8(ascii: "A"), count: limit + (8 << 20))
                let size = String(body.count, radix: 16)
                chunked.send("\(method) /kv/a2V5 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
                chunked.send("\(size)\r\n")
                #expect(chunked.send(body))
                chunked.closeOutput()
                let late = try #require(chunked.response(toHead: method == "HEAD"), "\(method), chunked")
                #expect(late.status == 413)
                #expect(late.headers["connection"] == "close")
                #expect(late.outcome == outcome)
                #expect(chunked.seesEnd())
            }
            #expect(gateway.service.writes == 0)
            // What is just small enough harms nobody.
            let client = gateway.client()
            client.send("DELETE /kv/a2V5 HTTP/1.1\r\nHost: x\r\nContent-Length: \(limit)\r\n\r\n")
            client.send([UInt8](repeating: UInt8(ascii: "A"), count: limit))
            #expect(client.response()?.status == 200)
            #expect(client.request("GET", "/health")?.status == 200)
        }
    }

    @Test func contradictoryLimits() {
        #expect(GatewayLimits().contradiction == nil)
        var limits = GatewayLimits()
        limits.maxKeyBytes = WireLimits.maxKeyBytes + 1
        #expect(limits.contradiction?.contains("-max-key-bytes") == true)
        limits = GatewayLimits()
        limits.maxValueBytes = 0
        #expect(limits.contradiction?.contains("-max-value-bytes") == true)
    }
}
