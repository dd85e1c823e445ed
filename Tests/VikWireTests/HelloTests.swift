import NIOCore
import Testing
import VikTestSupport
import VikWire

@Suite struct HelloTests {
    private static func refusal(of bytes: ByteBuffer) -> WireError? {
        var buffer = bytes
        do throws(WireError) {
            guard let frame = try FrameDecoder(mode: .hello).next(from: &buffer) else { return .truncated("frame") }
            _ = try Hello(from: frame)
            return nil
        } catch {
            return error
        }
    }

    private static func hello(_ offset: Int, _ value: some FixedWidthInteger) -> WireError? {
        refusal(of: SpecExamples["hello"].reframed(offset, value))
    }

    private static func hello(_ change: (inout Hello) -> Void) -> WireError? {
        var hello = Samples.hello
        change(&hello)
        var buffer = ByteBuffer()
        FrameEncoder.write(hello: hello, into: &buffer)
        return refusal(of: buffer)
    }

    @Test func magicComesFirst() {
        for offset in 0..<8 {
            #expect(Self.hello(offset, UInt8(0)) == .badMagic)
        }
    }

    @Test func versionsMustMeet() {
        #expect(Self.hello { $0.maxVersion = 9 } == nil)
        #expect(Self.hello { ($0.minVersion, $0.maxVersion) = (2, 9) } == .unknown(field: "protocol version", value: 2))
        #expect(Self.hello { ($0.minVersion, $0.maxVersion) = (0, 1) } != nil)
        #expect(Self.hello { ($0.minVersion, $0.maxVersion) = (2, 1) } != nil)
    }

    @Test func laterVersionsAreToldByTheirFirstBytes() {
        let bytes = SpecExamples["hello"].reframed { body in
            body.setInteger(UInt32(0x0002_0003), at: body.readerIndex + 8)
            body.moveWriterIndex(to: body.readerIndex + 12)
        }
        #expect(Self.refusal(of: bytes) == .unknown(field: "protocol version", value: 2))
    }

    @Test func unknownFeaturesAreIgnored() {
        #expect(Self.hello { $0.features = .max } == nil)
    }

    @Test func unknownValuesAreRefused() {
        #expect(Self.hello(20, UInt8(3)) == .unknown(field: "channel", value: 3))
        #expect(Self.hello(21, UInt8(3)) == .unknown(field: "store state", value: 3))
        #expect(Self.hello(22, UInt8(2)) == .unknown(field: "hello flags", value: 2))
        #expect(Self.hello(23, UInt8(1)) == .unknown(field: "hello reserved field", value: 1))
        #expect(Self.hello { $0.member = .none } != nil)
        #expect(Self.hello { $0.peer = .none } != nil)
        #expect(Self.hello { $0.store = .zero } != nil)
    }

