/// What a check found in the files of one kind. A plain value.
package struct Findings: Sendable {
    /// Problems kept of one kind; of a device that returns nothing but garbage it is enough to know so many.
    private static let maxProblems = 50
    private static let maxNotes = 50

    /// The kind, such as `log segments`.
    package let subject: String
    /// What is there, as far as it could be read.
    package var summary = ""
    /// What keeps a node from starting, or from answering some read.
    package private(set) var problems: [StorageError] = []
    /// Problems beyond those kept.
    package private(set) var moreProblems = 0
    /// What is unusual, but harms nothing.
    package private(set) var notes: [String] = []
    package private(set) var moreNotes = 0

    package init(_ subject: String) {
        self.subject = subject
    }

    package var isOK: Bool { problems.isEmpty }

    package mutating func add(_ problem: StorageError) {
        // What stops one step may stop the next one too.
        if problems.contains(problem) { return }
        if problems.count < Self.maxProblems { problems.append(problem) } else { moreProblems += 1 }
    }

    package mutating func note(_ text: String) {
        if notes.count < Self.maxNotes { notes.append(text) } else { moreNotes += 1 }
    }

    /// The result of `step`; nil if it fails, which becomes a problem.
    @discardableResult
    package mutating func attempt<Result>(_ step: () throws(StorageError) -> Result) -> Result? {
        do throws(StorageError) {
            return try step()
        } catch {
            add(error)
            return nil
        }
    }
}

/// How far a check has come, in bytes of files. Reports to whoever watches; bound to the thread of the check.
package final class CheckProgress {
    private let total: UInt64
    private var done: UInt64 = 0
    private let report: (_ percent: Int) -> Void
    private var reported = 0

    /// - Parameter report: called whenever another percent is done.
    package init(total: UInt64, report: @escaping (_ percent: Int) -> Void) {
        self.total = total
        self.report = report
    }

    package func add(_ bytes: UInt64) {
        done += bytes
        let percent = total == 0 ? 100 : Int(min(done, total) * 100 / total)
        guard percent > reported else { return }
        reported = percent
        report(percent)
    }
}
