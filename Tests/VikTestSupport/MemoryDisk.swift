import Glibc
import VikDB

/// The state of a ``MemoryFileSystem``: what is on the medium, what is only in the cache, and the changes that lead
/// from one to the other. A plain value.
struct Disk {
    var nodes: [Int: Node] = [:]
    var capacity: Int
    var fileCapacity = Int.max
    /// Counts crashes, so that files opened before one are told from those opened after it.
    private(set) var epoch = 0
    private(set) var callCount = 0
    var crashPoint = Int.max
    var fault: (call: Int, code: Int32)?

    private var nextID = 0
    private var names: [String: Int] = [:]
    private var durableNames: [String: Int] = [:]
    private var pendingNames: [(directory: String, change: NameChange)] = []
    private var directories: Set<String> = ["", "/", "."]
    private var locks: Set<String> = []

    private enum NameChange {
        case add(String, id: Int)
        case remove(String, id: Int)
        case move(String, to: String, id: Int)

        var id: Int {
            switch self {
            case .add(_, let id), .remove(_, let id), .move(_, _, let id): id
            }
        }

        func apply(to names: inout [String: Int]) {
            switch self {
            case .add(let name, let id):
                names[name] = id
            case .remove(let name, let id):
                if names[name] == id { names[name] = nil }
            case .move(let source, let target, let id):
                if names[source] == id { names[source] = nil }
                names[target] = id
            }
        }
    }

    init(capacity: Int) {
        self.capacity = capacity
    }

    /// Counts a call. Throws past the crash point; returns the error of a fault that is due now.
    mutating func countCall(_ operation: String, _ path: String) throws(StorageError) -> StorageError? {
        callCount += 1
        if callCount > crashPoint {
            throw .io(operation: operation, path: path, code: MemoryFileSystem.crashedCode)
        }
        guard let (call, code) = fault, call <= callCount else { return nil }
        fault = nil
        return code == ENOSPC || code == EDQUOT ? .full(path: path) : .io(operation: operation, path: path, code: code)
    }

    // MARK: Names

    mutating func open(_ path: String, _ mode: OpenMode) throws(StorageError) -> Int {
        if let id = names[path] {
            if mode == .create { throw .io(operation: "open", path: path, code: EEXIST) }
            nodes[id]!.openCount += 1
            return id
        }
        guard mode == .create, directories.contains(parent(of: path)) else {
            throw .io(operation: "open", path: path, code: ENOENT)
        }
        guard fileCount < fileCapacity else { throw .full(path: path) }
        let id = addNode(path)
        nodes[id]!.openCount += 1
        return id
    }

    private mutating func addNode(_ path: String) -> Int {
        nextID += 1
        nodes[nextID] = Node()
        change(.add(path, id: nextID), in: parent(of: path))
        return nextID
    }

    private mutating func change(_ change: NameChange, in directory: String) {
        change.apply(to: &names)
        pendingNames.append((directory, change))
    }

    mutating func createDirectory(_ path: String) {
        var directory = path
        while directories.insert(directory).inserted { directory = parent(of: directory) }
    }

    func list(_ directory: String) throws(StorageError) -> [String] {
        guard directories.contains(directory) else {
            throw .io(operation: "list", path: directory, code: ENOENT)
        }
        let paths = names.keys.filter { parent(of: $0) == directory }
        let children = directories.filter { $0 != directory && !$0.isEmpty && parent(of: $0) == directory }
        return (paths + children).map { String($0[$0.index(after: $0.lastIndex(of: "/")!)...]) }.sorted()
    }

    mutating func rename(_ source: String, to target: String) throws(StorageError) {
        guard let id = names[source] else { throw .io(operation: "rename", path: source, code: ENOENT) }
        guard parent(of: source) == parent(of: target) else {
            throw .io(operation: "rename", path: source, code: EXDEV)
        }
        change(.move(source, to: target, id: id), in: parent(of: source))
    }

    mutating func remove(_ path: String) throws(StorageError) {
        guard let id = names[path] else { throw .io(operation: "remove", path: path, code: ENOENT) }
        change(.remove(path, id: id), in: parent(of: path))
    }

    func exists(_ path: String) -> Bool {
        names[path] != nil || directories.contains(path)
    }

