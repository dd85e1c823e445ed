import Foundation
import NIOCore
import Testing
import VikTestSupport
import VikWire

/// Bytes that earlier builds sent and stored, and what they mean: see `Tests/Fixtures/README.md`.
@Suite("Frames and payloads of every protocol so far")
struct GoldenTests {
    /// What today's build writes in another way than version 1, each with the reason. It is read all the same.
    private static let writtenAnew: [String: String] = [:]

    /// What today's build does not read any more, each with the reason: no node of version 1 can have sent it.
    private static let refused: [String: String] = [
        "heartbeat-last": "a read round is at most 2^62; rounds are counted from 1 in each term"
    ]

    private static let golden = GoldenFile.read("protocol-1")

    @Test func theFileHasAllOfThem() {
        #expect(Self.golden.map(\.name) == GoldenSamples.all.map(\.name))
        #expect(Set(Self.writtenAnew.keys).isSubset(of: Self.golden.map(\.name)))
    }

    @Test func everyTypeOfMessageIsThere() {
        var types: Set<MessageType> = []
        for (_, value) in GoldenSamples.all {
            switch value {
            case .challenge: types.insert(.authenticationChallenge)
            case .authenticationReply: types.insert(.authenticationReply)
            case .proof: types.insert(.authenticationProof)
            case .hello: types.insert(.hello)
            case .helloReply: types.insert(.helloReply)
            case .joinRequest: types.insert(.joinRequest)
            case .joinReply: types.insert(.joinReply)
            case .message(let message): types.insert(message.type)
            case .entry, .command, .configuration: break
            }
        }
        // Those that came with a later version are none of this one's.
        let ofVersion1: ClosedRange<UInt8> = 1...50
        let known = MessageType.allCases.filter { ofVersion1.contains($0.rawValue) }
        #expect(types.count == 20 && types.isSubset(of: known))
    }

    @Test(arguments: GoldenSamples.all.map(\.name))
    func itMeansWhatItMeant(_ name: String) throws {
        let value = try #require(GoldenSamples.all.first { $0.name == name }).value
        let golden = try #require(Self.golden.first { $0.name == name })
        if Self.refused[name] != nil {
            #expect(throws: WireError.self) { try value.decoded(golden.bytes) }
            return
        }
        let decoded = try value.decoded(golden.bytes)
        #expect(decoded == value)
        #expect(decoded.description == golden.description)
        #expect((value.encoded() == golden.bytes) == (Self.writtenAnew[name] == nil))
        #expect(try value.decoded(value.encoded()) == value)
    }

    @Test func chunksHoldTheirRecords() throws {
        var decompressor = ChunkDecompressor()
        let inflated = try decompressor.decompress(
            GoldenSamples.compressedRecords, rawBytes: GoldenSamples.records.readableBytes)
        #expect(inflated == GoldenSamples.records)
        #expect(Checksum.crc32(inflated) == 2_817_582_974)
    }

    private static let newName = ProcessInfo.processInfo.environment["VIK_NEW_FRAMES"]

    /// Writes what today's build encodes, once a version is new; what is there is never written over.
    @Test(.enabled(if: newName != nil, "VIK_NEW_FRAMES names a folder to be made"))
    func write() throws {
        try GoldenFile.write(try #require(Self.newName))
    }
}

/// The file `frames.txt` of a protocol's version: blocks of a name, a line in words and lines of hex.
struct GoldenFile {
    let name: String
    let description: String
    let bytes: ByteBuffer

    private static let fileName = "frames.txt"

    static func read(_ folder: String) -> [GoldenFile] {
        let file = Fixtures.folder(folder).appending(path: fileName)
        guard let text = try? String(contentsOf: file, encoding: .utf8) else { return [] }
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false).filter { !$0.hasPrefix("#") }
        return lines.split(separator: "").map { block in
            let block = Array(block)
            let digits = Array(block.dropFirst(2).joined())
            let bytes = stride(from: 0, to: digits.count, by: 2).map {
                UInt8(String(digits[$0...$0 + 1]), radix: 16)!
            }
            return GoldenFile(
                name: String(block[0]), description: String(block[1]), bytes: ByteBuffer(bytes: bytes))
        }
    }

    static func write(_ name: String) throws {
        let folder = Fixtures.folder(name)
        try #require(!FileManager.default.fileExists(atPath: folder.path), "fixtures are only ever added")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        var text = "# What a build encoded: a name, the meaning, and the bytes in hex. See ../README.md.\n"
        for (name, value) in GoldenSamples.all {
            let digits = value.encoded().readableBytesView
                .map { String(UInt16($0) + 0x100, radix: 16).dropFirst() }.joined()
            let lines = stride(from: 0, to: digits.count, by: 96).map { digits.dropFirst($0).prefix(96) }
            text += "\n" + ([name, value.description] + lines.map(String.init)).joined(separator: "\n") + "\n"
        }
        try text.write(to: folder.appending(path: fileName), atomically: true, encoding: .utf8)
    }
}
