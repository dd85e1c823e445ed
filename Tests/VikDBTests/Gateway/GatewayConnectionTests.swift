import Foundation
import NIOCore
import Testing
import VikDB
import VikWire

/// How many connections there are, and for whom the last ones are kept.
@Suite struct GatewayConnectionTests {
    private static func options(_ maxConnections: Int) -> GatewayOptions {
        var options = GatewayOptions()
        options.maxConnections = maxConnections
        options.reservedHeadTimeout = .milliseconds(200)
        return options
    }

    private static let kept = 64 - 64 / 4

    @Test func connectionCap() async throws {
        try await GatewayHarness.run(Self.options(3)) { gateway in
            var clients = (0..<3).map { _ in gateway.client() }
            for client in clients { #expect(client.request("GET", "/kv/a2V5")?.status == 404) }
            let refused = gateway.client()
            let answer = try #require(refused.request("PUT", "/kv/a2V5", #"{"value":""}"#))
            #expect(answer.status == 503)
            #expect(answer.headers["retry-after"] == "1" && answer.headers["connection"] == "close")
            #expect(answer.error.contains("(3, -max-connections)"), "\(answer.text)")
            #expect(answer.outcome == "not_applied")
            #expect(refused.seesEnd())
            // One that says nothing is told so too, and soon.
            let silent = gateway.client()
            #expect(silent.response()?.status == 503)
            #expect(silent.seesEnd())
            clients.removeLast()
            let getsThrough = await GatewayHarness.eventually {
                gateway.client().request("GET", "/kv/a2V5")?.status == 404
            }
            #expect(getsThrough)
            // Hundreds at once: each is answered or closed, none hangs.
            let crowd = (0..<200).map { _ in gateway.client() }
            for client in crowd { #expect([503, 404, nil].contains(client.request("GET", "/kv/a2V5")?.status)) }
            #expect(gateway.service.writes == 0)
        }
    }

    /// All connections are taken: what watches the node, and its operators, get through, one request each.
    @Test(arguments: [1, 3]) func theReserve(threads: Int) async throws {
        try await GatewayHarness.run(Self.options(5), threads: threads) { gateway in
            // On both listeners together.
            let idle =
                (0..<3).map { _ in gateway.client() } + (0..<2).map { _ in TestClient(port: gateway.admin.port) }
            for client in idle { #expect(client.request("GET", "/kv/a2V5")?.status == 404) }
            for target in ["/livez", "/readyz", "/metrics", "/health"] {
                let client = gateway.client()
                let answer = try #require(client.request("GET", target))
                #expect(answer.status == 200 && answer.headers["connection"] == "close", "\(target)")
                #expect(client.seesEnd())
            }
            for target in ["/kv/a2V5", "/cluster/status", "/kv/range", "/nothing"] {
                let status = gateway.client().request("GET", target)?.status
                #expect(status == (target == "/nothing" ? 404 : 503), "\(target)")
            }
            let operate = TestClient(port: gateway.admin.port)
            #expect(operate.request("POST", "/cluster/leader")?.status == 200)
            #expect(operate.seesEnd())
            #expect(gateway.service.wishes == [.handOver(to: nil)])
            extendLifetime(idle)
        }
    }

    /// A crowd that says nothing gets a part of the reserve alone, and not for long.
    @Test(arguments: [false, true]) func aCrowdInTheReserve(isPatient: Bool) async throws {
        var options = Self.options(5)
        if isPatient { options.reservedHeadTimeout = .seconds(20) }
        try await GatewayHarness.run(options) { gateway in
            let crowd = (0..<5 + Self.kept).map { _ in gateway.client() }
            let late = TestClient(port: gateway.admin.port)
            #expect(late.request("GET", "/kv/a2V5")?.status == 404)
            if isPatient {
                #expect(gateway.client().request("GET", "/livez") == nil)
            } else {
                let getsThrough = await GatewayHarness.eventually {
                    gateway.client().request("GET", "/livez")?.status == 200
                }
                #expect(getsThrough)
            }
            extendLifetime(crowd)
        }
    }

    /// The budget belongs to all threads together: where connections happen to land does not matter.
    @Test func oneBudgetForAllThreads() async throws {
        try await GatewayHarness.run(Self.options(40), threads: 4) { gateway in
            var random = GatewayRandom()
            var clients: [TestClient] = []
            for _ in 0..<6 {
                while clients.count < 40 {
                    let port = Bool.random(using: &random) ? gateway.port : gateway.admin.port
                    let client = TestClient(port: port)
                    // A place is free as soon as the node has seen its client go.
                    let answer = client.request("GET", "/kv/a2V5")
                    if let answer, answer.status == 404, answer.headers["connection"] == nil { clients.append(client) }
                }
                for client in clients { #expect(client.request("GET", "/kv/a2V5")?.status == 404) }
                #expect(gateway.client().request("GET", "/kv/a2V5")?.status == 503)
                clients.shuffle(using: &random)
                clients.removeLast(Int.random(in: 1...40, using: &random))
            }
        }
    }

    @Test func budget() {
        #expect(ConnectionBudget.reserve(for: 1) == 64)
        #expect(ConnectionBudget.reserve(for: 1_024) == 64)
        #expect(ConnectionBudget.reserve(for: 10_000) == 625)
    }
}
