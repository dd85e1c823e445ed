import Foundation
import Testing
import VikDB
import VikWire

/// What each request of the API is answered, request by request.
@Suite struct GatewayContractTests {
    @Test func guideExamples() async throws {
        try await GatewayHarness.run { gateway in
            let client = gateway.client()
            let put = try #require(client.request("PUT", "/kv/dGVzdC1rZXk=", #"{"value": "dGVzdC12YWx1ZQ=="}"#))
            #expect(put.status == 200)
            #expect(put.headers["content-type"] == "application/json")
            #expect(put.text == #"{"success":true,"message":"key stored successfully","version":2}"#)
            let get = try #require(client.request("GET", "/kv/dGVzdC1rZXk="))
            #expect(get.text == #"{"success":true,"value":"dGVzdC12YWx1ZQ==","version":2,"index":2}"#)
            let batch = try #require(
                client.request(
                    "POST", "/kv/batch", #"{"keys": ["a2V5MQ==", "a2V5Mg=="], "values": ["dmFsdWUx", "dmFsdWUy"]}"#))
            #expect(batch.text == #"{"success":true,"count":2,"version":3}"#)
            for name in ["key3", "key4"] {
                _ = client.request("PUT", "/kv/\(base64(name))", #"{"value": ""}"#)
            }
            let range = try #require(client.request("GET", "/kv/range?start=key2&end=key4"))
            #expect(
                range.text
                    == #"{"success":true,"items":[{"key":"a2V5Mg==","value":"dmFsdWUy"},"#
                    + #"{"key":"a2V5Mw==","value":""}],"index":5}"#)
            let posted = try #require(
                client.request("POST", "/kv/range", #"{"start_key":"a2V5Mg==","end_key":"a2V5NA=="}"#))
            #expect(posted.text == range.text)
            let delete = try #require(client.request("DELETE", "/kv/dGVzdC1rZXk="))
            #expect(delete.text == #"{"success":true,"message":"key deleted successfully","version":6}"#)
            let missing = try #require(client.request("GET", "/kv/dGVzdC1rZXk="))
            #expect(missing.status == 404)
            #expect(missing.text == #"{"success":false,"error":"key not found"}"#)
            #expect(client.request("DELETE", "/kv/dGVzdC1rZXk=")?.status == 200)
        }
    }

    @Test func healthAndClusterStatus() async throws {
        try await GatewayHarness.run { gateway in
            let client = gateway.client()
            #expect(
                client.request("GET", "/health")?.text
                    == #"{"status":"healthy","memtable_size":11,"wal_size":12,"sstable_count":13,"role":"leader"}"#)
            #expect(
                client.request("GET", "/cluster/status")?.text
                    == #"{"replication":true,"is_leader":true,"term":3,"node_id":"node1","role":"leader","#
                    + #""leader_id":"node1","leader_address":"10.0.0.1:8080","commit_index":9,"applied_index":8,"#
                    + #""last_index":10,"first_index":1,"members":[]}"#)
            gateway.service.status = ScriptedService.follower(of: nil)
            let follower = try #require(client.request("GET", "/cluster/status"))
            #expect(follower.json["is_leader"] as? Bool == false)
            #expect(follower.json["leader_id"] is NSNull)
            gateway.service.status = NodeStatus(isReplicated: false, nodeID: "", trouble: "bad\u{1}\"disk\\")
            #expect(
                client.request("GET", "/cluster/status")?.text == #"{"replication":false,"mode":"single-node"}"#)
            let health = try #require(client.request("GET", "/health"))
            #expect(health.status == 503)
            #expect(health.json["role"] as? String == "single-node")
            #expect(health.json["error"] as? String == "bad\u{1}\"disk\\")
        }
    }

    struct Case: Sendable, CustomTestStringConvertible {
        var method: String
        var target: String
        var body: String?
        var status: Int
        var mention: String

        init(_ method: String, _ target: String, _ status: Int, _ mention: String) {
            self.init(method, target, nil, status, mention)
        }

        init(_ method: String, _ target: String, _ body: String?, _ status: Int, _ mention: String) {
            self.method = method
            self.target = target
            self.body = body
            self.status = status
            self.mention = mention
        }

        var testDescription: String { "\(method) \(target.prefix(60)) \(body?.prefix(60) ?? "")" }
    }

    static let refused: [Case] = [
        Case("GET", "/", 404, "/kv/:key"),
        Case("GET", "/kv", 404, "/kv/:key"),
        Case("GET", "/kv/range/", 400, "Base64"),
        Case("GET", "/healthz", 404, "/health"),
        Case("POST", "/health", "{}", 405, "GET, HEAD"),
        Case("DELETE", "/cluster/status", 405, "GET, HEAD"),
        Case("POST", "/kv/a2V5", "{}", 405, "GET, HEAD, PUT, DELETE"),
        Case("PATCH", "/kv/a2V5", "{}", 405, "GET, HEAD, PUT, DELETE"),
        Case("OPTIONS", "/kv/a2V5", 405, "GET, HEAD, PUT, DELETE"),
        Case("PUT", "/kv/range", "{}", 405, "GET, HEAD, POST"),
        Case("GET", "/kv/batch", 405, "POST"),
        Case("GET", "/kv/", 400, "empty"),
        Case("GET", "/kv/====", 400, "Base64"),
        Case("GET", "/kv/a", 400, "length"),
        Case("GET", "/kv/a2V5MQ=", 400, "length"),
        Case("GET", "/kv/a2V5MQ===", 400, "length"),
        Case("GET", "/kv/a2V5MR==", 400, "last character"),
        Case("GET", "/kv/a2V5MR", 400, "last character"),
        Case("GET", "/kv/a2VpZ2V=", 400, "last character"),
        Case("GET", "/kv/a2V5*A==", 400, "offset 4"),
        Case("GET", "/kv/-_+_", 400, "offset"),
        Case("GET", "/kv/a2V5/a2V", 400, "%2F"),
        Case("GET", "/kv/a/b/", 400, "%2F"),
        Case("GET", "/kv/../etc", 400, "Base64"),
        Case("GET", "/kv/..%2F..", 400, "Base64"),
        Case("GET", "/kv/a2V5%", 400, "hexadecimal"),
        Case("GET", "/kv/a2V5%4", 400, "hexadecimal"),
        Case("GET", "/kv/a2V5%zz", 400, "hexadecimal"),
        Case("GET", "/kv/a2V5%00", 400, "length"),
        Case("GET", "/kv/a2V5%20AAA", 400, "offset 4"),
        Case("GET", "/kv/a2V5?consistency=strong", 400, "linearizable or stale"),
        Case("GET", "/kv/a2V5?consistency=stale&consistency=stale", 400, "twice"),
        Case("GET", "/kv/a2V5?x=1", 400, "\"x\""),
        Case("PUT", "/kv/a2V5?consistency=stale", #"{"value":""}"#, 400, "\"consistency\""),
        Case("DELETE", "/kv/a2V5?if=1", 400, "\"if\""),
        Case("GET", "/kv/range?limit=0", 400, "1 to 10000"),
        Case("GET", "/kv/range?limit=00", 400, "1 to 10000"),
        Case("GET", "/kv/range?limit=10001", 413, "10000 (-max-range-limit)"),
        Case("GET", "/kv/range?limit=-1", 400, "\"limit\""),
        Case("GET", "/kv/range?limit=+1", 400, "\"limit\""),
        Case("GET", "/kv/range?limit=1e3", 400, "\"limit\""),
        Case("GET", "/kv/range?limit=", 400, "\"limit\""),
        Case("GET", "/kv/range?limit=99999999999999999999", 413, "10000 (-max-range-limit)"),
        Case("GET", "/kv/range?limit=-99999999999999999999", 400, "\"limit\""),
        Case("GET", "/kv/range?start=a&start=b", 400, "\"start\" is given twice"),
        Case("GET", "/kv/range?st%61rt=a&start=b", 400, "\"start\" is given twice"),
        Case("GET", "/kv/range?begin=a", 400, "\"begin\""),
        Case("GET", "/kv/range?start=%", 400, "\"start\""),
        Case("GET", "/kv/range?encoding=hex", 400, "base64"),
        Case("GET", "/kv/range?encoding=base64&end=key2a", 400, "\"end\""),
        Case("GET", "/kv/range?encoding=base64&start=a2V5MR", 400, "\"start\""),
        Case("POST", "/kv/range?start=a", "{}", 400, "\"start\""),
        Case("POST", "/kv/range", #"{"start_key":"key"}"#, 400, "start_key"),
        Case("POST", "/kv/range", #"{"limit":"5"}"#, 400, "whole number"),
        Case("POST", "/kv/range", #"{"limit":05}"#, 400, "1 to 10000"),
        Case("POST", "/kv/range", #"{"limit":5.5}"#, 400, "\"}\""),
        Case("POST", "/kv/range", #"{"limit":0}"#, 400, "1 to 10000"),
        Case("POST", "/kv/range", #"{"limit":-1}"#, 400, "whole number"),
        Case("POST", "/kv/range", #"{"limit":10001}"#, 413, "10000 (-max-range-limit)"),
        Case("POST", "/kv/range", #"{"limit":9999999999}"#, 413, "10000 (-max-range-limit)"),
        Case("POST", "/kv/range", #"{"limit":99999999999999999999}"#, 413, "10000 (-max-range-limit)"),
        Case("PUT", "/kv/a2V5", "", 400, "empty"),
        Case("PUT", "/kv/a2V5", "{}", 400, "\"value\" is missing"),
        Case("PUT", "/kv/a2V5", "[]", 400, "\"{\""),
        Case("PUT", "/kv/a2V5", "null", 400, "\"{\""),
        Case("PUT", "/kv/a2V5", "\u{FEFF}{}", 400, "\"{\""),
        Case("PUT", "/kv/a2V5", #"{"value""#, 400, "\":\""),
        Case("PUT", "/kv/a2V5", #"{"value":"YQ=="#, 400, "end of a string"),
        Case("PUT", "/kv/a2V5", #"{"value":"YQ==\"#, 400, "end of a string"),
        Case("PUT", "/kv/a2V5", #"{"value":"YQ=="} x"#, 400, "nothing after"),
        Case("PUT", "/kv/a2V5", #"{"value":"YQ==",}"#, 400, "a string"),
        Case("PUT", "/kv/a2V5", #"{"value":"YQ==","value":"YQ=="}"#, 400, "twice"),
        Case("PUT", "/kv/a2V5", #"{"vlaue":"YQ=="}"#, 400, "\"vlaue\""),
        Case("PUT", "/kv/a2V5", #"{value:"YQ=="}"#, 400, "a string"),
        Case("PUT", "/kv/a2V5", #"{1:"YQ=="}"#, 400, "a string"),
        Case("PUT", "/kv/a2V5", #"{"value":7}"#, 400, "a string"),
        Case("PUT", "/kv/a2V5", #"{"value":null}"#, 400, "a string"),
        Case("PUT", "/kv/a2V5", #"{"value":["YQ=="]}"#, 400, "a string"),
        Case("PUT", "/kv/a2V5", #"{"value":"YQ"}"#, 400, "\"value\" is not standard Base64"),
        Case("PUT", "/kv/a2V5", #"{"value":"YQ= ="}"#, 400, "\"value\""),
        Case("PUT", "/kv/a2V5", #"{"value":"YR=="}"#, 400, "last character"),
        Case("PUT", "/kv/a2V5", #"{"value":"-_-_"}"#, 400, "offset 0"),
        Case("PUT", "/kv/a2V5", #"{"value":"\ud800AAA"}"#, 400, "surrogate"),
        Case("PUT", "/kv/a2V5", #"{"value":"\udc00AAA"}"#, 400, "surrogate"),
        Case("PUT", "/kv/a2V5", #"{"value":"\ud83d\u0041AA"}"#, 400, "surrogate"),
        Case("PUT", "/kv/a2V5", #"{"value":"\ud83d\n"}"#, 400, "surrogate"),
        Case("PUT", "/kv/a2V5", #"{"value":"\ud83d\ude00"}"#, 400, "Base64"),
        Case("PUT", "/kv/a2V5", #"{"value":"\u00e4"}"#, 400, "Base64"),
        Case("PUT", "/kv/a2V5", #"{"value":"\u12G4"}"#, 400, "hexadecimal"),
        Case("PUT", "/kv/a2V5", #"{"value":"\u12"}"#, 400, "hexadecimal"),
        Case("PUT", "/kv/a2V5", #"{"v\u00e4lue":"YQ=="}"#, 400, "välue"),
        Case("PUT", "/kv/a2V5", #"{"value":"\x41AAA"}"#, 400, "escape"),
        Case("PUT", "/kv/a2V5", "{\"value\":\"YWFh\n\"}", 400, "Base64"),
        Case("PUT", "/kv/a2V5", #"{"value":"äöüß"}"#, 400, "Base64"),
        Case("PUT", "/kv/a2V5", #"{"value":"# + String(repeating: "[", count: 100_000), 400, "a string"),
        Case("PUT", "/kv/a2V5", String(repeating: #"{"value":"#, count: 10_000), 400, "a string"),
        Case("POST", "/kv/batch", #"{"keys":[],"values":[]}"#, 400, "\"keys\" is empty"),
        Case("POST", "/kv/batch", #"{"keys":["YQ=="]}"#, 400, "\"values\" is missing"),
        Case("POST", "/kv/batch", #"{"values":["YQ=="]}"#, 400, "\"keys\" is missing"),
        Case("POST", "/kv/batch", #"{"keys":["YQ==","Yg=="],"values":["YQ=="]}"#, 400, "2 elements"),
        Case("POST", "/kv/batch", #"{"keys":["YQ==",""],"values":["",""]}"#, 400, "\"keys\"[1] is empty"),
        Case("POST", "/kv/batch", #"{"keys":["YQ=="],"values":["","x"]}"#, 400, "\"values\"[1]"),
        Case("POST", "/kv/batch", #"{"keys":[1],"values":[""]}"#, 400, "a string"),
        Case("POST", "/kv/batch", #"{"keys":["YQ==",],"values":[""]}"#, 400, "a string"),
        Case("POST", "/kv/batch", #"{"keys":"YQ==","values":[""]}"#, 400, "\"[\""),
    ]

    /// A bad request is told what is wrong, changes nothing, and keeps its connection.
    @Test func refusals() async throws {
        try await GatewayHarness.run { gateway in
            let client = gateway.client()
            for refused in Self.refused {
                let answer = try #require(
                    client.request(refused.method, refused.target, refused.body), "\(refused.testDescription)")
                #expect(answer.status == refused.status, "\(refused.testDescription): \(answer.text)")
                #expect(answer.json["success"] as? Bool == false, "\(refused.testDescription)")
                #expect(answer.error.contains(refused.mention), "\(refused.testDescription): \(answer.error)")
                if refused.status == 405 { #expect(answer.headers["allow"] == refused.mention) }
            }
            #expect(gateway.service.writes == 0)
        }
    }

    /// Each answer says when it was made, and that it must not be kept.
    @Test func dateAndCaching() async throws {
        try await GatewayHarness.run { gateway in
            let client = gateway.client()
            let parser = DateFormatter()
            parser.locale = Locale(identifier: "en_US_POSIX")
            parser.timeZone = TimeZone(identifier: "UTC")
            parser.dateFormat = "EEE, dd MMM yyyy HH:mm:ss 'GMT'"
            for (method, target) in [
                ("GET", "/health"), ("GET", "/metrics"), ("HEAD", "/kv/a2V5"), ("DELETE", "/kv/a2V5"), ("PUT", "/x"),
            ] {
                let answer = try #require(client.request(method, target))
                #expect(answer.headers["cache-control"] == "no-cache", "\(target)")
                let text = try #require(answer.headers["date"], "\(target)")
                let date = try #require(parser.date(from: text), "\(text)")
                #expect(text.utf8.count == 29 && parser.string(from: date) == text)
                // On a busy machine the answer may be some seconds old.
                #expect((-10...2).contains(date.timeIntervalSinceNow), "\(text)")
            }
        }
    }

    static let keys: [(target: String, key: [UInt8])] = [
        ("bXkta2V5", Array("my-key".utf8)),
        ("dGVzdC1rZXk=", Array("test-key".utf8)),
        ("dGVzdC1rZXk", Array("test-key".utf8)),
        ("dGVzdC1rZXk%3D", Array("test-key".utf8)),
        ("%64GVzdC1rZXk%3d", Array("test-key".utf8)),
        ("-_-_", [0xFB, 0xFF, 0xBF]),
        ("+%2f+%2F", [0xFB, 0xFF, 0xBF]),
        ("%2B%2F%2B%2F", [0xFB, 0xFF, 0xBF]),
        ("AA==", [0]),
        ("Li4=", Array("..".utf8)),
        ("cmFuZ2U", Array("range".utf8)),
    ]

    @Test func keysInThePath() async throws {
        try await GatewayHarness.run { gateway in
            let client = gateway.client()
            for (target, key) in Self.keys {
                for form in ["/kv/", "http://elsewhere:1/kv/", "HTTP://x/kv/"] {
                    let put = client.request("PUT", form + target, #"{"value":"YWJj"}"#)
                    #expect(put?.status == 200, "\(form + target): \(put?.text ?? "")")
                    #expect(gateway.service.contents[key]?.bytes == Array("abc".utf8), "\(target)")
                    gateway.service.fill([:])
                }
            }
        }
    }

    @Test func bodiesThatAreFine() async throws {
        try await GatewayHarness.run { gateway in
            let client = gateway.client()
            let bodies = [
                #"{"value":"YWJj"}"#, " {\t\"value\" :\r\n \"YWJj\" } ", #"{"value":"\u0059WJj"}"#,
                #"{"\u0076alue":"YWJj"}"#,
            ]
            for body in bodies {
                for type in ["application/json", "Application/JSON; charset=utf-8", "application/json ;x=y", nil] {
                    let put = client.request("PUT", "/kv/a2V5", body, contentType: type)
                    #expect(put?.status == 200, "\(body) \(type ?? "none"): \(put?.text ?? "")")
                    #expect(gateway.service.contents[Array("key".utf8)]?.bytes == Array("abc".utf8))
                    gateway.service.fill([:])
                }
            }
            #expect(client.request("PUT", "/kv/a2V5", #"{"value":"\/\/\/\/"}"#)?.status == 200)
            #expect(gateway.service.contents[Array("key".utf8)]?.bytes == [0xFF, 0xFF, 0xFF])
            for type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
                let put = try #require(client.request("PUT", "/kv/a2V5", bodies[0], contentType: type))
                #expect(put.status == 415, "\(type)")
                #expect(put.error.contains("application/json"))
                #expect(put.outcome == "not_applied")
            }
            let coded = client.request("PUT", "/kv/a2V5", bodies[0], headers: ["Content-Encoding: gzip"])
            #expect(coded?.status == 415)
            // The last of a repeated key wins, and a batch is one command.
            let batch = client.request("POST", "/kv/batch", #"{"values":["YQ==","Yg=="],"keys":["azE=","azE="]}"#)
            #expect(batch?.json["count"] as? Int == 2)
            #expect(gateway.service.contents[Array("k1".utf8)]?.bytes == Array("b".utf8))
        }
    }

    @Test func randomValuesComeBack() async throws {
        var random = GatewayRandom()
        try await GatewayHarness.run { gateway in
            let client = gateway.client()
            for round in 0..<300 {
                let key = (0..<Int.random(in: 1...40, using: &random)).map { _ in
                    UInt8.random(in: 0...255, using: &random)
                }
                let value = (0..<Int.random(in: 0...3_000, using: &random)).map { _ in
                    UInt8.random(in: 0...255, using: &random)
                }
                let standard = base64(key)
                let path =
                    round % 2 == 0
                    ? standard.replacingOccurrences(of: "/", with: "%2F")
                    : standard.replacingOccurrences(of: "/", with: "_").replacingOccurrences(of: "+", with: "-")
                let put = client.request("PUT", "/kv/\(path)", #"{"value":"\#(base64(value))"}"#)
                #expect(put?.status == 200, "\(path)")
                #expect(gateway.service.contents[key]?.bytes == value)
                let get = client.request("GET", "/kv/\(path)")
                #expect(get?.json["value"] as? String == base64(value))
            }
        }
    }

    @Test func consistency() async throws {
        var options = GatewayOptions()
        options.readConsistency = .stale
        try await GatewayHarness.run(options) { gateway in
            let client = gateway.client()
            for target in [
                "/kv/a2V5", "/kv/a2V5?consistency=linearizable", "/kv/a2V5?consistency=stale",
                "/kv/range?consistency=linearizable",
            ] {
                #expect([200, 404].contains(client.request("GET", target)?.status))
            }
            #expect(client.request("POST", "/kv/range?consistency=linearizable", "{}")?.status == 200)
            #expect(
                gateway.service.consistencies == [.stale, .linearizable, .stale, .linearizable, .linearizable])
        }
    }

    static let outcomes: [(Reply.Outcome, isWrite: Bool, status: Int, outcome: String?, retry: Bool, mention: String)] =
        [
            (.notApplied(.overloaded), true, 429, "not_applied", true, "try again"),
            (.notApplied(.noQuorum), true, 503, "not_applied", true, "majority"),
            (.notApplied(.notReady("joining")), true, 503, "not_applied", true, "joining"),
            (.notApplied(.diskFull), true, 507, "not_applied", false, "disk"),
            (.notApplied(.failed("log 7 is corrupt")), true, 503, "not_applied", false, "log 7 is corrupt"),
            (.notApplied(.notLeader(leader: nil)), true, 503, "not_applied", true, "no leader is known"),
            (.notApplied(.notLeader(leader: "h:1")), true, 307, "not_applied", false, "redirecting to leader"),
            (.unknown(.leadershipLost), true, 503, "unknown", false, "may still take effect"),
            (.unknown(.timedOut), true, 503, "unknown", false, "may still take effect"),
            (.unknown(.stopping), true, 503, "unknown", false, "may still take effect"),
            (.notAnswered(.noQuorum), false, 503, nil, true, "consistency=stale"),
            (.notAnswered(.notLeader(leader: nil)), false, 503, nil, true, "consistency=stale"),
            (
                .notAnswered(.behind), false, 503, nil, true,
                "this node is behind: it has not yet applied what this read must see, and the read waited as long as "
                    + "it may; consistency=stale reads what this node has"
            ),
            (.notAnswered(.overloaded), false, 429, nil, true, "try again"),
            (.notAnswered(.notReady("installing a snapshot")), false, 503, nil, true, "installing a snapshot"),
            (.notAnswered(.failed("table 3 is corrupt")), false, 503, nil, false, "table 3"),
        ]

    @Test func refusalsOfTheNode() async throws {
        try await GatewayHarness.run { gateway in
            let client = gateway.client()
            for (dictated, isWrite, status, outcome, retry, mention) in Self.outcomes {
                gateway.service.dictated = dictated
                let answers =
                    isWrite
                    ? [
                        client.request("PUT", "/kv/a2V5", #"{"value":""}"#), client.request("DELETE", "/kv/a2V5"),
                        client.request("POST", "/kv/batch", #"{"keys":["YQ=="],"values":[""]}"#),
                    ]
                    : [
                        client.request("GET", "/kv/a2V5"), client.request("GET", "/kv/range"),
                        client.request("POST", "/kv/range", "{}"),
                    ]
                for answer in answers {
                    let answer = try #require(answer)
                    #expect(answer.status == status, "\(dictated)")
                    #expect(answer.outcome == outcome, "\(dictated)")
                    #expect((answer.headers["retry-after"] != nil) == retry, "\(dictated)")
                    #expect(answer.error.contains(mention), "\(answer.error)")
                    #expect((answer.headers["location"] != nil) == (status == 307))
                }
            }
        }
    }

    @Test func redirects() async throws {
        try await GatewayHarness.run(announcedAs: "127.0.0.1:7000") { gateway in
            let client = gateway.client()
            gateway.service.status = ScriptedService.follower(of: "10.0.0.1:8080")
            let put = try #require(
                client.request("PUT", "/kv/a%2Bb_?", #"{"value": "bXktdmFsdWU="}"#, headers: ["X: evil"]))
            #expect(put.status == 400)
            for (method, target) in [
                ("PUT", "/kv/bXkta2V5"), ("DELETE", "/kv/%62Xkta2V5?"), ("POST", "/kv/batch"),
                ("PUT", "http://evil.example/kv/bXkta2V5"),
            ] {
                let answer = try #require(client.request(method, target, "not even JSON", contentType: "text/plain"))
                #expect(answer.status == 307)
                let path = target.replacingOccurrences(of: "http://evil.example", with: "")
                #expect(answer.headers["location"] == "http://10.0.0.1:8080" + path)
                #expect(answer.error == "not the leader, redirecting to leader")
                #expect(answer.outcome == "not_applied")
            }
            // Reads are answered here.
            #expect(client.request("GET", "/kv/bXkta2V5")?.status == 404)
            #expect(client.request("POST", "/kv/range", "{}")?.status == 200)
            // An address that is this node's own, or none, or not an address, is not a leader's.
            let useless = [
                "127.0.0.1:7000", "", "host", "host:", "host:0", "host:65536", "host:80x", ":80", "ho st:80",
                "host\r\nX: y:80", "a@b:80", "host/path:80", "[::1:80", "::1:80", "[]:80", "[x::]:80", "höst:80",
                String(repeating: "h", count: 300) + ":80",
            ]
            for address in useless {
                gateway.service.status = ScriptedService.follower(of: address)
                let answer = try #require(client.request("DELETE", "/kv/bXkta2V5"))
                #expect(answer.status == 503, "\(address)")
                #expect(answer.headers["location"] == nil)
                // It helps to start a node with another flag, not to try again.
                #expect(answer.headers["retry-after"] == nil)
                #expect(answer.error.contains("node1") && answer.error.contains("\"\(address)\""), "\(answer.error)")
                #expect(answer.error.contains("-advertise-addr"))
                #expect(answer.outcome == "not_applied")
            }
            for address in ["[::1]:80", "a-b_c.example:65535", "1.2.3.4:1"] {
                gateway.service.status = ScriptedService.follower(of: address)
                let answer = client.request("DELETE", "/kv/bXkta2V5")
                #expect(answer?.headers["location"] == "http://\(address)/kv/bXkta2V5")
            }
            #expect(gateway.service.writes == 0)
            // Without a known leader the node decides, which lets a write wait a moment for one.
            gateway.service.status = ScriptedService.follower(of: nil)
            gateway.service.dictated = .notApplied(.noQuorum)
            let leaderless = try #require(client.request("DELETE", "/kv/bXkta2V5"))
            #expect(leaderless.status == 503 && leaderless.headers["retry-after"] == "1")
            #expect(leaderless.outcome == "not_applied")
            gateway.service.dictated = nil
            // A node alone takes its writes, whatever its role is called.
            gateway.service.status = NodeStatus(isReplicated: false, nodeID: "")
            #expect(client.request("DELETE", "/kv/bXkta2V5")?.status == 200)
        }
    }

    /// Members that announce each other's address, or one that leads elsewhere: a client that follows is told so instead
    /// of being sent round in a circle.
    @Test func circles() async throws {
        try await GatewayHarness.run(announcedAs: "10.0.0.9:8080") { gateway in
            let port = gateway.port
            for (leader, host, isCircle) in [
                ("127.0.0.1:\(port)", "127.0.0.1:\(port)", true), ("Node2.example:80", "node2.EXAMPLE", true),
                ("node2.example:80", "node2.example:80", true), ("[::1]:8082", "[::1]:8082", true),
                ("10.0.0.9:8080", "test", true), ("node2.example:81", "node2.example", false),
                ("node1:8080", "node2:8080", false), ("node2:8080", "", false),
            ] {
                gateway.service.status = ScriptedService.follower(of: leader)
                // As the status tells it, and as the node does after a write has waited for a leader.
                for isLate in [false, true] {
                    if isLate {
                        gateway.service.status = ScriptedService.follower(of: nil)
                        gateway.service.dictated = .notApplied(.notLeader(leader: leader))
                    }
                    let client = gateway.client()
                    client.send("DELETE /kv/a2V5 HTTP/1.1\r\nHost: \(host)\r\n\r\n")
                    let answer = try #require(client.response())
                    #expect(answer.status == (isCircle ? 503 : 307), "\(leader), \(host): \(answer.text)")
                    #expect((answer.headers["location"] == nil) == isCircle)
                    #expect(answer.outcome == "not_applied")
                    if isCircle { #expect(answer.error.contains("\"\(leader)\""), "\(answer.error)") }
                }
                gateway.service.dictated = nil
            }
            // An operator is told the same.
            gateway.service.dictated = .notAdministered(.notLeader(leader: "10.0.0.9:8080"))
            let answer = try #require(gateway.client().request("POST", "/cluster/leader"))
            #expect(answer.status == 503 && answer.error.contains("this node's own") && answer.outcome == nil)
        }
    }
}
