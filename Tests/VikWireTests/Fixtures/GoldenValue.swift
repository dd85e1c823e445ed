import NIOCore
import VikWire

/// Something that VikDB encodes, with its codec. A plain value.
enum GoldenValue: Equatable {
    enum Operation: Equatable {
        case put([UInt8], [UInt8])
        case delete([UInt8])
    }

    case challenge(AuthenticationChallenge)
    case authenticationReply(AuthenticationReply)
    case proof(AuthenticationProof)
    case hello(Hello)
    case helloReply(Hello)
    case joinRequest(JoinRequest)
    case joinReply(JoinReply)
    case message(Message)
    /// What stands in appends and in the log.
    case entry(Entry)
    /// Payloads of entries.
    case command([Operation])
    case configuration(Configuration)

    func encoded() -> ByteBuffer {
        var buffer = ByteBuffer()
        switch self {
        case .challenge(let challenge): FrameEncoder.write(challenge, into: &buffer)
        case .authenticationReply(let reply): FrameEncoder.write(reply, into: &buffer)
        case .proof(let proof): FrameEncoder.write(proof, into: &buffer)
        case .hello(let hello): FrameEncoder.write(hello: hello, into: &buffer)
        case .helloReply(let hello): FrameEncoder.write(helloReply: hello, into: &buffer)
        case .joinRequest(let request): FrameEncoder.write(request, into: &buffer)
        case .joinReply(let reply): FrameEncoder.write(reply, into: &buffer)
        case .message(let message): FrameEncoder.write(message, into: &buffer)
        case .entry(let entry): buffer = entry.bytes
        case .command(let operations):
            Command.writeHeader(operationCount: operations.count, into: &buffer)
            for operation in operations {
                switch operation {
                case .put(let key, let value): Command.writePut(key: key, value: value, into: &buffer)
                case .delete(let key): Command.writeDelete(key: key, into: &buffer)
                }
            }
        case .configuration(let configuration): buffer = configuration.encoded()
        }
        return buffer
    }

    /// What `bytes` mean, read as a value of this one's kind.
    func decoded(_ bytes: ByteBuffer) throws -> GoldenValue {
        var buffer = bytes
        func frame(_ mode: FrameDecoder.Mode) throws -> Frame {
            guard let frame = try FrameDecoder(mode: mode).next(from: &buffer), buffer.readableBytes == 0 else {
                throw WireError.truncated("golden frame")
            }
            return frame
        }
        switch self {
        case .challenge: return .challenge(try AuthenticationChallenge(from: try frame(.authenticationChallenge)))
        case .authenticationReply:
            return .authenticationReply(try AuthenticationReply(from: try frame(.authenticationReply)))
        case .proof: return .proof(try AuthenticationProof(from: try frame(.authenticationProof)))
        case .hello: return .hello(try Hello(from: try frame(.hello)))
        case .helloReply: return .helloReply(try Hello(from: try frame(.helloReply)))
        case .joinRequest: return .joinRequest(try JoinRequest(from: try frame(.hello)))
        case .joinReply: return .joinReply(try JoinReply(from: try frame(.joinReply)))
        case .message(let message): return .message(try Message(from: try frame(.messages(message.channel))))
        case .entry:
            let entry = try Entry(from: &buffer)
            guard buffer.readableBytes == 0 else { throw WireError.truncated("golden entry") }
            return .entry(entry)
        case .command:
            var operations: [Operation] = []
            try Command.forEachOperation(in: bytes) { ordinal, key, value in
                precondition(Int(ordinal) == operations.count)
                operations.append(value.map { .put(Array(key), Array($0)) } ?? .delete(Array(key)))
            }
            return .command(operations)
        case .configuration: return .configuration(try Configuration(from: bytes))
        }
    }
}

/// Every field in words, for a person who reads the file.
extension GoldenValue: CustomStringConvertible {
    var description: String {
        switch self {
        case .challenge(let challenge): "challenge, nonce \(hex(challenge.nonce))"
        case .authenticationReply(let reply):
            "authentication reply, nonce \(hex(reply.nonce)), proof \(hex(reply.proof))"
        case .proof(let proof): "proof \(hex(proof.proof))"
        case .hello(let hello): "hello, " + describe(hello)
        case .helloReply(let hello): "hello in answer, " + describe(hello)
        case .joinRequest(let request): "join request, store \(request.store), label \"\(request.label)\""
        case .joinReply(.unknown): "join reply, no such member"
        case .joinReply(.member(let id, let configuration)): "join reply, member \(id) of " + describe(configuration)
        case .message(let message): describe(message)
        case .entry(let entry): describe(entry)
        case .command(let operations): "command: " + describe(operations)
        case .configuration(let configuration): describe(configuration)
        }
    }
}

