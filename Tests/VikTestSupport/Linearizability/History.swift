import Foundation

/// One operation of a client on one key, as a history records it; docs/testing.md, "Histories", has the format. A plain
/// value.
package struct HistoryOperation: Codable, Equatable, Sendable {
    package enum Kind: String, Codable, Sendable {
        case put
        case delete
        case get
    }

    package enum Outcome: String, Codable, Sendable {
        /// The write took effect between call and return; the read returned `value`.
        case ok
        /// The write had no effect and never will; the read was not answered.
        case notApplied = "not_applied"
        /// The write may take effect at any time after its call, or never.
        case unknown
    }

    package var client: Int
    package var kind: Kind
    package var key: String
    /// What was written or read; nil for a delete, and for a read that found no such key.
    package var value: String?
    /// Nanoseconds on a clock that all clients share.
    package var call: UInt64
    /// Nil if the client heard nothing.
    package var `return`: UInt64?
    package var outcome: Outcome
    package var node: String
    /// The operations of one batch, or the reads of one range, share a number.
    package var group: UInt64?

    private enum CodingKeys: String, CodingKey {
        case client
        case kind = "op"
        case key
        case value
        case call
        case `return`
        case outcome
        case node
        case group
    }

    package init(
        client: Int, kind: Kind, key: String, value: String? = nil, call: UInt64, return: UInt64?,
        outcome: Outcome, node: String = "", group: UInt64? = nil
    ) {
        self.client = client
        self.kind = kind
        self.key = key
        self.value = value
        self.call = call
        self.return = `return`
        self.outcome = outcome
        self.node = node
        self.group = group
    }
}

/// What clients did and saw, in any order. A plain value.
package struct History: Equatable, Sendable {
    package var operations: [HistoryOperation] = []

    package init(_ operations: [HistoryOperation] = []) {
        self.operations = operations
    }

    /// One operation a line.
    package func jsonLines() throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return try operations.map { String(decoding: try encoder.encode($0), as: UTF8.self) + "\n" }.joined()
    }

    package init(jsonLines text: String) throws {
        let decoder = JSONDecoder()
        operations = try text.split(separator: "\n").map {
            try decoder.decode(HistoryOperation.self, from: Data($0.utf8))
        }
    }
}
