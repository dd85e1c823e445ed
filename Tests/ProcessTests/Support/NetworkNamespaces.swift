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

    /// A command that runs another on that machine.
    func prefix(_ number: Int) throws -> [String] { [try Self.ipProgram(), "netns", "exec", name(number)] }

    /// Nothing reaches that machine or comes from it any more.
    func cutOff(_ number: Int) throws { try ip("link set \(outside(number)) down") }
    func heal(_ number: Int) throws { try ip("link set \(outside(number)) up") }

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
