import Testing

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

extension ClusterProcess {
    /// All nodes have the same keys and values at the same applied index, what was written among them. Nothing is
    /// written meanwhile.
    ///
    /// - Parameters:
    ///   - contents: keys and values in Base64.
    ///   - prefix: of the keys that `contents` has all of; others may be there too.
    func expectEqual(_ contents: [String: String], only prefix: String = "") throws {
        let clients = nodes.map { $0.client() }
        var missing = contents
        var wrong = 0
        var path: String? = "/kv/range?limit=10000"
        while let target = path {
            let pages = try clients.map { try $0.request("GET", target) }
            let page = try pages[0].json()
            guard pages[0].status == 200, let items = page.items else {
                throw TimedOut(description: "\(nodes[0].label) answered a range with \(pages[0].text)")
            }
            // A page names the applied index that it was read at.
            for (node, other) in zip(nodes, pages) where other.body != pages[0].body {
                let found = try other.json()
                Issue.record(
                    """
                    \(node.label) at index \(found.index ?? 0) is not as \(nodes[0].label) at index \(page.index ?? 0): \
                    \(found.items == items ? "the same" : "other") items of \(target)
                    """)
                return
            }
            for item in items where item.key.base64Decoded?.hasPrefix(prefix) == true {
                if missing.removeValue(forKey: item.key) != item.value { wrong += 1 }
            }
            path = page.more == true ? page.nextPath : nil
        }
        let hashes = try clients.map { try $0.request("GET", "/cluster/state-hash").text }
        #expect(hashes.allSatisfy { $0 == hashes[0] && $0.contains("\"hash\"") }, "\(hashes)")
        #expect(
            missing.isEmpty && wrong == 0, "\(missing.count) of \(contents.count) keys lost, \(wrong) not as written")
    }
}