    /// What only an answer may say, and only to who understands it.
    @Test func answersTellMoreToWhoUnderstands() {
        func answer(_ change: (inout Hello) -> Void) -> WireError? {
            var hello = Samples.helloReplyWithLogEnd
            change(&hello)
            var buffer = ByteBuffer()
            FrameEncoder.write(helloReply: hello, into: &buffer)
            do throws(WireError) {
                guard let frame = try FrameDecoder(mode: .helloReply).next(from: &buffer) else {
                    return .truncated("frame")
                }
                return try Hello(from: frame) == hello ? nil : .invalid("another hello")
            } catch {
                return error
            }
        }
        #expect(answer { _ in } == nil)
        #expect(answer { $0.logEnd = nil } == .truncated("end of the log"))
        #expect(answer { $0.features = 0 } == .invalid("bytes after the end of a hello"))
        #expect(
            answer {
                $0.features = HelloFeatures.logEnd.rawValue
                $0.isStoreRefused = true
            } == .unknown(field: "hello flags", value: 2))
        #expect(Self.hello { ($0.features, $0.isStoreRefused) = (.max, true) } != nil)
        #expect(Self.hello { ($0.features, $0.logEnd) = (.max, Samples.helloReplyWithLogEnd.logEnd) } != nil)
        #expect(answer { $0.logEnd!.commitIndex = 1003 } == .invalid("a log is committed beyond its end"))
        #expect(answer { $0.logEnd!.commitTerm = 8 } != nil)
        #expect(answer { $0.logEnd!.durableTerm = 8 } != nil)
        #expect(answer { $0.logEnd!.term = WireLimits.maxTerm + 1 } != nil)
        #expect(answer { $0.logEnd!.durableIndex = WireLimits.maxIndex + 1 } != nil)
        #expect(answer { $0.logEnd!.commitIndex = 0 } != nil)
        #expect(
            answer { $0.logEnd = LogEnd(term: 0, durableIndex: 0, durableTerm: 0, commitIndex: 0, commitTerm: 0) }
                == nil)
    }

    @Test func stringsAreChecked() {
        #expect(Self.hello { $0.label = "" } != nil)
        #expect(Self.hello { $0.label = String(repeating: "x", count: WireLimits.maxLabelBytes) } == nil)
        #expect(Self.hello { $0.label = String(repeating: "x", count: WireLimits.maxLabelBytes + 1) } != nil)
        #expect(Self.hello { $0.label = "nøde ✓" } == nil)
        #expect(Self.hello { $0.label = "a\r\nb" } == .invalid("label has control characters"))
        #expect(Self.hello { $0.address = "nowhere" } != nil)
        #expect(Self.hello { $0.apiAddress = "host/path:80" } != nil)
        #expect(Self.hello { $0.apiAddress = "host:80\r\nX-Evil: 1" } != nil)
        #expect(Self.hello(90, UInt8(0xff)) == .invalid("label is not UTF-8"))
        #expect(Self.hello(88, UInt16(0xffff)) == .tooLarge(field: "label", value: 0xffff, limit: 128))
        #expect(Self.hello(88, UInt16(128)) == .truncated("label"))
    }

    @Test func everyShorterOrLongerBodyIsRefused() {
        let example = SpecExamples["hello"]
        for missing in 1...example.readableBytes - Frame.headerBytes {
            let bytes = example.reframed { $0.moveWriterIndex(to: $0.writerIndex - missing) }
            #expect(Self.refusal(of: bytes) != nil, "without its last \(missing) bytes")
        }
        #expect(
            Self.refusal(of: example.reframed { $0.writeInteger(UInt8(0)) })
                == .invalid("bytes after the end of a hello"))
    }
}

@Suite struct ConfigurationTests {
    private static func refusal(_ change: (inout ByteBuffer) -> Void) -> WireError? {
        var bytes = SpecExamples["configuration"]
        change(&bytes)
        do throws(WireError) {
            _ = try Configuration(from: bytes)
            return nil
        } catch {
            return error
        }
    }

    @Test func countHasBounds() {
        #expect(Self.refusal { $0.setInteger(UInt16(0), at: 16) } != nil)
        #expect(
            Self.refusal { $0.setInteger(UInt16(16), at: 16) } == .tooLarge(field: "members", value: 16, limit: 15))
        #expect(Self.refusal { $0.setInteger(UInt16(2), at: 16) } == .invalid("bytes after the last member"))
        #expect(Self.refusal { $0.setInteger(UInt16(4), at: 16) } == .truncated("member"))
    }

    @Test func idsAscendAndAreUnique() {
        let first = SpecExamples["configuration"].getInteger(at: 18, as: UInt64.self)!
        let second = 18 + 25 + 15 + 7
        let error = Self.refusal { $0.setInteger(first, at: second) }
        #expect(error == .invalid("members are not in the order of their ids"))
        #expect(Self.refusal { $0.setInteger(UInt64(0), at: 18) } != nil)
    }

    @Test func rolesAreKnownAndSomeoneVotes() {
        #expect(Self.refusal { $0.setInteger(UInt8(3), at: 18 + 24) } == .unknown(field: "member role", value: 3))
        let learners = Configuration(
            incarnation: Samples.incarnation,
            members: Samples.configuration.members.map { member in
                var member = member
                member.role = .learner
                return member
            })
        #expect(Self.refusal { $0 = learners.encoded() } == .invalid("a configuration without voters"))
    }

    @Test func incarnationIsKnown() {
        #expect(Self.refusal { $0.setRepeatingByte(0, count: 16, at: 0) } != nil)
    }

    @Test func everyPrefixIsRefused() {
        for length in 0..<SpecExamples["configuration"].readableBytes {
            #expect(Self.refusal { $0.moveWriterIndex(to: length) } != nil, "\(length) bytes")
        }
    }

    @Test func clusterOfOneNeedsNoAddress() throws {
        let alone = Configuration(
            incarnation: Samples.incarnation,
            members: [Member(id: Samples.members[0], store: Samples.stores[0], address: "", label: "")])
        #expect(try Configuration(from: alone.encoded()) == alone)
    }
}

extension ByteBuffer {
    fileprivate mutating func setRepeatingByte(_ byte: UInt8, count: Int, at index: Int) {
        setBytes(repeatElement(byte, count: count), at: index)
    }
}
