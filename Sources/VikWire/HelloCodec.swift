import NIOCore

/// The body of a Hello: `proto-spec.md` has the table.
extension Hello {
    /// The first bytes of every Hello body: "VIKDBRPL".
    static let magic: UInt64 = 0x5649_4b44_4252_504c
    /// Magic and version range, which no version may change.
    static let prefixBytes = 12
    /// Oldest version that this build speaks.
    package static let oldestVersion: UInt16 = 1

    func writeBody(into buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(
            Self.magic, minVersion, maxVersion, features, channel.rawValue, state.rawValue,
            (isPeerUnknown ? Flags.peerUnknown : 0) | (isStoreRefused ? Flags.storeRefused : 0), UInt8(0))
        buffer.writeRandomID(incarnation)
        buffer.writeMultipleIntegers(member.rawValue, peer.rawValue)
        buffer.writeRandomID(store)
        buffer.writeRandomID(recordedStore)
        buffer.writeWireString(label)
        buffer.writeWireString(address)
        buffer.writeWireString(apiAddress)
        logEnd?.write(into: &buffer)
    }

    private enum Flags {
        static let peerUnknown: UInt8 = 1
        static let storeRefused: UInt8 = 2
    }

    /// Decodes a frame of type `hello` or `helloReply`.
    ///
    /// The version range is judged before anything after it is read, because a later version may change the rest.
    package init(from frame: Frame) throws(WireError) {
        var body = frame.body
        let (minVersion, maxVersion) = try Self.readVersions(from: &body, "hello")
        guard
            let (features, rawChannel, rawState, flags, reserved) = body.readMultipleIntegers(
                as: (UInt64, UInt8, UInt8, UInt8, UInt8).self),
            let (incarnationHigh, incarnationLow) = body.readMultipleIntegers(as: (UInt64, UInt64).self),
            let (member, peer, storeHigh, storeLow, recordedHigh, recordedLow) = body.readMultipleIntegers(
                as: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64).self)
        else { throw .truncated("hello") }
        guard let channel = Channel(rawValue: rawChannel) else {
            throw .unknown(field: "channel", value: UInt64(rawChannel))
        }
        guard let state = StoreState(rawValue: rawState) else {
            throw .unknown(field: "store state", value: UInt64(rawState))
        }
        let isAnswer = frame.type == .helloReply
        let understood = isAnswer ? HelloFeatures(rawValue: features) : []
        guard flags & ~(Flags.peerUnknown | (understood.contains(.storeRefusal) ? Flags.storeRefused : 0)) == 0 else {
            throw .unknown(field: "hello flags", value: UInt64(flags))
        }
        guard reserved == 0 else { throw .unknown(field: "hello reserved field", value: UInt64(reserved)) }
        let store = StoreID(high: storeHigh, low: storeLow)
        guard member != 0, peer != 0, store != .zero else { throw .invalid("a hello without member, peer or store") }
        let label = try body.readWireString("label", limit: WireLimits.maxLabelBytes)
        guard !label.isEmpty else { throw .invalid("a hello without a label") }
        let address = try body.readWireString("address", limit: WireLimits.maxAddressBytes)
        let apiAddress = try body.readWireString("API address", limit: WireLimits.maxAddressBytes)
        _ = try HostPort.parse(address)
        _ = try HostPort.parse(apiAddress)
        let logEnd = understood.contains(.logEnd) ? try LogEnd(from: &body) : nil
        guard body.readableBytes == 0 else { throw .invalid("bytes after the end of a hello") }
        self.init(
            minVersion: minVersion, maxVersion: maxVersion, features: features, channel: channel,
            isPeerUnknown: flags & Flags.peerUnknown != 0,
            incarnation: Incarnation(high: incarnationHigh, low: incarnationLow), member: MemberID(rawValue: member),
            peer: MemberID(rawValue: peer), store: store, state: state,
            recordedStore: StoreID(high: recordedHigh, low: recordedLow), label: label, address: address,
            apiAddress: apiAddress)
        isStoreRefused = flags & Flags.storeRefused != 0
        self.logEnd = logEnd
    }

    /// Reads and judges what every first frame of a connection begins with: magic and range of versions.
    static func readVersions(
        from body: inout ByteBuffer, _ what: String
    ) throws(WireError) -> (min: UInt16, max: UInt16) {
        guard let (magic, minVersion, maxVersion) = body.readMultipleIntegers(as: (UInt64, UInt16, UInt16).self)
        else { throw .truncated(what) }
        guard magic == Self.magic else { throw .badMagic }
        guard minVersion >= 1, minVersion <= maxVersion else { throw .invalid("an impossible range of versions") }
        guard minVersion <= Self.currentVersion, maxVersion >= Self.oldestVersion else {
            let nearest = minVersion > Self.currentVersion ? minVersion : maxVersion
            throw .unknown(field: "protocol version", value: UInt64(nearest))
        }
        return (minVersion, maxVersion)
    }
}

extension LogEnd {
    func write(into buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(term, durableIndex, durableTerm, commitIndex, commitTerm)
    }

    init(from body: inout ByteBuffer) throws(WireError) {
        guard
            let (term, durableIndex, durableTerm, commitIndex, commitTerm) = body.readMultipleIntegers(
                as: (UInt64, UInt64, UInt64, UInt64, UInt64).self)
        else { throw .truncated("end of the log") }
        guard term <= WireLimits.maxTerm else { throw .tooLarge(field: "term", value: term, limit: WireLimits.maxTerm) }
        try checkPosition(durableIndex, durableTerm, in: term)
        try checkPosition(commitIndex, commitTerm, in: durableTerm)
        guard commitIndex <= durableIndex else { throw .invalid("a log is committed beyond its end") }
        self.init(
            term: term, durableIndex: durableIndex, durableTerm: durableTerm, commitIndex: commitIndex,
            commitTerm: commitTerm)
    }
}
