import NIOCore
import Testing
import VikDB
import VikWire

/// A node that hangs: what it published last is as old as it is, and it replies to nothing.
@Suite struct GatewaySilenceTests {
    private static func aged(_ status: NodeStatus, milliseconds: UInt64) -> NodeStatus {
        var status = status
        status.tickedAt = MonotonicClock.nanoseconds - milliseconds * 1_000_000
        status.members = [
            MemberStatus(
                id: MemberID(rawValue: 1), label: "node1", address: "a:1", apiAddress: "a:2", role: .voter,
                isLeader: true)
        ]
        return status
    }

    @Test func probesTellIt() async throws {
        try await GatewayHarness.run { gateway in
            let client = gateway.client()
            gateway.service.status = Self.aged(ScriptedService.leader, milliseconds: 10)
            #expect(client.request("GET", "/livez")?.status == 200)
            #expect(client.request("GET", "/readyz")?.status == 200)
            #expect(client.request("GET", "/health")?.status == 200)

            gateway.service.status = Self.aged(ScriptedService.leader, milliseconds: 3_000)
            #expect(client.request("GET", "/livez")?.status == 200)
            let ready = try #require(client.request("GET", "/readyz"))
            #expect(ready.status == 503 && ready.text.hasPrefix("failed running: the node hangs"), "\(ready.text)")
            let health = try #require(client.request("GET", "/health"))
            #expect(health.status == 503 && health.json["status"] as? String == "unhealthy")
            #expect((health.json["error"] as? String)?.contains("has not run for 3 s") == true)

            gateway.service.status = Self.aged(ScriptedService.leader, milliseconds: 6_000)
            let live = try #require(client.request("GET", "/livez"))
            #expect(live.status == 503)
            #expect(live.text == "failed running: the node hangs: its loop has not run for 6 s\n")
        }
    }

    @Test func nobodyIsToldWhoLeads() async throws {
        try await GatewayHarness.run { gateway in
            let client = gateway.client()
            gateway.service.status = Self.aged(ScriptedService.leader, milliseconds: 0)
            let fresh = try #require(client.request("GET", "/cluster/status")).json
            #expect(fresh["is_leader"] as? Bool == true && fresh["stale"] == nil)
            gateway.service.status = Self.aged(ScriptedService.leader, milliseconds: 3_000)
            let stale = try #require(client.request("GET", "/cluster/status"))
            #expect(stale.status == 200 && stale.json["is_leader"] as? Bool == false)
            #expect(stale.json["stale"] as? Bool == true && stale.json["role"] as? String == "unknown")
            #expect(stale.text.contains(#""leader_id":null,"leader_address":null"#))
            let members = try #require(client.request("GET", "/cluster/members")).text
            #expect(members.contains(#""leader_id":null"#) && members.contains(#""leads":false"#))
            let metrics = try #require(client.request("GET", "/metrics")).text
            #expect(metrics.contains("\nvikdb_is_leader 0\n") && metrics.contains("\nvikdb_has_leader 0\n"))
            #expect(metrics.contains(/\nvikdb_loop_silence_seconds 3\.\d+\n/))
        }
    }

    /// Neither sent to a leader of long ago, nor handed to a node that hangs.
    @Test(arguments: [ScriptedService.leader, ScriptedService.follower(of: "10.0.0.7:8080")])
    func noWriteIsTakenOrRedirected(status: NodeStatus) async throws {
        try await GatewayHarness.run { gateway in
            let client = gateway.client()
            gateway.service.status = Self.aged(status, milliseconds: 3_000)
            let put = try #require(client.request("PUT", "/kv/a2V5", #"{"value":"eA=="}"#))
            #expect(put.status == 503 && put.outcome == "not_applied" && put.headers["retry-after"] == "1")
            #expect(put.headers["location"] == nil && put.error.contains("has not run for 3 s"))
            #expect(gateway.service.writes == 0)
            gateway.service.status = Self.aged(status, milliseconds: 100)
            let again = try #require(client.request("PUT", "/kv/a2V5", #"{"value":"eA=="}"#))
            #expect(again.status == (status.role == .leader ? 200 : 307))
        }
    }

    /// A request has a limit of its own, and a reply after it reaches nobody.
    @Test func aRequestWithoutAReplyIsAnswered() async throws {
        var options = GatewayOptions()
        options.answerTimeout = .milliseconds(300)
        try await GatewayHarness.run(options) { gateway in
            gateway.service.hold()
            let client = gateway.client()
            let put = try #require(client.request("PUT", "/kv/a2V5", #"{"value":"eA=="}"#))
            #expect(put.status == 503 && put.outcome == "unknown" && put.headers["retry-after"] == nil)
            let get = try #require(client.request("GET", "/kv/a2V5"))
            #expect(get.status == 503 && get.outcome == nil && get.headers["retry-after"] == "1")
            let change = try #require(client.request("POST", "/cluster/leader"))
            #expect(change.status == 503 && change.outcome == "unknown", "\(change.text)")

            // The next request of the same connection gets its own answer, not a late one.
            gateway.service.dictated = .notAnswered(.overloaded)
            client.send("GET /kv/a2V5 HTTP/1.1\r\nHost: x\r\n\r\n")
            #expect(await GatewayHarness.eventually { gateway.service.heldCount == 4 })
            gateway.service.release()
            // The limit again, where the machine is too busy; but never a value.
            #expect([429, 503].contains(client.response()?.status))
            gateway.service.dictated = nil
            #expect(client.request("GET", "/kv/a2V5")?.status == 200, "the write took effect all the same")
        }
    }

    /// What reads everything may take longer.
    @Test func hashingTheStateHasMoreTime() async throws {
        var options = GatewayOptions()
        options.answerTimeout = .milliseconds(100)
        try await GatewayHarness.run(options) { gateway in
            gateway.service.hold()
            let client = gateway.client()
            client.send("GET /cluster/state-hash HTTP/1.1\r\nHost: x\r\n\r\n")
            #expect(await GatewayHarness.eventually { gateway.service.heldCount == 1 })
            // A get that comes later is given up earlier.
            #expect(gateway.client().request("GET", "/kv/a2V5")?.status == 503)
            gateway.service.release()
            #expect(client.response()?.status == 200)
        }
    }
}
