import Glibc

/// A machine for each node: network namespaces with an address each, joined by a bridge that this test is on too.
/// Needs root; removed with everything in them when the last reference goes.
final class NetworkNamespaces: Sendable {
    /// Whether tests that need this run. Under CI they always do, and fail where they cannot.
    static let isWanted = geteuid() == 0 || getenv("CI").map { String(cString: $0) } == "true"

    let count: Int
    private let tag = "vk\(getpid() % 100_000)"
    /// In the block set aside for tests of network devices (RFC 2544).
    private let subnet: String

    init(_ count: Int) throws {
        self.count = count
        subnet = "198.18.\(getpid() % 200 + 20)"
        try ip("link add \(tag)br type bridge")
        try ip("addr add \(subnet).254/24 dev \(tag)br")
        try ip("link set \(tag)br up")
        for number in 0..<count {
            try ip("netns add \(name(number))")
            try ip("link add \(outside(number)) type veth peer name eth0 netns \(name(number))")
            try ip("link set \(outside(number)) master \(tag)br up")
            try ip("-n \(name(number)) addr add \(address(number))/24 dev eth0")
            try ip("-n \(name(number)) link set eth0 up")
            try ip("-n \(name(number)) link set lo up")
        }
    }

    deinit {
        for number in 0..<count {
            try? ip("link delete \(outside(number))")
            try? ip("netns delete \(name(number))")
        }
        try? ip("link delete \(tag)br")
    }

    func address(_ number: Int) -> String { "\(subnet).\(number + 1)" }
    /// Of the machine that the test itself is on.
    var ownAddress: String { "\(subnet).254" }

    /// A command that runs another on that machine.
    func prefix(_ number: Int) throws -> [String] { [try Self.ipProgram(), "netns", "exec", name(number)] }

    /// Nothing reaches that machine or comes from it any more.
    func cutOff(_ number: Int) throws { try ip("link set \(outside(number)) down") }
    func heal(_ number: Int) throws { try ip("link set \(outside(number)) up") }

    /// How a machine's packets to another get lost.
    enum Loss: String, CaseIterable {
        // Types of routes, each with an error of its own.
        case blackhole, prohibit, unreachable
        case `throw`
        /// They leave, and nobody takes them.
        case silence
    }

    /// Nothing of machine `number` reaches `other` any more, an ``address(_:)``; the other way round nothing changes.
    ///
    /// Packets are lost on their way first, so that some are not acknowledged yet when their route goes.
    func lose(_ loss: Loss, from number: Int, to other: String) throws {
        try ip("-n \(name(number)) neigh replace \(other) lladdr 02:00:00:00:00:01 nud permanent dev eth0")
        guard loss != .silence else { return }
        usleep(300_000)
        try ip("-n \(name(number)) route add \(loss.rawValue) \(other)/32")
    }

    func mend(_ loss: Loss, from number: Int, to other: String) throws {
        if loss != .silence { try ip("-n \(name(number)) route delete \(loss.rawValue) \(other)/32") }
        try ip("-n \(name(number)) neigh delete \(other) dev eth0")
    }

    /// That machine's kernel gives connections up sooner than any time-out of a node, as an operator may have it.
    func makeImpatient(_ number: Int) throws {
        let run = try Finished(
            try Self.ipProgram(),
            ["netns", "exec", name(number), "sh", "-c", "echo 2 > /proc/sys/net/ipv4/tcp_retries2"])
        guard run.exit == .code(0) else { throw TimedOut(description: "tcp_retries2: \(run.errors)") }
    }

    /// A program that runs another on that machine, whose look-ups of names find nobody that answers them.
    ///
    /// - Parameter directory: for the file that says so.
    func prefixWithoutNames(_ number: Int, in directory: String) throws -> [String] {
        let file = "\(directory)/resolv.conf"
        // In this subnet, where its packets get lost.
        TextFile.write("nameserver \(subnet).250\noptions timeout:5 attempts:2\n", to: file)
        try ip(
            "-n \(name(number)) neigh replace \(subnet).250 lladdr 02:00:00:00:00:01 nud permanent dev eth0")
        return try prefix(number) + [
            "unshare", "--mount", "--propagation", "private", "sh", "-c",
            "mount --bind '\(file)' /etc/resolv.conf && exec \"$@\"", "sh",
        ]
    }

    private func name(_ number: Int) -> String { "\(tag)n\(number)" }
    private func outside(_ number: Int) -> String { "\(tag)v\(number)" }

    private func ip(_ arguments: String) throws {
        let run = try Finished(try Self.ipProgram(), arguments.split(separator: " ").map(String.init))
        guard run.exit == .code(0) else { throw TimedOut(description: "ip \(arguments): \(run.errors)") }
    }

    private static func ipProgram() throws -> String {
        for path in ["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip"] where access(path, X_OK) == 0 { return path }
        throw TimedOut(description: "the program ip is missing (Debian's package iproute2)")
    }
}
