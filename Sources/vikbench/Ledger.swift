/// What every key must hold by what the cluster has answered. Owned by the clients, bound to their loop.
///
/// Each key belongs to one client, which has one put under way, so the last acknowledged write of a key is never in
/// doubt. A write whose outcome is unknown may take effect whenever it likes, so its value is right for good as well.
final class Ledger {
    /// By key: the last acknowledged write's number; 0: none.
    private var acknowledged: [UInt64]
    private var unknown: [Int: Set<UInt64>] = [:]
    private(set) var acknowledgedKeys = 0

    init(keys: Int) {
        acknowledged = Array(repeating: 0, count: keys)
    }

    var keys: Range<Int> { acknowledged.indices }

    func acknowledge(_ write: Write) {
        if acknowledged[write.key] == 0 { acknowledgedKeys += 1 }
        acknowledged[write.key] = write.number
    }

    func doubt(_ write: Write) {
        unknown[write.key, default: []].insert(write.number)
    }

    func isAcknowledged(_ key: Int) -> Bool {
        acknowledged[key] != 0
    }

    func allows(_ number: UInt64, for key: Int) -> Bool {
        acknowledged[key] == number || unknown[key]?.contains(number) == true
    }
}
