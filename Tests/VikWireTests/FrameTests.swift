import NIOCore
import Testing
import VikTestSupport
import VikWire

@Suite struct FrameTests {
    private static let heartbeat = SpecExamples["heartbeat"]

    private static func error(_ bytes: ByteBuffer, mode: FrameDecoder.Mode = .messages(.control)) -> WireError? {
        var buffer = bytes
        do throws(WireError) {
            _ = try FrameDecoder(mode: mode).next(from: &buffer)
            return nil
        } catch {
            return error
        }
    }

    @Test(arguments: SpecExamples.all.keys.filter { $0 != "configuration" })
    func everyPrefixWaits(_ name: String) throws {
        let whole = SpecExamples[name]
        let mode: FrameDecoder.Mode =
            switch name {
            case "hello": .hello
            case "hello-reply", "hello-reply-log-end", "hello-reply-refused": .helloReply
            case "append": .messages(.bulk)
            case "snapshot-offer", "snapshot-chunk", "snapshot-end": .messages(.snapshot)
            case "join-request": .hello
            case "join-reply-member", "join-reply-unknown": .joinReply
            case "authentication-challenge": .authenticationChallenge
            case "authentication-reply": .authenticationReply
            case "authentication-proof": .authenticationProof
            default: .messages(.control)
            }
        for length in 0..<whole.readableBytes {
            var prefix = whole.getSlice(at: 0, length: length)!
            #expect(try FrameDecoder(mode: mode).next(from: &prefix) == nil)
            #expect(prefix.readableBytes == length)
        }
    }

    @Test func cutsFramesThatArriveByteByByte() throws {
        let decoder = FrameDecoder(mode: .messages(.control))
        let messages = Samples.messages.filter { $0.message.channel == .control }.map(\.message)
        var arrived = ByteBuffer()
        var decoded: [Message] = []
        for message in messages {
            for byte in message.encoded.readableBytesView {
                arrived.writeInteger(byte)
                while let frame = try decoder.next(from: &arrived) {
                    decoded.append(try Message(from: frame))
                }
            }
        }
        #expect(decoded == messages)
        #expect(arrived.readableBytes == 0)
    }

    @Test(arguments: [0, 23, 25, 0x7fff_ffff, 0xffff_ffff] as [UInt32])
    func wrongLengthIsRefusedOnTheHeaderAlone(_ length: UInt32) throws {
        var header = Self.heartbeat.getSlice(at: 0, length: Frame.headerBytes)!
        header.setInteger(length, at: 0)
        let expected: WireError =
            length < 24 ? .truncated("frame body") : .tooLarge(field: "frame body", value: UInt64(length), limit: 24)
        #expect(Self.error(header) == expected)
    }

    @Test func largestAppendIsWaitedForAndOneByteMoreIsNot() throws {
        var header = SpecExamples["append"].getSlice(at: 0, length: Frame.headerBytes)!
        header.setInteger(UInt32(WireLimits.maxFrameBodyBytes), at: 0)
        #expect(Self.error(header, mode: .messages(.bulk)) == nil)
        header.setInteger(UInt32(WireLimits.maxFrameBodyBytes + 1), at: 0)
        let limit = UInt64(WireLimits.maxFrameBodyBytes)
        #expect(
            Self.error(header, mode: .messages(.bulk))
                == .tooLarge(field: "frame body", value: limit + 1, limit: limit))
    }

    @Test func everyFlippedBitIsRefusedOrWaitedFor() throws {
        for bit in 0..<Self.heartbeat.readableBytes * 8 {
            var bytes = Self.heartbeat
            let byte = bytes.getInteger(at: bit / 8, as: UInt8.self)!
            bytes.setInteger(byte ^ (1 << (bit % 8)), at: bit / 8)
            #expect(Self.error(bytes) != nil, "bit \(bit)")
        }
    }

    @Test func flagsAndReservedBytesAreZero() throws {
        var bytes = Self.heartbeat
        bytes.setInteger(UInt8(1), at: 5)
        #expect(Self.error(bytes) == .unknown(field: "frame flags", value: 1))
        bytes = Self.heartbeat
        bytes.setInteger(UInt16(0x0100), at: 6)
        #expect(Self.error(bytes) == .unknown(field: "frame reserved field", value: 0x0100))
    }

    @Test func badChecksumIsRefused() throws {
        var bytes = Self.heartbeat
        bytes.setInteger(UInt32(0), at: 8)
        let expected = Self.heartbeat.getInteger(at: 8, as: UInt32.self)!
        #expect(Self.error(bytes) == .badChecksum(expected: expected, found: 0))
    }

    @Test func eachModeAllowsItsTypesOnly() throws {
        let modes: [FrameDecoder.Mode] = [
            .hello, .helloReply, .joinReply, .authenticationChallenge, .authenticationReply, .authenticationProof,
            .messages(.control), .messages(.bulk), .messages(.snapshot), .nothing,
        ]
        for type in UInt8.min...UInt8.max {
            let known = MessageType(rawValue: type)
            for mode in modes {
                let allowed =
                    switch mode {
                    case .hello: known == .hello || known == .joinRequest
                    case .joinReply: known == .joinReply
                    case .authenticationChallenge: known == .authenticationChallenge
                    case .authenticationReply: known == .authenticationReply
                    case .authenticationProof: known == .authenticationProof
                    case .helloReply: known == .helloReply
                    case .messages(.control):
                        known != nil && ((16...23).contains(type) && known != .append || [34, 50, 56].contains(type))
                    case .messages(.snapshot): [32, 33, 35].contains(type)
                    case .messages(.bulk): known == .append
                    case .nothing: false
                    }
                // A length that only a Hello or an append may have: what is not allowed fails on its type.
                var header = ByteBuffer()
                header.writeMultipleIntegers(UInt32(100), type, UInt8(0), UInt16(0), UInt32(0))
                let isUnknown = Self.error(header, mode: mode) == .unknown(field: "frame type", value: UInt64(type))
                #expect(isUnknown == !allowed, "type \(type) in \(mode)")
            }
        }
    }

    @Test func framesAppendToWhatTheBufferHolds() throws {
        var buffer = ByteBuffer(string: "earlier bytes")
        buffer.moveReaderIndex(forwardBy: 8)
        FrameEncoder.write(Samples.messages[0].message, into: &buffer)
        #expect(buffer.readString(length: 5) == "bytes")
        #expect(buffer == SpecExamples[Samples.messages[0].name])
    }

    @Test func decodedEntriesShareTheFramesStorage() throws {
        var bytes = SpecExamples["append"]
        let frame = try #require(try FrameDecoder(mode: .messages(.bulk)).next(from: &bytes))
        guard case .append(let append) = try Message(from: frame) else { preconditionFailure() }
        let storage = frame.body.storageAddresses
        for entry in append.entries {
            #expect(storage.contains(entry.bytes.storageAddresses.lowerBound))
        }
    }
}

extension ByteBuffer {
    fileprivate var storageAddresses: Range<UInt> {
        withUnsafeReadableBytes { bytes in
            let start = UInt(bitPattern: bytes.baseAddress!)
            return start..<start + UInt(bytes.count)
        }
    }
}
