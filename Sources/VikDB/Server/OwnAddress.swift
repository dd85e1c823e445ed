import Dispatch
import Glibc
import NIOCore
import Synchronization
import VikWire

/// Finds out which entry of `-cluster` is this node (design rule 12): the one with this replication port whose host can
/// be bound here.
package struct OwnAddress {
    /// Whether a host belongs to this machine: true or false, or nil if its name does not resolve. May block.
    package typealias HostCheck = @Sendable (_ host: String) -> Bool?

    /// How long names are waited for: those of other nodes must not hold up the start of this one. A name that takes
    /// longer counts as one that does not resolve.
    package struct Patience: Sendable {
        /// While no entry is known to be this machine.
        package var withoutMatch = DispatchTimeInterval.seconds(10)
        /// Once one is: another would be a mistake in the flags, which is found where looking up works.
        package var withMatch = DispatchTimeInterval.milliseconds(500)

        package init() {}
    }

    /// - Parameters:
    ///   - cluster: the entries of `-cluster`.
    ///   - advertised: `-advertise-replication`, which settles the question.
    package static func find(
        in cluster: [HostPort], port: Int, advertised: HostPort?, isLocal: @escaping HostCheck = isBindable,
        patience: Patience = Patience()
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
        let verdicts = HostChecks.verdicts(on: candidates.map(\.host), isLocal, patience)
        let checked = zip(candidates, verdicts).map { (address: $0, isLocal: $1) }
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
    @Sendable package static func isBindable(_ host: String) -> Bool? {
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

/// Several hosts checked at once, each name on a thread of its own that nobody waits for longer than a bound. Any
/// thread.
private final class HostChecks: Sendable {
    /// Nil: not known yet.
    private let verdicts: Mutex<[Bool??]>
    private let news = DispatchSemaphore(value: 0)

    private init(_ count: Int) {
        verdicts = Mutex(Array(repeating: nil, count: count))
    }

    static func verdicts(
        on hosts: [String], _ isLocal: @escaping OwnAddress.HostCheck, _ patience: OwnAddress.Patience
    ) -> [Bool?] {
        let start = DispatchTime.now()
        let checks = HostChecks(hosts.count)
        for (place, host) in hosts.enumerated() {
            // A literal is not looked up, so its check does not block.
            if (try? SocketAddress(ipAddress: host, port: 0)) != nil {
                checks.settle(place, isLocal(host))
            } else if !DetachedThread.run({ checks.settle(place, isLocal(host)) }) {
                checks.settle(place, nil)
            }
        }
        return checks.wait(since: start, patience)
    }

    private func settle(_ place: Int, _ verdict: Bool?) {
        verdicts.withLock { $0[place] = .some(verdict) }
        news.signal()
    }

    private func wait(since start: DispatchTime, _ patience: OwnAddress.Patience) -> [Bool?] {
        while true {
            let known = verdicts.withLock { $0 }
            let hasMatch = known.contains { $0 == .some(true) }
            if !known.contains(where: { $0 == nil })
                || news.wait(timeout: start + (hasMatch ? patience.withMatch : patience.withoutMatch)) == .timedOut
            {
                return known.map { $0 ?? nil }
            }
        }
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
