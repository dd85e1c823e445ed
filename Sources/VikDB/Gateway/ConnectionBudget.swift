import Synchronization

/// How many connections of clients a node has, on all its listeners and event loops together. Any thread.
///
/// Beyond the general part there is a reserve, so that operators and what watches the node get through when clients
/// have taken all of it. A probe is told from other requests only once it has been read: so whoever comes then may send
/// one, and is answered 503 if it is another. A part of the reserve is for the admin listener alone.
package final class ConnectionBudget: Sendable {
    /// The flag's value.
    let maxConnections: Int
    private let reserve: Int
    private let taken = Atomic<Int>(0)

    package init(maxConnections: Int) {
        self.maxConnections = maxConnections
        reserve = Self.reserve(for: maxConnections)
    }

    private static let minReserve = 64
    /// A sixteenth of the general part.
    private static let reserveDivisor = 16
    /// A quarter of the reserve.
    private static let adminDivisor = 4

    /// Connections beyond `maxConnections` that are let in.
    package static func reserve(for maxConnections: Int) -> Int {
        max(minReserve, maxConnections / reserveDivisor)
    }

    enum Place: Equatable {
        case general
        case reserved
    }

    /// Takes a place for a connection until ``release()``; nil: there is none.
    func take(isAdmin: Bool) -> Place? {
        let count = taken.add(1, ordering: .relaxed).newValue
        if count <= maxConnections { return .general }
        if count <= maxConnections + reserve - (isAdmin ? 0 : reserve / Self.adminDivisor) { return .reserved }
        release()
        return nil
    }

    func release() {
        let count = taken.subtract(1, ordering: .relaxed).newValue
        precondition(count >= 0, "a connection gave its place back twice")
    }

    /// Whether the reserve is in use at this moment.
    var isExceeded: Bool { taken.load(ordering: .relaxed) > maxConnections }
}