    mutating func syncDirectory(_ directory: String) throws(StorageError) {
        guard directories.contains(directory) else {
            throw .io(operation: "sync directory", path: directory, code: ENOENT)
        }
        for (owner, change) in pendingNames where owner == directory {
            change.apply(to: &durableNames)
        }
        pendingNames.removeAll { $0.directory == directory }
        dropUnnamedNodes()
    }

    mutating func lock(_ path: String, create: Bool) throws(StorageError) {
        guard names[path] != nil || create && directories.contains(parent(of: path)) else {
            throw .io(operation: "lock", path: path, code: ENOENT)
        }
        guard locks.insert(path).inserted else { throw .locked(path: path) }
        if names[path] == nil { _ = addNode(path) }
    }

    mutating func unlock(_ path: String, epoch: Int) {
        if epoch == self.epoch { locks.remove(path) }
    }

    // MARK: Bytes

    mutating func withNode<Result>(
        _ id: Int, epoch: Int, _ operation: String, _ path: String,
        _ body: (inout Node) throws(StorageError) -> Result
    ) throws(StorageError) -> Result {
        guard epoch == self.epoch else { throw .io(operation: operation, path: path, code: EBADF) }
        return try body(&nodes[id]!)
    }

    mutating func write(
        _ bytes: UnsafeRawBufferPointer, at offset: Int, to id: Int, epoch: Int, path: String
    ) throws(StorageError) {
        try reserve(upTo: offset + bytes.count, id, path)
        try withNode(id, epoch: epoch, "write", path) { node throws(StorageError) in
            node.apply(.write(offset: offset, bytes: Array(bytes)))
        }
    }

    mutating func allocate(_ size: Int, to id: Int, epoch: Int, path: String) throws(StorageError) {
        try reserve(upTo: size, id, path)
        try withNode(id, epoch: epoch, "allocate", path) { node throws(StorageError) in
            if size > node.current.size { node.apply(.resize(size)) }
        }
    }

    private func reserve(upTo size: Int, _ id: Int, _ path: String) throws(StorageError) {
        guard capacity < .max, let node = nodes[id] else { return }
        let growth = max(0, size - node.current.size)
        if usedBytes + growth > capacity { throw .full(path: path) }
    }

    mutating func close(_ id: Int, epoch: Int) {
        if epoch == self.epoch { nodes[id]!.openCount -= 1 }
    }

    /// Of files that have a name or are open; what was removed takes nothing, even if a crash may bring it back.
    var usedBytes: Int {
        let named = Set(names.values)
        return nodes.reduce(0) {
            named.contains($1.key) || $1.value.openCount > 0 ? $0 + $1.value.current.size : $0
        }
    }

    /// With a name.
    var fileCount: Int { names.count }

    var openFileCount: Int { nodes.values.reduce(0) { $0 + $1.openCount } }

    func contents(of path: String) -> [UInt8]? {
        names[path].map { nodes[$0]!.current.allBytes }
    }

    mutating func corrupt(_ path: String, at offset: Int, xor mask: UInt8) {
        nodes[names[path]!]!.flip(at: offset, xor: mask)
    }

    // MARK: Crash

    mutating func crash(keep: MemoryFileSystem.Keep, using generator: inout some RandomNumberGenerator) {
        for id in nodes.keys.sorted() {
            nodes[id]!.crash(keep: keep, using: &generator)
        }
        for (_, change) in pendingNames {
            let isKept =
                switch keep {
                case .none: false
                case .all: true
                case .random: Bool.random(using: &generator)
                }
            if isKept { change.apply(to: &durableNames) }
        }
        pendingNames = []
        names = durableNames
        killProcess()
    }

    mutating func killProcess() {
        for id in nodes.keys { nodes[id]!.openCount = 0 }
        locks = []
        epoch += 1
        crashPoint = .max
        fault = nil
        dropUnnamedNodes()
    }

    private mutating func dropUnnamedNodes() {
        var kept = Set(names.values).union(durableNames.values)
        kept.formUnion(pendingNames.map(\.change.id))
        nodes = nodes.filter { kept.contains($0.key) || $0.value.openCount > 0 }
    }
}

private func parent(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "" }
    return slash == path.startIndex ? "/" : String(path[..<slash])
}

