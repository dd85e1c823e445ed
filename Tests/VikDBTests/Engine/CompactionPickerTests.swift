import Testing
import VikDB
import VikWire

/// The choice of what to merge, on made-up levels.
struct CompactionPickerTests {
    private let picker = CompactionPicker(level0Tables: 4, level1Bytes: 1_000, levelRatio: 10, tableBytes: 200)

    private func table(_ number: UInt64, _ range: ClosedRange<UInt8>, bytes: UInt64 = 200) -> TableMetadata {
        func key(_ byte: UInt8) -> [UInt8] { [1, byte] + [UInt8](repeating: 0, count: InternalKey.trailerBytes) }
        return TableMetadata(
            number: number, fileBytes: bytes, entries: 1, smallest: key(range.lowerBound),
            largest: key(range.upperBound))
    }

    private func levels(_ tables: [TableMetadata]...) -> [[TableMetadata]] {
        tables + [[TableMetadata]](repeating: [], count: 7 - tables.count)
    }

    @Test func nothingIsDueBelowTheLimits() {
        #expect(picker.pick(levels()) == nil)
        let level0 = (1...3).map { table($0, 0...9) }
        let level1 = (0..<4).map { table(10 + $0, UInt8($0 * 10)...UInt8($0 * 10 + 9)) }
        #expect(picker.pick(levels(level0, level1)) == nil)
    }

    @Test func whatHangsTogetherOnLevel0GoesDownWithWhatItOverlaps() {
        // 4 and 2 meet only through the others.
        let level0 = [table(4, 30...35), table(3, 12...14), table(2, 0...13), table(1, 14...30)]
        let level1 = [table(10, 0...9), table(11, 10...19), table(12, 20...29), table(13, 36...50), table(14, 60...69)]
        #expect(
            picker.pick(levels(level0, level1))
                == CompactionPlan(level: 0, upper: [4, 3, 2, 1], lower: [10, 11, 12]))
    }

    @Test func ofSeveralRangesTheFullestGoesDownAlone() {
        let level0 = [table(5, 80...85), table(4, 3...8), table(3, 82...84), table(2, 0...3), table(1, 85...90)]
        let level1 = [table(10, 0...9), table(11, 10...79), table(12, 80...81), table(13, 91...99)]
        #expect(
            picker.pick(levels(level0, level1)) == CompactionPlan(level: 0, upper: [5, 3, 1], lower: [12]))
        // What is left of level 0 is not due.
        #expect(picker.pick(levels([level0[1], level0[3]], level1)) == nil)
    }

    @Test func theTableThatDragsTheLeastGoesDown() {
        let level1 = (0..<6).map { table(10 + $0, UInt8($0 * 10)...UInt8($0 * 10 + 9)) }
        let level2 = [
            table(20, 0...24), table(21, 25...28), table(22, 29...33), table(23, 36...41), table(24, 45...47),
            table(25, 52...53),
        ]
        #expect(picker.pick(levels([], level1, level2)) == CompactionPlan(level: 1, upper: [10], lower: [20]))
    }

    @Test func aTableOverNothingMoves() {
        let level1 = (0..<6).map { table(10 + $0, UInt8($0 * 10)...UInt8($0 * 10 + 9)) }
        let plan = picker.pick(levels([], level1, [table(20, 0...39), table(21, 50...59)]))
        #expect(plan == CompactionPlan(level: 1, upper: [14], lower: [], isMove: true))
    }

    @Test func level0OfKeysInOrderMoves() {
        let level0 = (0..<4).map { table(4 - $0, UInt8(30 - 10 * $0)...UInt8(39 - 10 * $0)) }
        let below = [table(10, 40...50)]
        #expect(
            picker.pick(levels(level0, below))
                == CompactionPlan(level: 0, upper: [4, 3, 2, 1], lower: [], isMove: true))
        // A stem in two of them, or a table that is too small to be kept as it is: they are merged.
        let touching = Array(level0.dropLast()) + [table(1, 0...10)]
        #expect(picker.pick(levels(touching, below))?.isMove == false)
        let small = Array(level0.dropLast()) + [table(1, 0...9, bytes: 90)]
        #expect(picker.pick(levels(small, below))?.isMove == false)
    }

    @Test func smallNeighboursJoin() {
        let level1 = (0..<6).map { table(10 + $0, UInt8($0 * 10)...UInt8($0 * 10 + 9)) }
        let level2 = [table(20, 0...39, bytes: 150), table(21, 50...54, bytes: 60), table(22, 55...59)]
        #expect(picker.pick(levels([], level1, level2)) == CompactionPlan(level: 1, upper: [14], lower: [21]))
    }

    @Test func theFullestLevelComesFirst() {
        let level0 = (1...5).map { table($0, 0...9) }
        let level1 = (0..<20).map { table(10 + $0, UInt8($0 * 10)...UInt8($0 * 10 + 9)) }
        #expect(picker.pick(levels(level0, level1))?.level == 1)
        #expect(picker.pick(levels(level0, Array(level1.prefix(5))))?.level == 0)
    }

    @Test func touchingKeysOverlap() {
        let level0 = (1...4).map { table($0, 10...20) }
        let level1 = [table(10, 0...10), table(11, 11...12), table(12, 20...30), table(13, 31...40)]
        #expect(picker.pick(levels(level0, level1))?.lower == [10, 11, 12])
    }

    @Test func theLastLevelIsNeverPicked() {
        var levels = levels()
        levels[6] = [table(1, 0...9, bytes: .max / 2)]
        #expect(picker.pick(levels) == nil)
    }
}
