import Foundation
import Testing
import VikDB
import VikWire

/// Ranges: pages that follow each other, and bounds that are bytes.
@Suite struct GatewayRangeTests {
    /// Following `next_path` gives each key exactly once, in order.
    @Test func pages() async throws {
        var random = GatewayRandom()
        var pairs: [[UInt8]: [UInt8]] = [:]
        for _ in 0..<2_500 {
            let key = (0..<Int.random(in: 1...6, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
            pairs[key] = key
        }
        let sorted = pairs.keys.sorted { $0.lexicographicallyPrecedes($1) }.map { base64($0) }
        try await GatewayHarness.run { gateway in
            gateway.service.fill(pairs)
            let client = gateway.client()
            for start in ["/kv/range", "/kv/range?limit=7&consistency=stale", "/kv/range?limit=10000&end="] {
                var keys: [String] = []
                var path: String? = start
                var pageCount = 0
                while let target = path {
                    let page = try #require(client.request("GET", target))
                    #expect(page.status == 200, "\(target): \(page.text.prefix(200))")
                    let items = try #require(page.json["items"] as? [[String: String]])
                    keys += items.compactMap { $0["key"] }
                    #expect(items.allSatisfy { $0["key"] == $0["value"] })
                    path = page.json["next_path"] as? String
                    #expect((page.json["more"] as? Bool ?? false) == (path != nil))
                    if let path {
                        #expect(path.contains("encoding=base64"))
                        let limits = start.contains("limit=7") && !path.contains("limit=7&consistency=stale")
                        #expect(!limits, "\(path)")
                        let next = try #require(page.json["next"] as? String)
                        #expect(sorted.contains(next))
                    }
                    pageCount += 1
                }
                #expect(keys == sorted, "\(start)")
                #expect(start.contains("10000") ? pageCount == 1 : pageCount > 2)
            }
            // The same from a POST, with an end.
            let end = sorted[2_000 % sorted.count]
            let first = try #require(
                client.request("POST", "/kv/range", #"{"start_key":"","end_key":"\#(end)","limit":100}"#))
            var keys = (first.json["items"] as? [[String: String]] ?? []).compactMap { $0["key"] }
            #expect(keys.count == 100)
            var path = first.json["next_path"] as? String
            while let target = path {
                let page = try #require(client.request("GET", target))
                keys += (page.json["items"] as? [[String: String]] ?? []).compactMap { $0["key"] }
                path = page.json["next_path"] as? String
            }
            #expect(keys == Array(sorted.prefix(2_000 % sorted.count)))
        }
    }

    @Test func boundsAreBytes() async throws {
        try await GatewayHarness.run { gateway in
            let keys: [[UInt8]] = [
                [0], Array("a b".utf8), Array("a+b".utf8), Array("key2".utf8), [0xFE], [0xFF, 0x26],
            ]
            gateway.service.fill(Dictionary(uniqueKeysWithValues: keys.map { ($0, []) }))
            let client = gateway.client()
            let cases: [(String, [[UInt8]])] = [
                ("", keys), ("?", keys), ("?start=", keys), ("?start&end", keys), ("?start=&end=", keys),
                ("?&start=%00&", keys),
                ("?start=a%2Bb", Array(keys[2...])),
                ("?start=a%20b&end=a%2Bb", [keys[1]]),
                ("?start=a%2bb&end=key2", [keys[2]]),
                ("?start=key2&end=key4", [keys[3]]),
                ("?%73tart=%FE", Array(keys[4...])),
                ("?start=%FF&end=%FF%26", []),
                ("?start=%FF%26", [keys[5]]),
                ("?start=x&end=b", []),
                ("?encoding=base64&start=_yY", [keys[5]]),
                ("?start=%2FyY%3D&encoding=base64", [keys[5]]),
                ("?start=/yY=&encoding=base64", [keys[5]]),
                ("?encoding=base64&start=YStiIA", Array(keys[3...])),
                ("?encoding=base64&end=AQ", [keys[0]]),
                ("?limit=2", Array(keys[..<2])),
            ]
            for (query, expected) in cases {
                let page = try #require(client.request("GET", "/kv/range" + query))
                let found = (page.json["items"] as? [[String: String]])?.compactMap { $0["key"] }
                #expect(found == expected.map { base64($0) }, "\(query): \(page.text)")
            }
        }
    }

    /// A text that clients spell in two ways has no meaning here: forms write a space as "+", and some separate by ";".
    @Test func ambiguousBounds() async throws {
        try await GatewayHarness.run { gateway in
            let client = gateway.client()
            for (query, mention) in [
                ("?start=a+b", "%2B"), ("?end=a+b&limit=2", "%20"), ("?start=%2B+", "\"start\""), ("?end=+", "\"end\""),
                ("?encoding=&start=a+b", "base64"), ("?start=a;end=b", "%3B"), ("?start=a%3Bb;end=b", "\";\""),
                ("?start=a&end=b;", "\";\""), ("?;start=a", "\";\""), ("?limit=1;start=a", "\";\""),
                ("?encoding=base64&start=YQ;end=Yg", "\";\""), ("?consistency=stale;limit=1", "\";\""),
            ] {
                let answer = try #require(client.request("GET", "/kv/range" + query))
                #expect(answer.status == 400 && answer.error.contains(mention), "\(query): \(answer.text)")
            }
            let key = try #require(client.request("GET", "/kv/a2V5?consistency=stale;x=y"))
            #expect(key.status == 400 && key.error.contains("%3B"), "\(key.text)")
            // Spelt out they are bytes like any other, and in Base64 a plus is a digit.
            for query in ["?start=a%2Bb", "?start=a%20b&end=%3B", "?encoding=base64&start=+%2f+%2F&end=+/+/"] {
                #expect(client.request("GET", "/kv/range" + query)?.status == 200, "\(query)")
            }
        }
    }

    /// Keys that a URL must escape: the server's own paths do.
    @Test func nextPathEscapes() async throws {
        try await GatewayHarness.run { gateway in
            let keys = ["a+b", "a;b", "a b", "a&b=c", "a%2Bb", "+", ";", "/?#", "ÿ", "~>?"].map { Array($0.utf8) }
            gateway.service.fill(Dictionary(uniqueKeysWithValues: keys.map { ($0, $0) }))
            let client = gateway.client()
            var found: [String] = []
            var path: String? = "/kv/range?limit=1&start=%00&end=%FB%FF%BE"
            while let target = path, found.count <= keys.count {
                #expect(!target.contains("+") && !target.contains(";"), "\(target)")
                let page = try #require(client.request("GET", target))
                found += (page.json["items"] as? [[String: String]] ?? []).compactMap { $0["key"] }
                path = page.json["next_path"] as? String
            }
            #expect(found == keys.sorted { $0.lexicographicallyPrecedes($1) }.map { base64($0) })
        }
    }

    @Test func aPageIsBoundedInBytes() async throws {
        try await GatewayHarness.run { gateway in
            let value = [UInt8](repeating: 9, count: 1 << 20)
            gateway.service.fill(Dictionary(uniqueKeysWithValues: (0..<6).map { ([UInt8($0)], value) }))
            let page = try #require(gateway.client().request("GET", "/kv/range"))
            #expect((page.json["items"] as? [[String: String]])?.count == 3)
            #expect(page.json["next"] as? String == base64([UInt8(3)]))
        }
    }
}
