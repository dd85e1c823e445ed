import NIOCore
import VikWire

/// The JSON of each answer, written straight into the response.
extension Response {
    static func putDone(version: LogIndex) -> Response {
        var response = Response(.ok)
        response.write(#"{"success":true,"message":"key stored successfully","version":"#)
        response.write(version)
        response.write("}")
        return response
    }

    static func deleteDone(version: LogIndex) -> Response {
        var response = Response(.ok)
        response.write(#"{"success":true,"message":"key deleted successfully","version":"#)
        response.write(version)
        response.write("}")
        return response
    }

    static func batchDone(count: Int, version: LogIndex) -> Response {
        var response = Response(.ok)
        response.write(#"{"success":true,"count":"#)
        response.write(UInt64(count))
        response.write(#","version":"#)
        response.write(version)
        response.write("}")
        return response
    }

    static func value(_ value: StoredValue, index: LogIndex) -> Response {
        var response = Response(.ok, bodyCapacity: 96 + Base64.encodedCount(value.bytes.count))
        response.write(#"{"success":true,"value":""#)
        Base64.encode(value.bytes.span, into: &response.body)
        response.write(#"","version":"#)
        response.write(value.version)
        response.write(#","index":"#)
        response.write(index)
        response.write("}")
        return response
    }

    static func page(_ page: RangePage, of request: RangeRequest, index: LogIndex) -> Response {
        let bytes = page.items.reduce(0) {
            $0 + 24 + Base64.encodedCount($1.key.count) + Base64.encodedCount($1.value.count)
        }
        let pathBytes = page.next.map { 2 * Base64.encodedCount($0.count + request.end.count) + 160 } ?? 0
        var response = Response(.ok, bodyCapacity: 64 + bytes + pathBytes)
        response.write(#"{"success":true,"items":["#)
        var separator: StaticString = #"{"key":""#
        for item in page.items {
            response.write(separator)
            Base64.encode(item.key.span, into: &response.body)
            response.write(#"","value":""#)
            Base64.encode(item.value.span, into: &response.body)
            response.write(#""}"#)
            separator = #",{"key":""#
        }
        response.write(#"],"index":"#)
        response.write(index)
        if let next = page.next {
            response.write(#","more":true,"next":""#)
            Base64.encode(next.span, into: &response.body)
            response.write(#"","next_path":""#)
            request.writeNextPath(from: next, into: &response.body)
            response.write(#"""#)
        }
        response.write("}")
        return response
    }

    static func health(_ status: NodeStatus) -> Response {
        let trouble = status.complaint
        var response = Response(trouble == nil ? .ok : .serviceUnavailable, bodyCapacity: 256)
        response.write(trouble == nil ? #"{"status":"healthy""# : #"{"status":"unhealthy""#)
        response.write(#","memtable_size":"#)
        response.write(UInt64(status.memtableBytes))
        response.write(#","wal_size":"#)
        response.write(status.logBytes)
        response.write(#","sstable_count":"#)
        response.write(UInt64(status.tableCount))
        response.write(#","role":"#)
        response.writeQuoted(status.isReplicated ? status.role.rawValue : "single-node")
        if let trouble {
            response.write(#","error":"#)
            response.writeQuoted(trouble)
        }
        response.write("}")
        return response
    }

    static func clusterStatus(_ status: NodeStatus) -> Response {
        var response = Response(.ok, bodyCapacity: 384)
        guard status.isReplicated else {
            response.write(#"{"replication":false,"mode":"single-node"}"#)
            return response
        }
        response.write(#"{"replication":true,"is_leader":"#)
        response.write(status.role == .leader ? "true" : "false")
        if status.isStale { response.write(#","stale":true"#) }
        response.write(#","term":"#)
        response.write(status.term)
        response.write(#","node_id":"#)
        response.writeQuoted(status.nodeID)
        response.write(#","role":"#)
        response.writeQuoted(status.role.rawValue)
        response.write(#","leader_id":"#)
        response.writeQuoted(status.leaderID)
        response.write(#","leader_address":"#)
        response.writeQuoted(status.leaderAPIAddress)
        response.write(#","commit_index":"#)
        response.write(status.commitIndex)
        response.write(#","applied_index":"#)
        response.write(status.appliedIndex)
        response.write(#","last_index":"#)
        response.write(status.lastIndex)
        response.write(#","first_index":"#)
        response.write(status.firstLogIndex)
        if let percent = status.incomingSnapshotPercent {
            response.write(#","incoming_snapshot_percent":"#)
            response.write(UInt64(percent))
        }
        response.write(#","members":"#)
        response.writeMembers(status.members)
        if let trouble = status.complaint {
            response.write(#","trouble":"#)
            response.writeQuoted(trouble)
        }
        response.write("}")
        return response
    }

    static func failed(_ failure: HTTPFailure) -> Response {
        var response = Response(failure.status, bodyCapacity: 256, location: failure.location)
        response.allow = failure.allow
        response.retriesSoon = failure.retriesSoon
        response.write(#"{"success":false,"error":"#)
        response.writeQuoted(failure.message)
        if let outcome = failure.outcome {
            response.write(#","outcome":"#)
            response.writeQuoted(outcome.rawValue)
        }
        response.write("}")
        return response
    }

    mutating func write(_ text: StaticString) {
        body.writeStaticString(text)
    }

    mutating func write(_ number: UInt64) {
        body.writeString(String(number))
    }

    mutating func writeQuoted(_ text: String?) {
        guard let text else { return write("null") }
        body.writeInteger(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): body.writeMultipleIntegers(UInt8(ascii: "\\"), byte)
            case 0..<0x20, 0x7F:
                let digits = String(byte, radix: 16)
                body.writeString(digits.utf8.count == 1 ? "\\u000\(digits)" : "\\u00\(digits)")
            default: body.writeInteger(byte)
            }
        }
        body.writeInteger(UInt8(ascii: "\""))
    }
}