private func hex(_ bytes: some Sequence<UInt8>) -> String {
    bytes.map { String(UInt16($0) + 0x100, radix: 16).dropFirst() }.joined()
}

private func describe(_ hello: Hello) -> String {
    "versions \(hello.minVersion) to \(hello.maxVersion), features \(hello.features), channel \(hello.channel), "
        + "\(hello.isPeerUnknown ? "peer unknown, " : "")incarnation \(hello.incarnation), member \(hello.member), "
        + "peer \(hello.peer), store \(hello.store), state \(hello.state), recorded store \(hello.recordedStore), "
        + "label \"\(hello.label)\", address \(hello.address), API \(hello.apiAddress)"
}

private func describe(_ configuration: Configuration) -> String {
    "cluster \(configuration.incarnation):"
        + configuration.members.map {
            " \($0.role) \($0.id) store \($0.store) at \"\($0.address)\" label \"\($0.label)\";"
        }.joined()
}

private func describe(_ operations: [GoldenValue.Operation]) -> String {
    operations.map {
        switch $0 {
        case .put(let key, let value): "put \(hex(key)) = \(hex(value))"
        case .delete(let key): "delete \(hex(key))"
        }
    }.joined(separator: ", ")
}

private func describe(_ entry: Entry) -> String {
    "entry \(entry.index) of term \(entry.term), \(entry.kind), payload \(hex(entry.payload.readableBytesView))"
}

private func describe(_ message: Message) -> String {
    let type = "\(message.type), term \(message.term)"
    switch message {
    case .voteRequest(let request):
        return type + (request.isPreVote ? ", pre-vote" : "") + (request.isHandOver ? ", hand-over" : "")
            + ", last entry \(request.lastIndex) of term \(request.lastTerm)"
    case .voteReply(let reply):
        return type + (reply.isPreVote ? ", pre-vote" : "") + (reply.isGranted ? ", granted" : ", refused")
    case .append(let request):
        return type + ", after \(request.previousIndex) of term \(request.previousTerm), commit \(request.commit)"
            + request.entries.map { "; " + describe($0) }.joined()
    case .appendReply(let reply):
        switch reply.outcome {
        case .matched(let index): return type + ", matched \(index)"
        case .rejected(let previous, let hint, let hintTerm):
            return type + ", rejected \(previous), hint \(hint) of term \(hintTerm)"
        }
    case .heartbeat(let heartbeat): return type + ", commit \(heartbeat.commit), round \(heartbeat.round)"
    case .heartbeatReply(let reply): return type + ", round \(reply.round), verified \(reply.verified)"
    case .readIndexRequest(let request): return type + ", context \(request.context)"
    case .readIndexReply(let reply): return type + ", context \(reply.context), index \(reply.index)"
    case .snapshotOffer(let offer):
        return type + ", transfer \(offer.transfer), entry \(offer.index) of term \(offer.indexTerm), about "
            + "\(offer.estimatedBytes) bytes"
    case .snapshotChunk(let chunk):
        return type + ", transfer \(chunk.transfer), chunk \(chunk.sequence), \(chunk.encoding), \(chunk.rawBytes) "
            + "bytes of records, checksum \(chunk.rawChecksum): \(hex(chunk.bytes.readableBytesView))"
    case .snapshotEnd(let end):
        return type
            + ", transfer \(end.transfer), \(end.chunks) chunks, \(end.records) records, \(end.rawBytes) bytes, "
            + "checksum \(end.checksum)"
    case .snapshotReply(let reply):
        let outcome =
            switch reply.outcome {
            case .wants(let sequence): "wants \(sequence)"
            case .installed(let index): "installed \(index)"
            case .refused: "refused"
            }
        return type + ", transfer \(reply.transfer), \(outcome)"
    case .timeoutNow: return type
    case .storeVerdict(let verdict): return type + ", \(verdict.finding)"
    }
}
