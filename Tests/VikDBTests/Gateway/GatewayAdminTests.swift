import Foundation
import Testing
import VikDB
import VikWire

/// Members, leader, metrics and probes over HTTP.
@Suite struct GatewayAdminTests {
    @Test func wishesReachTheNode() async throws {
        try await GatewayHarness.run { gateway in
            let client = gateway.client()
            let added = try #require(
                client.request("POST", "/cluster/members", #"{"node_id": "node4", "address": "10.0.0.4:8081"}"#))
            #expect(added.status == 200 && added.text == #"{"success":true,"version":2}"#)
            _ = client.request(
                "POST", "/cluster/members", #"{"node_id":"n\u0035","address":"[fd00::5]:8081","voter":false}"#)
            #expect(client.request("POST", "/cluster/members/node4/promote")?.status == 200)
            #expect(client.request("DELETE", "/cluster/members/a%2Fb%20c")?.status == 200)
            #expect(client.request("POST", "/cluster/leader")?.status == 200)
            #expect(client.request("POST", "/cluster/leader", #"{"node_id":"node2"}"#)?.status == 200)
            #expect(
                gateway.service.wishes == [
                    .setMember(label: "node4", address: "10.0.0.4:8081", becomesVoter: true),
                    .setMember(label: "n5", address: "[fd00::5]:8081", becomesVoter: false),
                    .promote(label: "node4"), .remove(label: "a/b c"), .handOver(to: nil), .handOver(to: "node2"),
                ])
        }
    }

    /// JSON may escape any character, and clients of other languages escape all that is not ASCII.
    @Test func escapedLabels() async throws {
        var random = GatewayRandom()
        try await GatewayHarness.run { gateway in
            let client = gateway.client()
            var labels = ["n\u{e4}", "\u{1F600}", "\u{FFFF}\u{10FFFF}\u{20}", "a\"b\\c/"]
            for _ in 0..<100 {
                var label = ""
                while label.utf8.count < Int.random(in: 1...20, using: &random) {
                    let top: UInt32 = [0x7E, 0x7FF, 0xFFFF, 0x10FFFF].randomElement(using: &random)!
                    guard let scalar = Unicode.Scalar(UInt32.random(in: 0x20...top, using: &random)) else { continue }
                    if scalar.value != 0x7F { label.unicodeScalars.append(scalar) }
                }
                labels.append(label)
            }
            for label in labels {
                let escaped = label.utf16.map { unit -> String in
                    let digits = String(unit, radix: 16, uppercase: Bool.random(using: &random))
                    return "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
                }.joined()
                let answer = client.request("POST", "/cluster/leader", #"{"node_id":"\#(escaped)"}"#)
                #expect(answer?.status == 200, "\(escaped): \(answer?.text ?? "closed")")
                #expect(gateway.service.wishes.last == .handOver(to: label), "\(escaped)")
            }
            for (escaped, mention) in [
                (#"\ud800"#, "surrogate"), (#"\udfff\ud800"#, "surrogate"), (#"\ud83d\ud83d"#, "surrogate"),
                (#"\ud83dx"#, "surrogate"), (#"\u00g0"#, "hexadecimal"), (#"\u+123"#, "hexadecimal"),
                (#"\u0000"#, "control"), (#"a\u007f"#, "control"), (#"\v"#, "escape"),
            ] {
                let answer = client.request("POST", "/cluster/leader", #"{"node_id":"\#(escaped)"}"#)
                #expect(answer?.status == 400 && answer?.error.contains(mention) == true, "\(answer?.text ?? "")")
            }
            #expect(gateway.service.wishes.count == labels.count)
        }
    }

    @Test func mergingTablesIsForOperators() async throws {
        try await GatewayHarness.run { gateway in
            let answer = try #require(gateway.client().request("POST", "/maintenance/merge"))
            #expect(answer.status == 200 && answer.text == #"{"success":true,"version":2}"#)
            #expect(gateway.service.wishes == [.mergeTables])
        }
        var options = GatewayOptions()
        options.adminAccess = .nobody
        try await GatewayHarness.run(options) { gateway in
            let answer = try #require(gateway.client().request("POST", "/maintenance/merge"))
            #expect(answer.status == 403 && answer.error.contains("-admin-addr"))
            #expect(gateway.service.wishes.isEmpty)
        }
    }

    @Test func stateHashIsForOperators() async throws {
        try await GatewayHarness.run { gateway in
            let client = gateway.client()
            let answer = try #require(client.request("GET", "/cluster/state-hash?consistency=stale"))
            #expect(answer.text == #"{"success":true,"hash":"0123456789abcdef","index":1}"#)
            #expect(gateway.service.consistencies == [.stale])
        }
        var options = GatewayOptions()
        options.adminAccess = .nobody
        try await GatewayHarness.run(options) { gateway in
            let answer = try #require(gateway.client().request("GET", "/cluster/state-hash"))
            #expect(answer.status == 403 && answer.error.contains("-admin-addr"))
            #expect(gateway.service.consistencies.isEmpty)
        }
    }

    @Test(arguments: [
        ("POST", "/cluster/state-hash", "", 405), ("GET", "/cluster/state-hash?limit=1", "", 400),
        ("POST", "/cluster/members", "", 400), ("POST", "/cluster/members", #"{"node_id":"a"}"#, 400),
        ("POST", "/cluster/members", #"{"node_id":"","address":"h:1"}"#, 400),
        ("POST", "/cluster/members", #"{"node_id":"a","address":"nowhere"}"#, 400),
        ("POST", "/cluster/members", #"{"node_id":"a","address":"h:1","voter":1}"#, 400),
        ("POST", "/cluster/members", #"{"node_id":"a","address":"h:1","weight":true}"#, 400),
        ("POST", "/cluster/members", #"{"node_id":"a","address":"0.0.0.0:1"}"#, 400),
        ("POST", "/cluster/members", #"{"node_id":"a","address":"0x0:1"}"#, 400),
        ("POST", "/cluster/members", #"{"node_id":"a","address":"[::]:1"}"#, 400),
        ("POST", "/cluster/members", #"{"node_id":"a","address":"[0:0::0]:1"}"#, 400),
        ("POST", "/cluster/members", #"{"node_id":"a","address":"[::ffff:0.0.0.0]:1"}"#, 400),
        ("POST", "/cluster/members?force=1", #"{"node_id":"a","address":"h:1"}"#, 400),
        ("DELETE", "/cluster/members", "", 405), ("DELETE", "/cluster/members/", "", 400),
        ("GET", "/cluster/members/a", "", 405), ("GET", "/cluster/leader", "", 405),
        ("POST", "/cluster/members/a/demote", "", 404), ("DELETE", "/cluster/members/%ff", "", 400),
        ("GET", "/maintenance/merge", "", 405), ("POST", "/maintenance/merge?level=1", "", 400),
        ("POST", "/maintenance", "", 404), ("POST", "/metrics", "", 405), ("POST", "/cluster", "", 404),
    ])
    func malformed(_ method: String, _ path: String, _ body: String, _ status: Int) async throws {
        try await GatewayHarness.run { gateway in
            let answer = try #require(gateway.client().request(method, path, body.isEmpty ? nil : body))
            #expect(answer.status == status, "\(answer.text)")
            #expect(answer.json["success"] as? Bool == false)
            #expect(gateway.service.wishes.isEmpty)
        }
    }

    @Test(arguments: [AdminAccess.loopback, .everyone, .nobody])
    func access(_ access: AdminAccess) async throws {
        var options = GatewayOptions()
        options.adminAccess = access
        try await GatewayHarness.run(options) { gateway in
            let answer = try #require(gateway.client().request("POST", "/cluster/leader"))
            #expect(answer.status == (access == .nobody ? 403 : 200))
            #expect(gateway.client().request("GET", "/cluster/members")?.status == 200)
        }
    }

    /// Who is sent to the leader's machine is told if there is none.
    @Test func forbiddenWithoutALeader() async throws {
        var options = GatewayOptions()
        options.adminAccess = .nobody
        try await GatewayHarness.run(options) { gateway in
            let client = gateway.client()
            let known = try #require(client.request("POST", "/cluster/leader"))
            #expect(known.status == 403 && !known.error.contains("no leader"))
            gateway.service.status = ScriptedService.follower(of: nil)
            let unknown = try #require(client.request("POST", "/cluster/leader"))
            #expect(unknown.status == 403 && unknown.error.contains("this node knows no leader at the moment"))
        }
    }

    @Test func refusals() async throws {
        try await GatewayHarness.run { gateway in
            let client = gateway.client()
            func answer(_ outcome: Reply.Outcome) throws -> (status: Int, retry: String?, location: String?) {
                gateway.service.dictated = outcome
                let answer = try #require(client.request("POST", "/cluster/members/a/promote"))
                return (answer.status, answer.headers["retry-after"], answer.headers["location"])
            }
            #expect(try answer(.notAdministered(.noSuchMember("a"))).status == 404)
            #expect(try answer(.notAdministered(.impossible("why"))).status == 409)
            let busy = try answer(.notAdministered(.busy("why")))
            #expect(busy.status == 503 && busy.retry == "1")
            let elsewhere = try answer(.notAdministered(.notLeader(leader: "10.0.0.2:8080")))
            #expect(elsewhere.status == 307)
            #expect(elsewhere.location == "http://10.0.0.2:8080/cluster/members/a/promote")
            #expect(try answer(.unknown(.timedOut)).status == 503)
        }
    }

    @Test func sharedAddressesAreShown() async throws {
        try await GatewayHarness.run { gateway in
            var status = ScriptedService.leader
            status.members = ["a:2", "b:2", "a:2", nil, nil].enumerated().map { position, address in
                MemberStatus(
                    id: MemberID(rawValue: UInt64(position + 1)), label: "node\(position)", address: "h\(position):1",
                    apiAddress: address, role: .voter, isLeader: position == 0)
            }
            gateway.service.status = status
            for target in ["/cluster/members", "/cluster/status"] {
                let answer = try #require(gateway.client().request("GET", target))
                let members = try #require(answer.json["members"] as? [[String: Any]])
                #expect(members.map { $0["api_address_shared"] as? Bool } == [true, nil, true, nil, nil])
            }
        }
    }

    @Test func membersAndStatus() async throws {
        try await GatewayHarness.run { gateway in
            var status = ScriptedService.leader
            status.members = [
                MemberStatus(
                    id: MemberID(rawValue: 255), label: "node1", address: "a:1", apiAddress: "a:2", role: .voter,
                    isLeader: true),
                MemberStatus(
                    id: MemberID(rawValue: 16), label: "node\"4", address: "b:1", apiAddress: nil, role: .voterToBe,
                    isLeader: false, match: 7, lag: 3, lastContactMilliseconds: 20, snapshotPercent: 42),
            ]
            gateway.service.status = status
            #expect(
                gateway.client().request("GET", "/cluster/members")?.text
                    == #"{"success":true,"leader_id":"node1","members":[{"node_id":"node1","member_id":"ff","#
                    + #""address":"a:1","api_address":"a:2","role":"voter","leads":true},"#
                    + #"{"node_id":"node\"4","member_id":"10","address":"b:1","api_address":null,"#
                    + #""role":"learner-to-voter","leads":false,"match_index":7,"lag":3,"last_contact_ms":20,"#
                    + #""snapshot_percent":42}]}"#)
            let metrics = try #require(gateway.client().request("GET", "/metrics"))
            #expect(metrics.headers["content-type"]?.hasPrefix("text/plain; version=0.0.4") == true)
            #expect(metrics.text.contains(#"vikdb_follower_lag_entries{node_id="node\"4"} 3"#))
        }
    }

    /// Each line is a comment or `name{labels} number`, each family is announced once, buckets never decrease.
    @Test func metricsAreWellFormed() async throws {
        try await GatewayHarness.run { gateway in
            let text = try #require(gateway.client().request("GET", "/metrics")).text
            var families: Set<String> = []
            for line in text.split(separator: "\n") {
                if line.hasPrefix("# TYPE ") {
                    #expect(families.insert(String(line.split(separator: " ")[2])).inserted, "\(line)")
                } else if !line.hasPrefix("#") {
                    let sample = try #require(
                        line.wholeMatch(of: /([a-z_]+)(\{[a-z_]+="[^"]*"\})? ([0-9.e+]+)/), "\(line)")
                    let name = String(sample.1)
                    let family = ["_bucket", "_sum", "_count"].first { name.hasSuffix($0) }.map {
                        name.dropLast($0.count)
                    }
                    #expect(families.contains(name) || families.contains(String(family ?? "")), "\(line)")
                }
            }
            #expect(families.contains("vikdb_commit_latency_seconds") && families.count > 25)
        }
    }

    @Test func metricsTellOfSlowdownsAndStalls() async throws {
        var metrics = NodeMetrics()
        for pressure in [.slowdown, .slowdown, .none, .slowdown, .stall, .slowdown, .stall] as [WritePressure] {
            metrics.pressure.tick(pressure, milliseconds: 10)
        }
        try await GatewayHarness.run { [metrics] gateway in
            gateway.service.metrics = metrics
            let text = try #require(gateway.client().request("GET", "/metrics")).text
            #expect(
                text.split(separator: "\n").filter { $0.hasPrefix("vikdb_write_") } == [
                    "vikdb_write_pressure 2", "vikdb_write_slowdowns_total 2",
                    "vikdb_write_slowdown_seconds_total 0.04", "vikdb_write_stalls_total 2",
                    "vikdb_write_stall_seconds_total 0.02",
                ])
        }
    }

    @Test func metricsTellOfAmplification() async throws {
        var metrics = NodeMetrics()
        metrics.logWrittenBytes = 110
        metrics.work.appliedBytes = 100
        metrics.work.flushes = 2
        metrics.work.flushWrittenBytes = 60
        metrics.work.merges = 3
        metrics.work.mergeReadBytes = 200
        metrics.work.mergeWrittenBytes = 130
        metrics.work.moves = 4
        metrics.work.mergesByCause = [.size: 2, .tombstones: 1]
        metrics.tableBytes = [10, 0, 40, 0]
        let names = /vikdb_(applied_b|log_written|flush|merge|table_moves|write_amp|space_amp).*/
        try await GatewayHarness.run { [metrics] gateway in
            let client = gateway.client()
            func lines() throws -> [Substring] {
                let text = try #require(client.request("GET", "/metrics")).text
                return text.split(separator: "\n").filter { $0.wholeMatch(of: names) != nil }
            }
            // Nothing by nothing is no figure.
            let first = try lines()
            #expect(first.count == 12 && first.allSatisfy { $0.hasSuffix(" 0") })
            gateway.service.metrics = metrics
            let second = try lines()
            #expect(
                second == [
                    "vikdb_applied_bytes_total 100", "vikdb_log_written_bytes_total 110", "vikdb_flushes_total 2",
                    "vikdb_flush_written_bytes_total 60", "vikdb_merges_total 3",
                    #"vikdb_merges_by_cause_total{cause="size"} 2"#,
                    #"vikdb_merges_by_cause_total{cause="tombstones"} 1"#,
                    #"vikdb_merges_by_cause_total{cause="space"} 0"#,
                    #"vikdb_merges_by_cause_total{cause="request"} 0"#, "vikdb_merge_read_bytes_total 200",
                    "vikdb_merge_written_bytes_total 130", "vikdb_table_moves_total 4",
                    "vikdb_write_amplification 3.0", "vikdb_space_amplification 1.25",
                ])
        }
    }

    @Test func probes() async throws {
        try await GatewayHarness.run { gateway in
            let client = gateway.client()
            #expect(client.request("GET", "/livez")?.text == "ok running\n")
            let ready = try #require(client.request("GET", "/readyz"))
            #expect(ready.status == 200)
            #expect(ready.text == "ok running\nok member\nok leader\nok disk\nok applied\n")
            gateway.service.status = ScriptedService.follower(of: nil)
            let waiting = try #require(client.request("GET", "/readyz"))
            #expect(waiting.status == 503 && waiting.text.contains("failed leader: no leader is known\n"))
            #expect(client.request("GET", "/livez")?.status == 200)
            var stalled = ScriptedService.leader
            stalled.diskStall = "a write is out"
            stalled.applyStall = "behind"
            gateway.service.status = stalled
            let slow = try #require(client.request("GET", "/readyz"))
            #expect(slow.status == 503)
            #expect(
                slow.text
                    == "ok running\nok member\nok leader\nfailed disk: a write is out\nfailed applied: behind\n")
            #expect(client.request("GET", "/livez")?.status == 200)
            #expect(client.request("GET", "/health")?.json["error"] as? String == "a write is out")
            #expect(client.request("GET", "/cluster/status")?.json["trouble"] as? String == "a write is out")
            var full = ScriptedService.leader
            full.isDiskFull = true
            full.refusedFile = "/data/000007.sst"
            gateway.service.status = full
            let refused = try #require(client.request("GET", "/readyz"))
            #expect(refused.status == 503)
            #expect(
                refused.text.contains(
                    "failed disk: the disk is full, writes are refused: no room for /data/000007.sst\n"))
            var failed = ScriptedService.leader
            failed.failure = "the disk is gone"
            gateway.service.status = failed
            #expect(client.request("GET", "/livez")?.text == "failed running: the disk is gone\n")
        }
    }
}
