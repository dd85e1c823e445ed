import Foundation
import NIOCore
import Testing
import VikDB
import VikTestSupport
import VikWire

/// Stores that earlier builds wrote: each opens as it would at the start of a node, holds what it held then, and is
/// written on. See `Tests/Fixtures/README.md`.
@Suite("Stores of every format so far")
struct StoreFixtureTests {
    @Test func storesAreFound() {
        let first = FixtureStore.names.filter { $0.hasPrefix("store-log1-tables2-manifest1/") }
        #expect(
            Set(first.map { $0.split(separator: "/").last! }) == [
                "alone", "member", "crashed", "snapshot", "installing", "voted",
            ])
    }

    @Test(arguments: FixtureStore.names)
    func aCheckFindsNothingWrong(_ name: String) throws {
        let fixture = try FixtureStore(name)
        try withTemporaryDirectory { directory in
            try fixture.copy(to: directory)
            let report = try Self.check(directory)
            #expect(report.isOK, "\(report)")
            #expect(report.notes.isEmpty == !fixture.expected.hasLeftovers, "\(report.notes)")
        }
    }

    @Test(arguments: FixtureStore.names)
    func everyFileIsShown(_ name: String) throws {
        let fixture = try FixtureStore(name)
        try withTemporaryDirectory { directory in
            try fixture.copy(to: directory)
            let files = PosixFileSystem()
            for part in FixtureStore.parts {
                for file in try files.list("\(directory)/\(part)") where !file.hasSuffix(".tmp") {
                    var lines = 0
                    let isShown = try FileDump.run(
                        "\(directory)/\(part)/\(file)", fileSystem: files,
                        limits: FileDump.Limits(items: nil, bytes: 64)
                    ) { _ in lines += 1 }
                    #expect(isShown && lines > 0, "\(part)/\(file)")
                }
            }
        }
    }

    @Test(arguments: FixtureStore.names)
    func itHoldsWhatItHeld(_ name: String) throws {
        let fixture = try FixtureStore(name)
        try withTemporaryDirectory { directory in
            try fixture.copy(to: directory)
            try Self.expect(fixture.expected, in: directory)
            // Once more: the first start, which nothing ended, wrote segments and manifest anew.
            try Self.expect(fixture.expected, in: directory)
        }
    }

    @Test(arguments: FixtureStore.names)
    func itIsWrittenOn(_ name: String) throws {
        let fixture = try FixtureStore(name)
        try withTemporaryDirectory { directory in
            try fixture.copy(to: directory)
            let written = try Self.writeOn(fixture.expected, in: directory)
            let report = try Self.check(directory)
            #expect(report.isOK && report.notes.isEmpty, "\(report)")
            for compression in BlockCompression.allCases {
                let store = try OpenFixture(
                    directory, OpenFixture.options(compression), fileSystem: PosixFileSystem())
                #expect(store.node.state.hardState == written.hardState)
                #expect(store.node.state.lastIndex == written.last)
                try store.apply(try store.entries(), through: written.last)
                try expectEqual(store.engine, written.model)
                #expect(try store.hash() == written.hash)
                try store.engine.flush()
                #expect(try store.hash() == written.hash)
                try store.log.close()
            }
        }
    }

    private static func check(_ directory: String) throws -> StoreReport {
        var directories = StoreDirectories()
        try directories.add(directory, PosixFileSystem())
        return try StoreCheck.run(directories, fileSystem: PosixFileSystem()) { _ in }
    }

    /// Opens the store and compares everything that it holds.
    private static func expect(_ expected: ExpectedStore, in directory: String) throws {
        let store = try open(expected, in: directory)
        try expectEqual(store.engine, store.model)
        #expect(try store.hash() == expected.stateHash)
    }

    /// Opens the store, compares what does not take the engine's state, and applies what is committed.
    private static func open(_ expected: ExpectedStore, in directory: String) throws -> OpenFixture {
        var store = try OpenFixture(directory, fileSystem: PosixFileSystem())
        let state = store.node.state
        #expect("\(store.identity.id)" == expected.store)
        #expect(state.hardState.term == expected.term && "\(state.hardState.vote)" == expected.vote)
        #expect(state.hardState.commit == expected.commit)
        #expect(state.baseIndex == expected.base.index && state.baseTerm == expected.base.term)
        #expect(state.lastIndex == expected.log.last?.index ?? expected.base.index)
        #expect(store.engine.flushed == FlushedPosition(index: expected.flushed.index, term: expected.flushed.term))
        #expect(store.engine.installedIndex == expected.installed)
        let entries = try store.entries()
        let log = try entries.map { try ExpectedStore.LogEntry($0) }
        try #require(log == expected.log)
        let core = RaftCore(
            id: MemberID(rawValue: 1), store: store.identity.id, options: RaftOptions(), restoring: state, seed: 1)
        for entry in log { #expect(core.termOfEntry(at: entry.index) == entry.term) }
        let newest = log.last { $0.configuration != nil }?.configuration ?? expected.configuration
        #expect(core.configuration.map { ExpectedStore.Members($0) } == newest)

        try store.apply(entries, through: expected.commit)
        let stored = try store.engine.storedConfiguration()
        let members = try stored.map { ExpectedStore.Members(try Configuration(from: ByteBuffer(bytes: $0.bytes))) }
        #expect(members == expected.configuration && stored?.version == expected.configurationVersion)
        store.model = Model(values: expected.values.stored, configuration: stored)
        return store
    }

    private struct Written {
        var hardState: HardState
        var last: LogIndex
        var model: Model
        var hash: String
    }

    /// Goes on as a new leader's follower does: a new term, entries of every kind, flushes, merges and a compacted log.
    private static func writeOn(_ expected: ExpectedStore, in directory: String) throws -> Written {
        var store = try open(expected, in: directory)
        var log = try store.entries()
        for entry in log where entry.index > expected.commit { try store.model.apply(entry) }
        let term = expected.term + 1
        try store.log.save(HardState(term: term, vote: .none, commit: expected.commit))
        var last = store.node.state.lastIndex
        func append(_ kind: EntryKind, _ payload: ByteBuffer = ByteBuffer()) throws {
            last += 1
            let entry = Entry(index: last, term: term, kind: kind, payload: payload)
            try store.log.append([entry])
            try store.log.sync()
            try store.model.apply(entry)
            log.append(entry)
        }
        let member = Member(
            id: .founder(address: "10.0.0.1:9090"), store: store.identity.id, address: "10.0.0.1:9090", label: "node1")
        let configuration = Configuration(incarnation: Incarnation(high: 1, low: 2), members: [member])
        try append(.configuration, configuration.encoded())
        for (round, key) in expected.values.prefix(3).map(\.key).enumerated() {
            try append(.noOp)
            try append(
                .command, Command.put(key: Array("new\(round)".utf8), value: [UInt8](repeating: 7, count: 1_500)))
            // One key that was there goes, one gets another value.
            let key = FixtureText.bytes(key)
            try append(.command, round == 0 ? Command.delete(key: key) : Command.put(key: key, value: [1, 2, 3]))
            try append(.command, Command.delete(key: Array("never there".utf8)))
            try store.apply(log, through: last)
            try expectEqual(store.engine, store.model)
            // Each flush makes a merge due.
            try store.engine.flush()
            store.log.allowDiscard(through: store.engine.flushed.index)
            try expectEqual(store.engine, store.model)
        }
        // The next segment, with which the log's front goes.
        try append(.command, Command.put(key: [0], value: [UInt8](repeating: 9, count: 5_000)))
        try store.apply(log, through: last)
        try store.log.removeDiscarded()
        if expected.values.count >= 3 {
            #expect(store.log.base.index > store.node.state.baseIndex)
            #expect(store.engine.statistics.levels[0].tables == 0)
            #expect(store.engine.statistics.work.merges > 0)
        }
        let hardState = HardState(term: term, vote: MemberID(rawValue: 77), commit: last)
        try store.log.save(hardState)
        try store.log.close()
        return Written(hardState: hardState, last: last, model: store.model, hash: try store.hash())
    }
}
