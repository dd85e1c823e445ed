import Foundation
import NIOCore
import VikDB
import VikWire

/// What the store of a fixture holds: its `expected.json`, in words that no codec of VikDB reads or writes. A plain value.
struct ExpectedStore: Codable, Equatable {
    struct Position: Codable, Equatable {
        var index: LogIndex
        var term: Term
    }

    struct Operation: Codable, Equatable {
        var put: String?
        var value: String?
        var delete: String?
    }

    struct Members: Codable, Equatable {
        struct Member: Codable, Equatable {
            var id: String
            var store: String
            var role: String
            var address: String
            var label: String
        }

        var incarnation: String
        var members: [Member]
    }

    struct LogEntry: Codable, Equatable {
        var index: LogIndex
        var term: Term
        var kind: String
        var operations: [Operation]?
        var configuration: Members?
    }

    struct Value: Codable, Equatable {
        var key: String
        var value: String
        var version: LogIndex
    }

    var store: String
    var term: Term
    var vote: String
    var commit: LogIndex
    /// The entry before the first one of the log.
    var base: Position
    /// The last entry that the tables hold everything up to, and the last one of the snapshot that was installed.
    var flushed: Position
    var installed: LogIndex
    /// Of a node that crashed: a check has something to say of what that left.
    var hasLeftovers: Bool
    var log: [LogEntry]
    /// Every key that exists once entry `commit` is applied, and what names the members then.
    var values: [Value]
    var configuration: Members?
    var configurationVersion: LogIndex?
    var stateHash: String
}

extension ExpectedStore.LogEntry {
    init(_ entry: Entry) throws {
        self.init(index: entry.index, term: entry.term, kind: "")
        switch entry.kind {
        case .noOp: kind = "no operation"
        case .configuration:
            kind = "configuration"
            configuration = .init(try Configuration(from: entry.payload))
        case .command:
            kind = "command"
            var operations: [ExpectedStore.Operation] = []
            try Command.forEachOperation(in: entry.payload) { _, key, value in
                let key = FixtureText.text(Array(key))
                operations.append(
                    value.map { .init(put: key, value: FixtureText.text(Array($0))) } ?? .init(delete: key))
            }
            self.operations = operations
        }
    }
}

extension ExpectedStore.Members {
    init(_ configuration: Configuration) {
        incarnation = "\(configuration.incarnation)"
        members = configuration.members.map {
            Member(id: "\($0.id)", store: "\($0.store)", role: "\($0.role)", address: $0.address, label: $0.label)
        }
    }
}

extension [ExpectedStore.Value] {
    init(_ values: [[UInt8]: StoredValue]) {
        self = values.sorted { $0.key.lexicographicallyPrecedes($1.key) }.map { key, stored in
            .init(key: FixtureText.text(key), value: FixtureText.text(stored.bytes), version: stored.version)
        }
    }

    var stored: [[UInt8]: StoredValue] {
        var result: [[UInt8]: StoredValue] = [:]
        for item in self {
            result[FixtureText.bytes(item.key)] = StoredValue(
                bytes: FixtureText.bytes(item.value), version: item.version)
        }
        return result
    }
}

/// Bytes as text that a person can read: printable ASCII as it is, all else in hex.
enum FixtureText {
    private static let mark = "hex:"

    static func text(_ bytes: [UInt8]) -> String {
        let text = String(decoding: bytes, as: UTF8.self)
        guard bytes.allSatisfy({ (0x20...0x7e).contains($0) }), !text.hasPrefix(mark) else {
            return mark + bytes.map { String(UInt16($0) + 0x100, radix: 16).dropFirst() }.joined()
        }
        return text
    }

    static func bytes(_ text: String) -> [UInt8] {
        guard text.hasPrefix(mark) else { return Array(text.utf8) }
        let digits = Array(text.dropFirst(mark.count))
        return stride(from: 0, to: digits.count, by: 2).map { UInt8(String(digits[$0...$0 + 1]), radix: 16)! }
    }
}
