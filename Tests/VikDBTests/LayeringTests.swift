import Foundation
import Testing

/// The layers of docs/architecture.md, held against the sources: which modules each folder of VikDB imports, and which
/// other folders' types it names.
struct LayeringTests {
    private struct Layer {
        let folder: String
        let imports: Set<String>
        let uses: Set<String>
        /// Names of allowed modules that this layer must do without all the same.
        var avoids: Set<String> = []
    }

    private static let channels: Set<String> = [
        "Channel", "EventLoop", "ChannelHandler", "EventLoopFuture", "NIODeadline",
    ]

    private static let layers = [
        Layer(
            folder: "Storage", imports: ["CLinux", "Glibc", "NIOCore", "VikWire", "DequeModule", "Synchronization"],
            uses: [],
            avoids: channels),
        Layer(folder: "Sockets", imports: ["Glibc", "Logging", "NIOCore", "NIOPosix"], uses: []),
        Layer(folder: "Raft", imports: ["NIOCore", "VikWire", "DequeModule"], uses: [], avoids: channels),
        Layer(
            folder: "Log", imports: ["Glibc", "NIOCore", "VikWire", "DequeModule", "Synchronization"],
            uses: ["Storage"], avoids: channels),
        Layer(
            folder: "Engine", imports: ["Glibc", "NIOCore", "VikWire", "Atomics", "DequeModule", "Synchronization"],
            uses: ["Storage"], avoids: channels),
        Layer(
            folder: "Transport",
            imports: [
                "Crypto", "Glibc", "Logging", "NIOCore", "NIOPosix", "VikWire", "DequeModule", "Synchronization",
            ],
            // Of the storage only its threads.
            uses: ["Storage", "Sockets"], avoids: ["FileSystem", "PosixFileSystem", "StoreIdentity"]),
        Layer(
            folder: "Node", imports: ["Logging", "NIOCore", "VikWire", "DequeModule", "Synchronization"],
            // Of the transport only what a handshake tells about the node.
            uses: ["Raft", "Log", "Engine", "Storage", "Transport"], avoids: channels),
        Layer(
            folder: "Inspection", imports: ["NIOCore", "VikWire"], uses: ["Storage", "Log", "Engine", "Node"],
            avoids: channels),
        Layer(
            folder: "Gateway",
            imports: [
                "Glibc", "Logging", "NIOCore", "NIOPosix", "NIOHTTP1", "VikWire", "DequeModule", "Synchronization",
            ],
            uses: ["Node", "Sockets"], avoids: ["NodeShell", "NodeInput", "NodeInbox", "RecoveredNode"]),
        Layer(
            folder: "Server",
            imports: ["Dispatch", "Glibc", "Logging", "NIOCore", "NIOPosix", "VikWire", "Synchronization"],
            uses: ["Storage", "Raft", "Log", "Engine", "Transport", "Node", "Gateway", "Sockets"]),
    ]

    private struct Source {
        let folder: String
        let name: String
        let code: String
        let words: Set<String>
    }

    private static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "Sources/VikDB")

    private static func sources() throws -> [Source] {
        let files = FileManager.default
        return try files.contentsOfDirectory(atPath: root.path).sorted().flatMap { folder in
            let directory = root.appending(path: folder)
            return try files.contentsOfDirectory(atPath: directory.path).sorted().filter { $0.hasSuffix(".swift") }.map
            {
                let code = withoutCommentsAndText(
                    try String(contentsOf: directory.appending(path: $0), encoding: .utf8))
                let words = Set(code.matches(of: /\b[A-Z][A-Za-z0-9]*\b/).map { String($0.0) })
                return Source(folder: folder, name: folder + "/" + $0, code: code, words: words)
            }
        }
    }

    private static func withoutCommentsAndText(_ source: String) -> String {
        source.replacing(/\/\/[^\n]*/, with: "").replacing(/"(\\.|[^"\\\n])*"/, with: "")
    }

    /// Names of types that other folders can see.
    private static func declarations(_ sources: [Source], in folder: String) -> Set<String> {
        let declaration = /\b(?:struct|class|enum|protocol|typealias|actor) ([A-Z]\w*)/
        return Set(
            sources.filter { $0.folder == folder }.flatMap { source in
                source.code.split(separator: "\n").filter { !$0.contains("private ") && !$0.hasPrefix("    ") }
                    .compactMap { $0.firstMatch(of: declaration).map { String($0.1) } }
            })
    }

    @Test func everyFolderIsALayer() throws {
        #expect(Set(try Self.sources().map(\.folder)) == Set(Self.layers.map(\.folder)))
    }

    @Test func importsAreThoseOfTheLayer() throws {
        for source in try Self.sources() {
            let layer = try #require(Self.layers.first { $0.folder == source.folder })
            for line in source.code.matches(of: /(?m)^(?:\w+ )?import (\w+)/) {
                #expect(layer.imports.contains(String(line.1)), "\(source.name) imports \(line.1)")
            }
        }
    }

    @Test func typesAreThoseOfLayersBelow() throws {
        let sources = try Self.sources()
        for layer in Self.layers {
            let own = Self.declarations(sources, in: layer.folder)
            for other in Self.layers where other.folder != layer.folder && !layer.uses.contains(other.folder) {
                let foreign = Self.declarations(sources, in: other.folder).subtracting(own)
                for source in sources where source.folder == layer.folder {
                    let named = source.words.intersection(foreign).sorted()
                    #expect(named.isEmpty, "\(source.name) names \(named) of \(other.folder)")
                }
            }
            for source in sources where source.folder == layer.folder {
                let named = source.words.intersection(layer.avoids).sorted()
                #expect(named.isEmpty, "\(source.name) names \(named)")
            }
        }
    }

    @Test func noTwoLayersUseEachOther() {
        for layer in Self.layers {
            for other in Self.layers where layer.uses.contains(other.folder) {
                #expect(!other.uses.contains(layer.folder), "\(layer.folder) and \(other.folder) use each other")
            }
        }
    }
}
