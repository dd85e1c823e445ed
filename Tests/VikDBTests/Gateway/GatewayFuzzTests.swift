import NIOCore
import Testing
import VikDB
import VikWire

/// Mutated targets and bodies: never a crash, and what is accepted keeps the limits.
@Suite struct GatewayFuzzTests {
    @Test func mutatedRequests() {
        var random = GatewayRandom()
        var limits = GatewayLimits()
        limits.maxKeyBytes = 12
        limits.maxValueBytes = 24
        limits.maxBatchBytes = 60
        let bodies = [
            #"{"value":"YWJjZGVm"}"#, #"{"keys":["YQ==","Yg=="],"values":["YWJj",""]}"#,
            #"{"start_key":"YQ==","end_key":"Yg==","limit":17}"#, #" { "value" : "\/\u0041==" } "#,
        ].map { Array($0.utf8) }
        let targets = [
            "/kv/YWJjZGVm", "/kv/range?start=a%20b&end=c+d&limit=5&encoding=base64&consistency=stale", "/kv/batch",
            "/kv/range?start=a+b", "/kv/range?start=a%2Bb&end=c%20d&limit=7", "/kv/range?start=a;end=b",
            "/kv/%2B_-%2f?consistency=linearizable", "http://a:1/kv/range?",
        ].map { Array($0.utf8) }
        let methods: [RequestMethod] = [.get, .put, .delete, .post, .head, .other]
        var accepted = (bodies: 0, targets: 0)
        for _ in 0..<300_000 {
            let body = ByteBuffer(bytes: mutate(bodies.randomElement(using: &random)!, &random))
            if let command = try? RequestBody.put(key: [1], body, limits) {
                accepted.bodies += check(command, limits)
            }
            if let batch = try? RequestBody.batch(body, limits) {
                #expect(check(batch.command, limits) == batch.count)
                accepted.bodies += 1
            }
            if let range = try? RequestBody.range(body, consistency: nil, limits) {
                #expect((range.limit ?? 1) <= 10_000)
                accepted.bodies += 1
            }
            let text = String(decoding: mutate(targets.randomElement(using: &random)!, &random), as: UTF8.self)
            if let target = try? Route.originForm(text),
                let route = try? Route(methods.randomElement(using: &random)!, target, limits)
            {
                if case .put(let key) = route, route.refusal(limits) == nil { #expect((1...12).contains(key.count)) }
                if case .range(let range) = route { check(range, target) }
                accepted.targets += 1
            }
        }
        print("accepted \(accepted.bodies) bodies and \(accepted.targets) targets")
        #expect(accepted.bodies > 1_000 && accepted.targets > 1_000)
    }

    /// A range that is accepted means the same to every client: to those that write a space as `+` and to those that
    /// separate by `;` as well.
    private func check(_ range: RangeRequest, _ target: String) {
        let query = target.split(separator: "?", maxSplits: 1).dropFirst().first ?? ""
        guard !query.contains("encoding=") && !query.contains("%65ncoding=") else { return }
        var bounds = ["start": [UInt8](), "end": []]
        for parameter in query.split(whereSeparator: { $0 == "&" || $0 == ";" }) {
            let parts = parameter.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let name = String(decoding: formDecoded(parts[0]), as: UTF8.self)
            if bounds[name] != nil { bounds[name] = parts.count == 2 ? formDecoded(parts[1]) : [] }
        }
        #expect(bounds["start"] == range.start && bounds["end"] == range.end, "\(target)")
    }

    /// As application/x-www-form-urlencoded has it; what is accepted has no stray `%`.
    private func formDecoded(_ text: Substring) -> [UInt8] {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "%"), let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
            {
                bytes.append(value)
                rest = rest.dropFirst(2)
            } else {
                bytes.append(byte == UInt8(ascii: "+") ? 0x20 : byte)
            }
        }
        return bytes
    }

    private func check(_ command: ByteBuffer, _ limits: GatewayLimits) -> Int {
        let count = try? Command.forEachOperation(in: command) { _, key, value in
            #expect((1...limits.maxKeyBytes).contains(key.count))
            #expect(value?.count ?? .max <= limits.maxValueBytes)
        }
        return count ?? -1
    }

    private func mutate(_ seed: [UInt8], _ random: inout GatewayRandom) -> [UInt8] {
        var bytes = seed
        for _ in 0..<Int.random(in: 0...3, using: &random) {
            let place = Int.random(in: 0...bytes.count, using: &random)
            switch Int.random(in: 0..<5, using: &random) {
            case 0: bytes.insert(UInt8.random(in: 0...255, using: &random), at: place)
            case 1: bytes.insert(Array(#""\{}[],:=%&?/AQ"#.utf8).randomElement(using: &random)!, at: place)
            case 2: bytes.removeLast(bytes.count - place)
            case 3 where place < bytes.count: bytes[place] ^= 1 << UInt8.random(in: 0...7, using: &random)
            default: bytes.replaceSubrange(place..<place, with: bytes[..<(bytes.count - place)])
            }
        }
        return bytes
    }
}
