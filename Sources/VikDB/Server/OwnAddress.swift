import Glibc
import VikWire

/// Finds out which entry of `-cluster` is this node (design rule 12): the one with this replication port whose host can
/// be bound here.
package struct OwnAddress {
    /// Whether a host belongs to this machine: true or false, or nil if its name does not resolve.
    package typealias HostCheck = (_ host: String) -> Bool?

    /// - Parameters:
    ///   - cluster: the entries of `-cluster`.
    ///   - advertised: `-advertise-replication`, which settles the question.
    package static func find(
        in cluster: [HostPort], port: Int, advertised: HostPort?, isLocal: HostCheck = isBindable
    ) throws(StartError) -> HostPort {
        if let advertised {
            guard cluster.contains(advertised) else {
                throw .flags("-advertise-replication \(advertised) is not an entry of -cluster")
            }
            return advertised
        }
        let candidates = cluster.filter { $0.port == port }
        guard !candidates.isEmpty else {
            throw .flags(
                "no entry of -cluster has the port \(port) of -replication-port: add this node's own address to "
                    + "-cluster, or correct -replication-port")
        }
        let checked = candidates.map { (address: $0, isLocal: isLocal($0.host)) }
        var matches = checked.filter { $0.isLocal == true }.map(\.address)
        if matches.isEmpty { matches = checked.filter { $0.isLocal == nil }.map(\.address) }
        switch matches.count {
        case 1: return matches[0]
        case 0:
            throw .flags(
                "none of the entries of -cluster with port \(port) is an address of this machine: say which one is "
                    + "this node with -advertise-replication host:port")
        default:
            throw .flags(
                "several entries of -cluster could be this node (\(matches.map(\.description).joined(separator: ", ")))"
                    + ": say which one with -advertise-replication host:port")
        }
    }

    /// Resolves `host` and tries to bind a socket to one of its addresses, with a port of the system's choice.
    package static func isBindable(_ host: String) -> Bool? {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var results: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, nil, &hints, &results) == 0 else { return nil }
        defer { freeaddrinfo(results) }
        var next = results
        while let address = next {
            let descriptor = socket(address.pointee.ai_family, Int32(SOCK_STREAM.rawValue), 0)
            if descriptor >= 0 {
                defer { close(descriptor) }
                if bind(descriptor, address.pointee.ai_addr, address.pointee.ai_addrlen) == 0 { return true }
            }
            next = address.pointee.ai_next
        }
        return false
    }
}

/// Why a node did not start: one sentence that says what to do.
package enum StartError: Error, CustomStringConvertible {
    /// A flag is wrong, or contradicts another or what is stored.
    case flags(String)
    case storage(StorageError)
    /// The disk has no room for what a start writes. `needed`: from there on the node takes writes.
    case full(path: String, free: UInt64?, needed: UInt64)
    /// An address could not be listened on.
    case listen(address: String, flag: String, reason: String)
    /// The process may open too few files.
    case descriptors(limit: Int, needed: Int)

    package var description: String {
        switch self {
        case .flags(let sentence): sentence
        case .storage(let error): "\(error)"
        case .full(let path, let free, let needed):
            "no space left on the device of \(path)\(free.map { ", \($0) bytes are free" } ?? ""): free \(needed) bytes "
                + "there, or room for more files, but remove nothing in -wal-path and -sstable-dir, and start again"
        case .listen(let address, let flag, let reason):
            "cannot listen on \(address) (\(flag)): \(reason)"
        case .descriptors(let limit, let needed):
            "the limit of \(limit) file descriptors is too low, at least \(needed) are needed: raise it (ulimit -n, or "
                + "LimitNOFILE= of systemd)"
        }
    }
}
