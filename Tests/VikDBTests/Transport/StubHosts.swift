import Dispatch
import NIOCore
import Synchronization
import VikDB

/// Names as a test wants them: each stands for addresses, is unknown, or hangs until the test says otherwise.
final class StubHosts: Sendable {
    enum Answer {
        case addresses([String])
        case unknown
        case hangs
    }

    private struct Name {
        var answer = Answer.unknown
        var lookUps = 0
        var underWay = 0
        var mostUnderWay = 0
        /// For look-ups that hang.
        let news = DispatchSemaphore(value: 0)
    }

    private let names = Mutex<[String: Name]>([:])

    init(_ answers: [String: Answer]) {
        for (name, answer) in answers { set(name, answer) }
    }

    func set(_ name: String, _ answer: Answer) {
        names.withLock { names in
            names[name, default: Name()].answer = answer
            for _ in 0..<names[name]!.underWay { names[name]!.news.signal() }
        }
    }

    /// Lets every look-up end.
    func release() {
        for name in names.withLock({ Array($0.keys) }) { set(name, .unknown) }
    }

    func lookUps(of name: String) -> Int { names.withLock { $0[name]?.lookUps ?? 0 } }
    func mostAtOnce(of name: String) -> Int { names.withLock { $0[name]?.mostUnderWay ?? 0 } }

    var lookUp: HostLookUp {
        { [self] name throws(HostLookUpError) in
            names.withLock {
                $0[name, default: Name()].lookUps += 1
                $0[name]!.underWay += 1
                $0[name]!.mostUnderWay = max($0[name]!.mostUnderWay, $0[name]!.underWay)
            }
            defer { names.withLock { $0[name]!.underWay -= 1 } }
            while true {
                let (answer, news) = names.withLock { ($0[name]!.answer, $0[name]!.news) }
                switch answer {
                case .addresses(let texts): return texts.map { try! SocketAddress(ipAddress: $0, port: 0) }
                case .unknown: throw HostLookUpError("Name or service not known")
                case .hangs: news.wait()
                }
            }
        }
    }
}
