import Glibc
import Logging
import VikDB

/// How many file descriptors this process may have, shared out between clients and the node itself. A plain value.
struct DescriptorLimit {
    /// Left to files (open tables alone are half of it), peers, event loops, and connections that are refused.
    static let reserve = 512
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

    /// How many API connections there may be of the `wanted` ones: idle clients must not take what files need.
    func connections(wanted: Int, logger: Logger) throws(StartError) -> Int {
        let room = count - Self.reserve
        guard room >= Self.minConnections else {
            throw .descriptors(limit: count, needed: Self.reserve + Self.minConnections)
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