/// One file: its bytes on the medium, its bytes in the cache, and the changes between them in order.
struct Node {
    private(set) var current = Content()
    private(set) var durable = Content()
    private var pending: [Change] = []
    var openCount = 0

    enum Change {
        case write(offset: Int, bytes: [UInt8])
        case resize(Int)
    }

    mutating func apply(_ change: Change) {
        current.apply(change)
        pending.append(change)
    }

    mutating func sync() {
        for change in pending { durable.apply(change) }
        pending = []
    }

    /// What a failed sync leaves: the cache holds the bytes and counts as clean, the medium never gets them.
    mutating func forgetPending() {
        pending = []
    }

    mutating func flip(at offset: Int, xor mask: UInt8) {
        current.flip(at: offset, xor: mask)
        if offset < durable.size { durable.flip(at: offset, xor: mask) }
    }

    mutating func crash(keep: MemoryFileSystem.Keep, using generator: inout some RandomNumberGenerator) {
        switch keep {
        case .none: break
        case .all: sync()
        case .random: keepRandomSectors(using: &generator)
        }
        pending = []
        current = durable
    }

    /// Each sector gets the first few of the writes that touched it, the size is one that the file went through.
    private mutating func keepRandomSectors(using generator: inout some RandomNumberGenerator) {
        var writesOfSector: [Int: Int] = [:]
        var sizes = [durable.size]
        for change in pending {
            switch change {
            case .write(let offset, let bytes):
                sizes.append(max(sizes.last!, offset + bytes.count))
                for piece in sectors(offset..<offset + bytes.count) { writesOfSector[piece.sector, default: 0] += 1 }
            case .resize(let size):
                sizes.append(size)
            }
        }
        var writesToKeep: [Int: Int] = [:]
        for sector in writesOfSector.keys.sorted() {
            writesToKeep[sector] = Int.random(in: 0...writesOfSector[sector]!, using: &generator)
        }
        for case .write(let offset, let bytes) in pending {
            for (sector, range) in sectors(offset..<offset + bytes.count) where writesToKeep[sector]! > 0 {
                writesToKeep[sector]! -= 1
                let piece = bytes[(range.lowerBound - offset)..<(range.upperBound - offset)]
                durable.apply(.write(offset: range.lowerBound, bytes: Array(piece)))
            }
        }
        durable.apply(.resize(sizes.randomElement(using: &generator)!))
    }

    private func sectors(_ range: Range<Int>) -> [(sector: Int, range: Range<Int>)] {
        guard !range.isEmpty else { return [] }
        return (range.lowerBound / 512...(range.upperBound - 1) / 512).map { sector in
            (sector, range.clamped(to: sector * 512..<(sector + 1) * 512))
        }
    }
}

/// The bytes of a file. Those past `bytes` are zeros, so that reserved space costs no memory.
struct Content {
    private var bytes: [UInt8] = []
    private(set) var size = 0

    var allBytes: [UInt8] { bytes + Array(repeating: 0, count: size - bytes.count) }

    func read(at offset: Int, into buffer: UnsafeMutableRawBufferPointer) -> Int {
        let count = max(0, min(buffer.count, size - offset))
        let stored = max(0, min(count, bytes.count - offset))
        bytes.withUnsafeBytes { source in
            if stored > 0 { buffer.copyMemory(from: .init(rebasing: source[offset..<offset + stored])) }
        }
        if stored < count { memset(buffer.baseAddress! + stored, 0, count - stored) }
        return count
    }

    mutating func apply(_ change: Node.Change) {
        switch change {
        case .write(let offset, let written):
            let end = offset + written.count
            grow(to: min(end, max(offset, bytes.count)))
            let overlap = min(end, bytes.count) - offset
            bytes.replaceSubrange(offset..<offset + overlap, with: written)
            size = max(size, end)
        case .resize(let newSize):
            if newSize < bytes.count { bytes.removeSubrange(newSize...) }
            size = newSize
        }
    }

    mutating func flip(at offset: Int, xor mask: UInt8) {
        precondition(offset < size, "corrupts a byte of the file")
        grow(to: offset + 1)
        bytes[offset] ^= mask
    }

    private mutating func grow(to count: Int) {
        if count > bytes.count { bytes.append(contentsOf: repeatElement(0, count: count - bytes.count)) }
    }
}
