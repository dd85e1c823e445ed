import ArgumentParser
import Logging
import VikDB
import VikWire

/// How the values of flags are read. Each reader throws a sentence that says what would be accepted.
enum FlagValues {
    /// `host:port`, or `:port` for all interfaces.
    static func listenAddress(_ text: String) throws -> HostPort {
        guard let address = try? HostPort.parse(text, forListening: true) else {
            throw ValidationError("expected host:port, or :port for all interfaces")
        }
        return address
    }

    static func address(_ text: String) throws -> HostPort {
        guard let address = try? HostPort.parse(text) else { throw ValidationError("expected host:port") }
        try refuseUnspecified(address)
        return address
    }

    /// Comma-separated `host:port`.
    static func addresses(_ text: String) throws -> [HostPort] {
        try text.split(separator: ",", omittingEmptySubsequences: false).map { entry in
            let name = String(entry.drop { $0 == " " })
            guard let address = try? HostPort.parse(name) else {
                throw ValidationError("expected host:port,host:port,…, but one entry is '\(name)'")
            }
            return address
        }
    }

    static func cluster(_ text: String) throws -> [HostPort] {
        let cluster = try addresses(text)
        for address in cluster { try refuseUnspecified(address) }
        guard Set(cluster.map(\.canonical)).count == cluster.count else {
            throw ValidationError("an address is listed twice")
        }
        guard cluster.count <= WireLimits.maxMembers else {
            throw ValidationError("\(cluster.count) members, expected at most \(WireLimits.maxMembers)")
        }
        return cluster
    }

    private static func refuseUnspecified(_ address: HostPort) throws {
        guard address.isUnspecified else { return }
        throw ValidationError("\(address) stands for all interfaces, expected an address to be reached at")
    }

    static func label(_ text: String) throws -> String {
        guard (1...WireLimits.maxLabelBytes).contains(text.utf8.count),
            text.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F })
        else {
            throw ValidationError("expected 1 to \(WireLimits.maxLabelBytes) bytes without control characters")
        }
        return text
    }

    static func directory(_ text: String) throws -> String {
        guard !text.isEmpty else { throw ValidationError("expected a directory") }
        return text
    }

    static func file(_ text: String) throws -> String {
        guard !text.isEmpty else { throw ValidationError("expected a file") }
        return text
    }

    /// A whole number in `range`.
    static func number(_ range: ClosedRange<Int>) -> @Sendable (String) throws -> Int {
        { text in
            guard let number = Int(text), range.contains(number) else {
                throw ValidationError("expected a whole number from \(range.lowerBound) to \(range.upperBound)")
            }
            return number
        }
    }

    /// Milliseconds in `range`, in whole ticks of the node's clock.
    static func milliseconds(_ range: ClosedRange<Int>) -> @Sendable (String) throws -> Int {
        { text in
            guard let number = Int(text), range.contains(number), number % tickMilliseconds == 0 else {
                throw ValidationError(
                    "expected milliseconds from \(range.lowerBound) to \(range.upperBound), in steps of "
                        + "\(tickMilliseconds)")
            }
            return number
        }
    }

    /// `shortest-longest`, both in milliseconds.
    static func millisecondRange(_ text: String) throws -> ClosedRange<Int> {
        let ends = text.split(separator: "-", omittingEmptySubsequences: false).compactMap {
            try? milliseconds(10...600_000)(String($0))
        }
        guard ends.count == 2, ends[0] < ends[1] else {
            throw ValidationError(
                "expected shortest-longest in milliseconds, in steps of \(tickMilliseconds), such as 300-600")
        }
        return ends[0]...ends[1]
    }

    static func readConsistency(_ text: String) throws -> ReadConsistency {
        guard let consistency = ReadConsistency(rawValue: text) else {
            throw ValidationError("expected linearizable or stale")
        }
        return consistency
    }

    static func compression(_ text: String) throws -> BlockCompression {
        guard let compression = BlockCompression.allCases.first(where: { "\($0)" == text }) else {
            throw ValidationError("expected \(BlockCompression.allCases.map { "\($0)" }.joined(separator: " or "))")
        }
        return compression
    }

    static func logLevel(_ text: String) throws -> Logger.Level {
        guard let level = Logger.Level(rawValue: text) else {
            throw ValidationError("expected \(Logger.Level.allCases.map(\.rawValue).joined(separator: ", "))")
        }
        return level
    }

    static let tickMilliseconds = NodeOptions().tickMilliseconds
}
