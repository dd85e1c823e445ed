/// How long nobody took writes, each time that a leader failed. For one thread.
struct Takeovers {
    private(set) var seconds: [Double] = []

    /// Waits for the first write that one of `nodes` accepts, from now on.
    ///
    /// - Parameter value: what it writes to the key ``probe``.
    mutating func waitForWrite(at nodes: [NodeProcess], _ value: String) throws {
        let start = monotonicNanoseconds()
        let clients = nodes.map { $0.client(timeout: 2) }
        let body = #"{"value":"\#(value.base64)"}"#
        seconds.append(
            try poll(within: 20, everyMilliseconds: 1, for: "an accepted write after the leader's end") {
                for client in clients {
                    let answer = try? client.request("PUT", "/kv/\(Self.probe.pathKey)", body: body)
                    if answer?.status == 200 { return secondsSince(start) }
                }
                return nil
            })
    }

    static let probe = "probe"

    var text: String {
        let sorted = seconds.sorted()
        return "\(sorted.count) times: median \(milliseconds(sorted[sorted.count / 2])) ms, "
            + "max \(milliseconds(sorted.last!)) ms"
    }
}
