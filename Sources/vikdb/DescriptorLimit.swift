import Glibc
import Logging
import VikDB

/// How many file descriptors this process may have, shared out between clients and the node itself. A plain value.
struct DescriptorLimit {
    /// Left to files (open tables alone are more than half of it), peers and event loops.
    static let nodeDescriptors = 448
    /// Of each thread of `-http-threads` beyond the first: what an event loop needs.
    static let descriptorsPerThread = 3
    /// A node that could serve fewer clients at a time does not start.
    static let minConnections = 64

    let count: Int

    /// The limit, after raising it as far as this process may.
    static func raised() -> DescriptorLimit {
        let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        var limits = rlimit()
        precondition(getrlimit(resource, &limits) == 0, "getrlimit knows RLIMIT_NOFILE")
        var raised = limits
        raised.rlim_cur = limits.rlim_max
        // It may fail where the system's own maximum was lowered since; then the old limit holds.
        if setrlimit(resource, &raised) == 0 { limits = raised }
        return DescriptorLimit(count: Int(clamping: limits.rlim_cur))
    }

    /// How many API connections there may be of the `wanted` ones, on all listeners together and beside the reserve for
    /// operators and probes: idle clients must not take what files need.
    func connections(wanted: Int, httpThreads: Int, logger: Logger) throws(StartError) -> Int {
        let left = Self.nodeDescriptors + (httpThreads - 1) * Self.descriptorsPerThread
        let needed = left + Self.minConnections + ConnectionBudget.reserve(for: Self.minConnections)
        guard count >= needed else { throw .descriptors(limit: count, needed: needed) }
        var room = min(wanted, count - left)
        // A few steps: the reserve is a fraction.
        while room + ConnectionBudget.reserve(for: room) > count - left {
            room -= max(1, (room + ConnectionBudget.reserve(for: room) - (count - left)) / 2)
        }
        guard room < wanted else { return wanted }
        logger.warning(
            """
            the limit of \(count) file descriptors leaves room for \(room) API connections, not for the \(wanted) of \
            -max-connections: raise it (ulimit -n, or LimitNOFILE= of systemd) or lower -max-connections
            """)
        return room
    }
}
