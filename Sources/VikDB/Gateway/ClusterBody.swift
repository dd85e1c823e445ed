import NIOCore
import VikWire

/// The JSON and the text of answers about the cluster itself.
extension Response {
    static func members(_ status: NodeStatus) -> Response {
        var response = Response(.ok, bodyCapacity: 1_024)
        response.write(#"{"success":true,"leader_id":"#)
        response.writeQuoted(status.leaderID)
        response.write(#","members":"#)
        response.writeMembers(status.members)
        response.write("}")
        return response
    }

    static func administered(index: LogIndex) -> Response {
        var response = Response(.ok)
        response.write(#"{"success":true,"version":"#)
        response.write(index)
        response.write("}")
        return response
    }

    static func stateHash(_ hash: UInt64, index: LogIndex) -> Response {
        let digits = String(hash, radix: 16)
        var response = Response(.ok)
        response.write(#"{"success":true,"hash":""#)
        response.body.writeString(String(repeating: "0", count: 16 - digits.count) + digits)
        response.write(#"","index":"#)
        response.write(index)
        response.write("}")
        return response
    }

    static func lines(_ text: String, isGood: Bool = true) -> Response {
        var response = Response(isGood ? .ok : .serviceUnavailable, bodyCapacity: text.utf8.count)
        response.isText = true
        response.body.writeString(text)
        return response
    }

    static func live(_ status: NodeStatus) -> Response {
        let probe = ProbeText.live(status)
        return lines(probe.text, isGood: probe.isPassed)
    }

    static func ready(_ status: NodeStatus) -> Response {
        let probe = ProbeText.ready(status)
        return lines(probe.text, isGood: probe.isPassed)
    }

    mutating func writeMembers(_ members: [MemberStatus]) {
        write("[")
        for (position, member) in members.enumerated() {
            if position > 0 { write(",") }
            write(#"{"node_id":"#)
            writeQuoted(member.label)
            write(#","member_id":"#)
            writeQuoted(member.id.description)
            write(#","address":"#)
            writeQuoted(member.address)
            write(#","api_address":"#)
            writeQuoted(member.apiAddress)
            if let address = member.apiAddress, members.count(where: { $0.apiAddress == address }) > 1 {
                write(#","api_address_shared":true"#)
            }
            write(#","role":"#)
            writeQuoted(member.role.name)
            write(#","leads":"#)
            write(member.isLeader ? "true" : "false")
            writeOptional(#","match_index":"#, member.match)
            writeOptional(#","lag":"#, member.lag)
            writeOptional(#","last_contact_ms":"#, member.lastContactMilliseconds)
            writeOptional(#","snapshot_percent":"#, member.snapshotPercent.map { UInt64($0) })
            write("}")
        }
        write("]")
    }

    private mutating func writeOptional(_ name: StaticString, _ number: UInt64?) {
        guard let number else { return }
        write(name)
        write(number)
    }
}

extension MemberRole {
    fileprivate var name: String {
        switch self {
        case .voter: "voter"
        case .learner: "learner"
        case .voterToBe: "learner-to-voter"
        }
    }
}
