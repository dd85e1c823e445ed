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

    /// All keys and values, in Base64 as the API has them, read page by page.
    func contents() throws -> [String: String] {
        let client = client()
        var contents: [String: String] = [:]
        var path: String? = "/kv/range?limit=1000"
        while let target = path {
            let answer = try client.request("GET", target)
            let page = try answer.json()
            guard answer.status == 200, let items = page.items else {
                throw TimedOut(description: "\(label) answered a range with \(answer.text)")
            }
            for item in items {
                guard contents.updateValue(item.value, forKey: item.key) == nil else {
                    throw TimedOut(description: "\(label) gave the key \(item.key) twice")
                }
            }
            path = page.more == true ? page.nextPath : nil
        }
        return contents
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

/// Writes known contents to a cluster, far more than its logs keep, and remembers them. For one thread.
final class Filling {
    private let cluster: ClusterProcess
    private let valueBytes: Int
    private var random = SeededRandom(seed: 1)
    private var leader: HTTPClient?
    /// What the cluster must have: keys and values in Base64.
    private(set) var contents: [String: String] = [:]
    private(set) var writtenBytes = 0

    init(_ cluster: ClusterProcess, valueBytes: Int = 500) {
        self.cluster = cluster
        self.valueBytes = valueBytes
    }

    /// One batch: `count` keys with new values.
    func write(_ batch: Int, keys count: Int) throws {
        let pairs = (0..<count).map { (key: "fill\(batch)-\($0)".base64, value: newValue()) }
        let keys = pairs.map { "\"\($0.key)\"" }.joined(separator: ",")
        let values = pairs.map { "\"\($0.value)\"" }.joined(separator: ",")
        try send("POST", "/kv/batch", #"{"keys":[\#(keys)],"values":[\#(values)]}"#)
        for pair in pairs { contents[pair.key] = pair.value }
        writtenBytes += count * valueBytes
    }

    func delete(_ batch: Int, key number: Int) throws {
        let key = "fill\(batch)-\(number)"
        try send("DELETE", "/kv/\(key.pathKey)", nil)
        contents[key.base64] = nil
    }

    private func newValue() -> String {
        var text = ""
        while text.utf8.count < valueBytes { text += String(random.next(), radix: 36) }
        return String(text.prefix(valueBytes)).base64
    }

    /// Until it is acknowledged: nobody else writes these keys, so a write may well take effect twice.
    private func send(_ method: String, _ path: String, _ body: String?) throws {
        var last = "no answer"
        _ = try poll(within: 10, everyMilliseconds: 5, for: "\(method) \(path) acknowledged: \(last)") {
            if leader == nil { leader = try cluster.waitForLeader().client() }
            let answer = try? leader!.request(method, path, body: body)
            if answer?.status == 200 { return true }
            last = answer?.text ?? "no answer"
            // Tables are written, or somebody else leads.
            if answer?.status != 429 { leader = nil }
            return nil
        }
    }
}
