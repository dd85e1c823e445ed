import VikWire

/// Where writes are sent from a node that does not lead. A plain value.
///
/// `Location` is built from the leader's own announced address alone (design rule 13), checked here once more because
/// it came over the network and ends up in a header, and never points back at this node. Nodes whose announced addresses
/// are mixed up would send a client round in a circle for ever. A circle is seen at its second station at the latest:
/// the client asks for the host that it was sent to, and would be sent there again.
struct LeaderRedirect: Sendable {
    /// This node's API address as it is announced, or nil if it announces none.
    var ownAddress: String?

    /// What of a request matters here.
    struct Request {
        var target: String
        /// Of its header.
        var host: String
    }

    /// The answer to a write that this node will not take, decided from the node's status before the body is read; nil
    /// if the node may take it.
    func failure(status: NodeStatus, _ request: Request) -> HTTPFailure? {
        if let silence = status.silence() { return .tryAgain(.serviceUnavailable, silence) }
        // Without a known leader the write goes to the node, which lets it wait a moment for one.
        guard status.isReplicated, status.role != .leader, status.leaderAPIAddress != nil else { return nil }
        return failure(leader: status.leaderAPIAddress, named: status.leaderID, request)
    }

    func failure(leader: String?, named name: String?, _ request: Request) -> HTTPFailure {
        var failure: HTTPFailure
        if let leader, let why = misdirection(to: leader, request.host) {
            // Trying again would not help: somebody has to start a node with another flag.
            failure = HTTPFailure(
                .serviceUnavailable,
                "not the leader: the leader\(name.map { ", \($0)," } ?? "") announces the API address "
                    + "\"\(leader)\", \(why), so nothing can be redirected; start each node with its own -advertise-addr"
            )
        } else if let leader {
            failure = HTTPFailure(.temporaryRedirect, "not the leader, redirecting to leader")
            failure.location = "http://" + leader + request.target
        } else {
            failure = .tryAgain(.serviceUnavailable, "not the leader, and no leader is known at the moment, try again")
        }
        failure.outcome = .notApplied
        return failure
    }

    /// Why a client cannot be sent to `leader`; nil: it can.
    private func misdirection(to leader: String, _ host: String) -> String? {
        if !Self.isHostAndPort(leader) { return "which is no host:port" }
        if leader == ownAddress { return "which is this node's own" }
        if Self.isSame(host, leader) { return "at which this node was reached" }
        return nil
    }

    /// Whether the host of a request is `address`.
    private static func isSame(_ host: String, _ address: String) -> Bool {
        // Most are not, and of the same length hardly any.
        guard host.utf8.count == address.utf8.count || host.utf8.count + 3 == address.utf8.count else { return false }
        let host = host.lowercased()
        let address = address.lowercased()
        return host == address || host + ":80" == address
    }

    /// `name:port`, `1.2.3.4:port` or `[v6]:port`.
    static func isHostAndPort(_ address: String) -> Bool {
        guard address.utf8.count <= WireLimits.maxAddressBytes, let colon = address.lastIndex(of: ":") else {
            return false
        }
        let port = address[address.index(after: colon)...]
        guard (1...5).contains(port.utf8.count), port.utf8.allSatisfy(isDigit), let number = Int(port),
            (1...65_535).contains(number)
        else { return false }
        let host = address[..<colon]
        if host.first == "[" {
            return host.last == "]" && host.utf8.count > 3
                && host.dropFirst().dropLast().utf8.allSatisfy {
                    PercentDecoding.hexValue($0) != nil || $0 == UInt8(ascii: ":") || $0 == UInt8(ascii: ".")
                }
        }
        return !host.isEmpty
            && host.utf8.allSatisfy {
                isDigit($0) || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0 | 0x20)
                    || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "_")
            }
    }

    private static func isDigit(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
    }
}
