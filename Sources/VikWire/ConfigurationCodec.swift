import NIOCore

/// The payload of a configuration entry; the layout is at ``Configuration``.
extension Configuration {
    package func encoded() -> ByteBuffer {
        precondition((1...WireLimits.maxMembers).contains(members.count), "a cluster has 1 to 15 members")
        var buffer = ByteBuffer()
        buffer.writeRandomID(incarnation)
        buffer.writeInteger(UInt16(members.count))
        for member in members {
            buffer.writeInteger(member.id.rawValue)
            buffer.writeRandomID(member.store)
            buffer.writeInteger(member.role.rawValue)
            buffer.writeWireString(member.address)
            buffer.writeWireString(member.label)
        }
        return buffer
    }

    package init(from payload: ByteBuffer) throws(WireError) {
        var body = payload
        guard let (high, low, count) = body.readMultipleIntegers(as: (UInt64, UInt64, UInt16).self) else {
            throw .truncated("configuration")
        }
        let incarnation = Incarnation(high: high, low: low)
        guard incarnation != .zero else { throw .invalid("a configuration without an incarnation") }
        guard count >= 1 else { throw .invalid("a configuration without members") }
        guard count <= WireLimits.maxMembers else {
            throw .tooLarge(field: "members", value: UInt64(count), limit: UInt64(WireLimits.maxMembers))
        }
        var members: [Member] = []
        members.reserveCapacity(Int(count))
        for _ in 0..<count {
            let member = try Member(from: &body)
            guard member.id > members.last?.id ?? .none else {
                throw .invalid("members are not in the order of their ids")
            }
            members.append(member)
        }
        guard body.readableBytes == 0 else { throw .invalid("bytes after the last member") }
        guard members.contains(where: { $0.role == .voter }) else { throw .invalid("a configuration without voters") }
        self.init(incarnation: incarnation, members: members)
    }
}

extension Member {
    fileprivate init(from body: inout ByteBuffer) throws(WireError) {
        guard let (id, high, low, rawRole) = body.readMultipleIntegers(as: (UInt64, UInt64, UInt64, UInt8).self)
        else { throw .truncated("member") }
        guard let role = MemberRole(rawValue: rawRole) else {
            throw .unknown(field: "member role", value: UInt64(rawRole))
        }
        let address = try body.readWireString("member address", limit: WireLimits.maxAddressBytes)
        let label = try body.readWireString("member label", limit: WireLimits.maxLabelBytes)
        // A cluster of one has no replication address.
        if !address.isEmpty { _ = try HostPort.parse(address) }
        self.init(
            id: MemberID(rawValue: id), store: StoreID(high: high, low: low), role: role, address: address,
            label: label)
    }
}
