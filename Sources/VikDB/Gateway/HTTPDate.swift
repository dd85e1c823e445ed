import Glibc

/// The time as HTTP has it (IMF-fixdate, RFC 9110, 5.6.7).
enum HTTPDate {
    private static let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
    private static let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]

    /// - Parameter seconds: since 1970.
    static func text(_ seconds: Int) -> String {
        var time = time_t(seconds)
        var parts = tm()
        gmtime_r(&time, &parts)
        func padded(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
        return "\(days[Int(parts.tm_wday)]), \(padded(parts.tm_mday)) \(months[Int(parts.tm_mon)]) "
            + "\(parts.tm_year + 1_900) \(padded(parts.tm_hour)):\(padded(parts.tm_min)):\(padded(parts.tm_sec)) GMT"
    }
}

/// The header fields that all answers of a second have in common, encoded once for them. A plain value.
struct CommonFields {
    private(set) var bytes: [UInt8] = []
    private var second = Int.min

    init() {
        update()
    }

    mutating func update(to now: Int = time(nil)) {
        guard now != second else { return }
        second = now
        // Nothing may be kept: the next answer to the same request may be another.
        bytes = Array("Cache-Control: no-cache\r\nDate: \(HTTPDate.text(now))\r\n".utf8)
    }
}
