import Testing

/// What an operator does to the members of a cluster.
extension ClusterProcess {
    func add(_ node: NodeProcess, at port: Int, asVoter isVoter: Bool = true) throws {
        let answer = try waitForLeader().administer(
            "POST", "members",
            #"{"node_id":"\#(node.label)","address":"127.0.0.1:\#(port)","voter":\#(isVoter)}"#)
        try #require(answer.status == 200, "\(answer.text)")
    }

    /// Nobody has to promote a member that was added as a voter.
    func waitForVoter(_ node: NodeProcess) throws {
        let start = monotonicNanoseconds()
        _ = try poll(within: 15, for: "\(node.label) a voter; its log:\n\(node.log)") {
            let members = try? waitForLeader().members()
            return members?.first { $0.nodeId == node.label }?.role == "voter" ? true : nil
        }
        print("\(node.label) is a voter after \(milliseconds(secondsSince(start))) ms")
    }

    /// One change at a time, and a new leader must have committed something first: it says so with 503.
    func remove(_ node: NodeProcess, at leader: NodeProcess) throws -> HTTPAnswer {
        try poll(within: 5, for: "the removal of \(node.label)") {
            let answer = try leader.administer("DELETE", "members/\(node.label)")
            return try answer.status == 503 && answer.json().outcome == nil ? nil : answer
        }
    }

    /// Lets `node` lead. An attempt may fail, or another win.
    func moveOffice(to node: NodeProcess) throws {
        var last = ""
        _ = try poll(within: 10, everyMilliseconds: 100, for: "\(node.label) leading: \(last)") {
            let leader = try waitForLeader()
            if leader === node { return true }
            last = try leader.handOver(to: node).text
            return node.status()?.isLeader == true ? true : nil
        }
    }
}
