/// Writes keys in ascending order, one version of each, into as many tables as they need. Bound to one job.
struct TableRun {
    private let files: TableFiles
    private let maxTableBytes: UInt64
    private var finished: [TableMetadata] = []
    private var current: NewTable?

    init(_ files: TableFiles, maxTableBytes: UInt64) {
        self.files = files
        self.maxTableBytes = maxTableBytes
    }

    mutating func add(_ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) throws(StorageError) {
        if let current, current.table.fileBytes >= maxTableBytes { try finishTable() }
        let table: NewTable
        if let current {
            table = current
        } else {
            table = try files.create()
            current = table
        }
        try table.table.add(key, value)
    }

    /// Of the tables that are not handed over.
    var bytes: UInt64 { finished.reduce(current?.table.fileBytes ?? 0) { $0 + $1.fileBytes } }

    /// Makes the tables durable, their names aside, and hands them over.
    mutating func finish() throws(StorageError) -> [TableMetadata] {
        try finishTable()
        defer { finished = [] }
        return finished
    }

    /// Removes what was written and not handed over.
    mutating func abandon() {
        if let current { files.discard(current.number) }
        for table in finished { files.discard(table.number) }
        current = nil
        finished = []
    }

    private mutating func finishTable() throws(StorageError) {
        guard let table = current else { return }
        finished.append(try table.table.finish())
        current = nil
    }
}
