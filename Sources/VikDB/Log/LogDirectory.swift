/// The names that a log's directory has, sorted by what they are. A plain value.
struct LogDirectory {
    let path: String
    /// Numbers of segments, ascending.
    var segments: [UInt32] = []
    private(set) var hasHardState = false
    /// Files that a crash kept from getting their name.
    private(set) var temporaries: [String] = []

    init(_ path: String, _ fileSystem: any FileSystem) throws(StorageError) {
        self.path = path
        for name in try fileSystem.list(path) {
            if let number = LogSegment.number(fileName: name) {
                segments.append(number)
            } else if name == HardStateFile.fileName {
                hasHardState = true
            } else if name.hasSuffix(".tmp") {
                let final = String(name.dropLast(4))
                if final == HardStateFile.fileName || LogSegment.number(fileName: final) != nil {
                    temporaries.append(name)
                }
            }
        }
        segments.sort()
    }

    func path(_ segment: UInt32) -> String {
        path + "/" + LogSegment.fileName(segment)
    }

    func missing(_ segment: UInt32, _ reason: String) -> StorageError {
        .corrupt(path: path(segment), offset: 0, reason: "the segment is missing: \(reason)")
    }

    var missingHardState: StorageError {
        .corrupt(
            path: path + "/" + HardStateFile.fileName, offset: 0,
            reason: "the hard state is missing beside log segments")
    }
}
