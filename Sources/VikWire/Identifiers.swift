/// Position of an entry in the replicated log. The first entry has index 1; 0 means "before the first entry".
package typealias LogIndex = UInt64

/// A Raft term. Term 0 is the state before the first election.
package typealias Term = UInt64

/// Identity of a cluster member. Never used again once its member is gone.
///
/// A founder's id is the 64-bit hash of its `-cluster` entry, see ``MemberID/founder(address:)``.
package struct MemberID: RawRepresentable, Hashable, Comparable, Sendable, CustomStringConvertible {
    package let rawValue: UInt64

    package init(rawValue: UInt64) {
        self.rawValue = rawValue
    }

    /// No member. No address hashes to it.
    package static let none = MemberID(rawValue: 0)

    /// The stable id of a founder: FNV-1a, 64 bits, over the UTF-8 bytes of its `host:port` in the `-cluster` list.
    package static func founder(address: String) -> MemberID {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in address.utf8 {
            hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3
        }
        return MemberID(rawValue: hash == 0 ? 1 : hash)
    }

    package static func < (left: MemberID, right: MemberID) -> Bool {
        left.rawValue < right.rawValue
    }

    package var description: String { String(rawValue, radix: 16) }
}

/// 128 random bits that name one store (a pair of log and table directories) or one cluster's incarnation.
package struct RandomID: Hashable, Sendable, CustomStringConvertible {
    package let high: UInt64
    package let low: UInt64

    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// A fresh id from `generator`; production passes the system's generator, the simulator a seeded one.
    package init(using generator: inout some RandomNumberGenerator) {
        self.init(high: generator.next(), low: generator.next())
    }

    /// "Not known": what a node sends before it has one.
    package static let zero = RandomID(high: 0, low: 0)

    package var description: String {
        func hex(_ word: UInt64) -> String {
            let digits = String(word, radix: 16)
            return String(repeating: "0", count: 16 - digits.count) + digits
        }
        return hex(high) + hex(low)
    }
}

/// Names one store; kept in both of its directories (design rule 7).
package typealias StoreID = RandomID

/// Names one cluster from its first committed entry on (design rule 7).
package typealias Incarnation = RandomID
