import Foundation
import NIOCore
import Testing
import VikDB
import VikWire

/// Connections that are slow, idle, too many, gone, or still there when the node stops.
@Suite struct GatewayTimeoutTests {
    static var impatient: GatewayOptions {
        var options = GatewayOptions()
        options.headerTimeout = .milliseconds(200)
        options.idleTimeout = .milliseconds(200)
        options.bodyTimeout = .milliseconds(200)
        options.writeTimeout = .milliseconds(200)
        options.lingerTimeout = .milliseconds(200)
        options.transferWindow = .milliseconds(200)
        options.reservedHeadTimeout = .milliseconds(200)
        return options
    }

    /// It goes on sending, which starts every other time anew, but no answer reaches it.
    @Test func clientThatAcknowledgesNothing() async throws {
        var options = GatewayOptions()
        options.maxRepetitions = 2
        options.acknowledgementInterval = .milliseconds(100)
        try await GatewayHarness.run(options) { gateway in
            let client = try await RawPeer.dial(gateway.port)
            let request = ByteBuffer(string: "GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            try await client.send(request)
            try await eventually("an answer") { client.received.readableBytes > 0 }
            try await client.setDeaf(true)
            for _ in 0..<30 {
                try? await client.send(request)
                try await Task.sleep(for: .milliseconds(100))
            }
            // Now it can hear that the connection is gone.
            try await client.setDeaf(false)
            try? await client.send(request)
            try await eventually("the end") { client.isClosed }
        }
    }

    @Test func slowHead() async throws {
        try await GatewayHarness.run(Self.impatient) { gateway in
            let client = gateway.client()
            var isOpen = client.send("GET /health HTTP/1.1\r\nHost: x\r\nA: ")
            // A trickle does not keep it open. Counted, because on a busy machine a sleep may take long.
            for _ in 0..<250 where isOpen {
                isOpen = client.send("A") && client.send("B")
                try await Task.sleep(for: .milliseconds(20))
            }
            #expect(!isOpen)
            let silent = gateway.client()
            #expect(silent.seesEnd())
        }
    }

    @Test func slowBody() async throws {
        try await GatewayHarness.run(Self.impatient) { gateway in
            let client = gateway.client()
            client.send("PUT /kv/a2V5 HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
            let answer = client.response()
            #expect(answer?.status == 408)
            #expect(answer?.outcome == "not_applied")
            #expect(client.seesEnd())
            let early = gateway.client()
            early.send("PUT /kv/! HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
            #expect(early.response()?.status == 400)
            #expect(early.seesEnd())
            #expect(gateway.service.writes == 0)
        }
    }

    @Test func idle() async throws {
        var options = Self.impatient
        options.idleTimeout = .seconds(1)
        try await GatewayHarness.run(options) { gateway in
            let client = gateway.client()
            let start = ContinuousClock.now
            // Each request starts the time anew.
            while ContinuousClock.now - start < .milliseconds(1_500) {
                #expect(client.request("GET", "/health")?.status == 200)
            }
            #expect(client.seesEnd())
            #expect(ContinuousClock.now - start > .milliseconds(2_400))
        }
    }

    /// The node's time is not the client's: a request that waits is not idle.
    @Test func waitingIsNotIdle() async throws {
        try await GatewayHarness.run(Self.impatient) { gateway in
            gateway.service.hold()
            let client = gateway.client()
            client.send(GatewayFramingTests.put)
            try await Task.sleep(for: .milliseconds(700))
            gateway.service.release()
            #expect(client.response()?.status == 200)
        }
    }

    @Test func slowReader() async throws {
        try await GatewayHarness.run(Self.impatient) { gateway in
            let value = [UInt8](repeating: 9, count: 1 << 20)
            gateway.service.fill(Dictionary(uniqueKeysWithValues: (0..<4).map { ([UInt8($0)], value) }))
            let client = gateway.client(receiveBuffer: 4_096)
            for _ in 0..<20 { client.send("GET /kv/range HTTP/1.1\r\nHost: x\r\n\r\n") }
            // Never reads: the server gives up, and another client is served meanwhile.
            #expect(gateway.client().request("GET", "/health")?.status == 200)
            #expect(
                await GatewayHarness.eventually {
                    !client.send("x") || !client.send("x")
                })
        }
    }

    @Test func aReplyThatComesTooLate() async throws {
        try await GatewayHarness.run { gateway in
            gateway.service.hold()
            for number in 1...20 {
                let client = gateway.client()
                client.send(GatewayFramingTests.put)
                #expect(await GatewayHarness.eventually { gateway.service.heldCount == number })
                client.resetsOnClose = true
            }
            try await Task.sleep(for: .milliseconds(50))
            // The slots are taken again; the old replies must not be taken for answers to these.
            let clients = (0..<20).map { _ in gateway.client() }
            gateway.service.dictated = .notAnswered(.overloaded)
            for client in clients { client.send("GET /kv/a2V5 HTTP/1.1\r\nHost: x\r\n\r\n") }
            #expect(await GatewayHarness.eventually { gateway.service.heldCount >= 40 })
            gateway.service.release()
            for client in clients { #expect(client.response()?.status == 429) }
        }
    }

    /// A stop answers what the node has, drops what it has not, and accepts nothing more.
    @Test func gracefulStop() async throws {
        try await GatewayHarness.run { gateway in
            gateway.service.hold()
            let idle = gateway.client()
            #expect(idle.request("GET", "/health")?.status == 200)
            let busy = gateway.client()
            busy.send(GatewayFramingTests.put + GatewayFramingTests.put)
            #expect(await GatewayHarness.eventually { gateway.service.heldCount == 1 })
            async let stopped: Void = gateway.server.stop(within: .seconds(20))
            #expect(idle.seesEnd())
            gateway.service.release()
            let answer = busy.response()
            #expect(answer?.status == 200)
            #expect(answer?.headers["connection"] == "close")
            #expect(busy.seesEnd())
            let start = ContinuousClock.now
            await stopped
            #expect(ContinuousClock.now - start < .seconds(5))
            #expect(gateway.service.writes == 1)
        }
    }

    /// A node that never replies does not keep the gateway from stopping.
    @Test func stopCutsOff() async throws {
        try await GatewayHarness.run { gateway in
            gateway.service.hold()
            let client = gateway.client()
            client.send(GatewayFramingTests.put)
            #expect(await GatewayHarness.eventually { gateway.service.heldCount == 1 })
            await gateway.server.stop(within: .milliseconds(50))
            #expect(client.seesEnd())
        }
    }

    @Test func portInUse() async throws {
        try await GatewayHarness.run { gateway in
            await #expect(throws: GatewayError.self) {
                _ = try await GatewayServer.bind(
                    host: "127.0.0.1", port: gateway.port, options: GatewayOptions(),
                    budget: ConnectionBudget(maxConnections: 1), group: gateway.group, logger: gateway.logger)
            }
        }
    }
}
