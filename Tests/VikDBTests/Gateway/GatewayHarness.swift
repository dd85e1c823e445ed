import Foundation
import Logging
import NIOCore
import NIOPosix
import Testing
import VikDB

/// A gateway on a free port of the loopback, before a ``ScriptedService``.
struct GatewayHarness {
    let service: ScriptedService
    let server: GatewayServer
    /// The listener of `-admin-addr`.
    let admin: GatewayServer
    let group: MultiThreadedEventLoopGroup
    let logger: Logger

    var port: Int { server.port }

    func client(receiveBuffer: Int32? = nil) -> TestClient {
        TestClient(port: port, receiveBuffer: receiveBuffer)
    }

    /// Runs `body` and stops the gateway, whatever happens.
    static func run(
        _ options: GatewayOptions = GatewayOptions(), announcedAs address: String? = "127.0.0.1:9999", threads: Int = 1,
        _ body: (GatewayHarness) async throws -> Void
    ) async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: threads)
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        let budget = ConnectionBudget(maxConnections: options.maxConnections)
        let server = try await GatewayServer.bind(
            host: "127.0.0.1", port: 0, options: options, budget: budget, group: group, logger: logger)
        var adminOptions = options
        adminOptions.adminAccess = .everyone
        let admin = try await GatewayServer.bind(
            host: "127.0.0.1", port: 0, options: adminOptions, budget: budget, group: group, logger: logger)
        let harness = GatewayHarness(
            service: ScriptedService(), server: server, admin: admin, group: group, logger: logger)
        server.serve(harness.service, announcedAs: address)
        admin.serve(harness.service, announcedAs: address)
        var failure: (any Error)?
        do {
            try await body(harness)
        } catch {
            failure = error
        }
        await server.stop(within: .milliseconds(300))
        await admin.stop(within: .milliseconds(300))
        try await group.shutdownGracefully()
        if let failure { throw failure }
    }

    /// Polls until `condition` holds; false after five seconds.
    static func eventually(_ condition: () -> Bool) async -> Bool {
        for _ in 0..<500 {
            if condition() { return true }
            try? await Task.sleep(for: .milliseconds(10))
        }
        return condition()
    }
}

/// SplitMix64. Its seed is printed, and replayed from `VIK_SEED`.
struct GatewayRandom: RandomNumberGenerator {
    private var state: UInt64

    init(_ test: String = #function) {
        let given = ProcessInfo.processInfo.environment["VIK_SEED"].flatMap { UInt64($0) }
        state = given ?? UInt64.random(in: .min ... .max)
        print("\(test): VIK_SEED=\(state)")
    }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return mixed ^ mixed >> 31
    }
}

func base64(_ bytes: some Sequence<UInt8>) -> String {
    Data(bytes).base64EncodedString()
}

func base64(_ text: String) -> String {
    base64(text.utf8)
}
