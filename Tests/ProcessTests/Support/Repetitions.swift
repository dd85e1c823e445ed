import Glibc

/// How often, or with how much, a test does what it does: little with `make test`, more if an environment variable says
/// so. docs/testing.md lists them.
enum Repetitions {
    static func count(_ variable: String, default small: Int) -> Int {
        guard let text = getenv(variable) else { return small }
        guard let count = Int(String(cString: text)), count > 0 else {
            preconditionFailure("\(variable) must be a number from 1 on")
        }
        return count
    }
}
