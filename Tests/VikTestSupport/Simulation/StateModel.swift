import NIOCore
import VikWire

/// What the key-value store must hold at every index, from the committed commands alone. A plain value.
struct StateModel {
    private struct Version {
        let index: LogIndex
        let value: [UInt8]?
    }

    private var versions: [String: [Version]] = [:]
    /// Keys ever written, sorted.
    private var keys: [String] = []

    mutating func apply(_ command: ByteBuffer, at index: LogIndex) throws(Violation) {
        var writes: [(key: String, value: [UInt8]?)] = []
        do throws(WireError) {
            try Command.forEachOperation(in: command) { _, key, value in
                writes.append((String(decoding: key, as: UTF8.self), value.map { Array($0) }))
            }
        } catch {
            throw Violation("committed command \(index) does not decode: \(error)")
        }
        for (key, value) in writes {
            if versions[key] == nil { keys.insert(key, at: position(of: key)) }
            versions[key, default: []].append(Version(index: index, value: value))
        }
    }

    private func position(of key: String) -> Int {
        var low = 0
        var high = keys.count
        while low < high {
            let middle = (low + high) / 2
            if keys[middle].utf8.lexicographicallyPrecedes(key.utf8) { low = middle + 1 } else { high = middle }
        }
        return low
    }

    func get(_ key: String, at index: LogIndex) -> StoredValue? {
        guard let version = versions[key]?.last(where: { $0.index <= index }), let bytes = version.value else {
            return nil
        }
        return StoredValue(bytes: bytes, version: version.index)
    }

    /// The existing keys in `[start, end)`; an empty `end` means to the last.
    func range(from start: String, to end: String, at index: LogIndex) -> [(key: String, value: [UInt8])] {
        keys[position(of: start)..<(end.isEmpty ? keys.count : max(position(of: start), position(of: end)))]
            .compactMap { key in get(key, at: index).map { (key, $0.bytes) } }
    }

    var allKeys: [String] { keys }
}

/// A promise of the database that was broken.
package struct Violation: Error, CustomStringConvertible {
    package let description: String

    init(_ description: String) {
        self.description = description
    }
}
