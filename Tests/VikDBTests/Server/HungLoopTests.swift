import Foundation
import Glibc
import Logging
import NIOCore
import NIOPosix
import Testing
import VikDB
import VikWire

/// A node whose loop is held up, by whatever: here by somebody that takes an answer on it and does not return.
@Suite struct HungLoopTests {
    @Test func itSaysSoAnswersAndStops() async throws {
        try await onThread {
            try withTemporaryDirectory { directory in
                var settings = NodeSettings(logDirectory: directory + "/wal", tableDirectory: directory + "/tables")
                settings.apiListen = try HostPort.parse("127.0.0.1:0", forListening: true)
                settings.node.requestWaitTicks = 50
                settings.node.leaderWaitTicks = 50
                let node = try Node.start(settings, logger: Logger(label: "node") { _ in SwiftLogNoOpLogHandler() })
                // Its threads go on after the stop, which does not wait for them.
                _ = Unmanaged.passRetained(node)
                let client = TestClient(port: try #require(node.apiPort))
                let put = #"{"value":"eA=="}"#
                #expect(client.request("PUT", "/kv/a2V5", put)?.status == 200)
                #expect(client.request("GET", "/livez")?.status == 200)

                let sink = HoldingSink()
                defer { sink.release() }
                node.write(Command.put(key: [1], value: [1]), token: 1, replyTo: sink)
                try #require(sink.isEntered.wait(milliseconds: 10_000))
                // The node has them, but replies to none.
                let reader = TestClient(port: node.apiPort!)
                reader.send("GET /kv/a2V5 HTTP/1.1\r\nHost: x\r\n\r\n")
                let unknown = client.request("PUT", "/kv/a2V5", put)
                #expect(unknown?.status == 503 && unknown?.outcome == "unknown", "\(unknown?.text ?? "no answer")")
                #expect(reader.response()?.status == 503)
                // By now its silence is known.
                let refused = client.request("PUT", "/kv/a2V5", put)
                #expect(refused?.status == 503 && refused?.outcome == "not_applied", "\(refused?.text ?? "no answer")")
                #expect(client.request("GET", "/readyz")?.status == 503)
                #expect(client.request("GET", "/health")?.status == 503)
                let start = MonotonicClock.nanoseconds
                while client.request("GET", "/livez")?.status == 200 {
                    try #require(MonotonicClock.nanoseconds - start < 10_000_000_000, "/livez stays 200")
                    usleep(20_000)
                }

                let stopped = MonotonicClock.nanoseconds
                #expect(node.stop() == ["the node's loop"])
                let seconds = Double(MonotonicClock.nanoseconds - stopped) / 1e9
                print("stopped a node that hangs in \(seconds) s")
                #expect(seconds < 12)
            }
        }
    }

    /// What waits for one turn of a loop that hangs has a limit; what jobs report has none.
    @Test func requestsOfAHungLoopAreBounded() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        var limits = LoopInbox.Limits()
        limits.requests = 10
        limits.bytes = 1_000
        let inbox = LoopInbox(eventLoop: group.next(), limits: limits)
        let sink = HoldingSink()
        func offers(_ count: Int, bytes: Int) -> [LoopInbox.Offer] {
            let command = ByteBuffer(repeating: 7, count: bytes)
            return (0..<count).map { token in
                inbox.offer(.write(command: command, token: UInt64(token), sink: sink), bytes: bytes)
            }
        }
        var taken: [NodeInput] = []
        for _ in 0..<2 {
            #expect(offers(12, bytes: 1).map { $0 == .full } == Array(repeating: false, count: 10) + [true, true])
            for _ in 0..<20 { inbox.post(.tick) }
            taken.removeAll()
            inbox.takeAll(into: &taken)
            #expect(taken.count == 30)
        }
        taken.removeAll()
        #expect(offers(4, bytes: 400).map { $0 == .full } == [false, false, true, true])
        #expect(offers(1, bytes: 200) == [.taken])
        inbox.close()
        #expect(offers(1, bytes: 1) == [.closed])
        inbox.takeAll(into: &taken)
        #expect(taken.isEmpty)
        try await group.shutdownGracefully()
    }

    /// Nodes block their caller.
    private func onThread(_ body: @escaping @Sendable () throws -> Void) async throws {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            Thread.detachNewThread { continuation.resume(with: Swift.Result { try body() }) }
        }
    }
}

/// Keeps the thread that delivers to it, until it is released.
private final class HoldingSink: ReplySink {
    let isEntered = Signpost()
    private let isReleased = Signpost()

    func deliver(_ replies: [Reply]) {
        isEntered.reach()
        _ = isReleased.wait(milliseconds: 120_000)
    }

    func release() {
        isReleased.reach()
    }
}
