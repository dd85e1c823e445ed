import NIOCore
import Testing
import VikWire

/// The worked examples of `proto-spec.md`, in both directions.
@Suite struct SpecTests {
    @Test(arguments: Samples.messages.map(\.name))
    func message(_ name: String) throws {
        let message = try #require(Samples.messages.first { $0.name == name }).message
        #expect(message.encoded == SpecExamples[name])
        #expect(try Message(decoding: SpecExamples[name], on: message.channel) == message)
    }

    @Test func hello() throws {
        var buffer = ByteBuffer()
        FrameEncoder.write(hello: Samples.hello, into: &buffer)
        #expect(buffer == SpecExamples["hello"])
        let frame = try #require(try FrameDecoder(mode: .hello).next(from: &buffer))
        #expect(try Hello(from: frame) == Samples.hello)
    }

    @Test func helloReply() throws {
        var buffer = ByteBuffer()
        FrameEncoder.write(helloReply: Samples.helloReply, into: &buffer)
        #expect(buffer == SpecExamples["hello-reply"])
        let frame = try #require(try FrameDecoder(mode: .helloReply).next(from: &buffer))
        #expect(try Hello(from: frame) == Samples.helloReply)
    }

    @Test func configuration() throws {
        #expect(Samples.configuration.encoded() == SpecExamples["configuration"])
        #expect(try Configuration(from: SpecExamples["configuration"]) == Samples.configuration)
    }

    @Test func everyExampleIsTested() {
        let tested = Samples.messages.map(\.name) + ["hello", "hello-reply", "configuration"]
        #expect(Set(SpecExamples.all.keys) == Set(tested))
        let types = Set(Samples.messages.map(\.message.type))
        #expect(types == Set(MessageType.allCases.filter { $0.channel != nil }))
    }

    @Test func limitsAreThoseOfTheDocument() {
        #expect(WireLimits.maxEntryPayloadBytes == 8_395_612)
        #expect(WireLimits.maxFrameBodyBytes == 9_444_468)
        #expect(WireLimits.maxEntriesPerAppend == 4_096)
        #expect(WireLimits.maxHelloBodyBytes == 1_024)
        #expect(WireLimits.maxMembers == 15)
        #expect(WireLimits.maxTerm == 1 << 62 && WireLimits.maxIndex == 1 << 62)
    }
}
