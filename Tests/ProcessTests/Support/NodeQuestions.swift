import Glibc

/// What tests ask a node beyond single keys.
extension NodeProcess {
    /// The lines of `/readyz`; nil while the API does not answer.
    func readiness() -> HTTPAnswer? {
        try? client(timeout: 2).request("GET", "/readyz")
    }

    func waitUntilReady(within seconds: Double = 20) throws {
        _ = try poll(
            within: seconds, for: "\(label) ready: \(readiness()?.text ?? "no answer"); its log:\n\(log)"
        ) {
            try requireRunning()
            return readiness()?.status == 200 ? true : nil
        }
    }

    /// A figure of `/metrics` without labels.
    func metric(_ name: String) throws -> Int {
        let text = try client().request("GET", "/metrics").text
        let line = text.split(separator: "\n").first { $0.hasPrefix(name + " ") }
        guard let value = line?.split(separator: " ").last.flatMap({ Int($0) }) else {
            throw TimedOut(description: "\(label) has no figure \(name)")
        }
        return value
    }

    func logBytes() throws -> UInt64 {
        guard let size = try client().request("GET", "/health").json().walSize else {
            throw TimedOut(description: "\(label) does not say how large its log is")
        }
        return size
    }

    /// A request that changes the cluster itself.
    func administer(_ method: String, _ path: String, _ body: String? = nil) throws -> HTTPAnswer {
        try client().request(method, "/cluster/" + path, body: body)
    }

    func handOver(to other: NodeProcess) throws -> HTTPAnswer {
        try administer("POST", "leader", #"{"node_id":"\#(other.label)"}"#)
    }

    /// The members as this node knows them.
    func members() throws -> [AnswerBody.Member] {
        try client(timeout: 2).request("GET", "/cluster/members").json().members ?? []
    }
}
