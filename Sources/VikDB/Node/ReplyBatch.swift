import VikWire

/// Replies gathered during one run of the loop, so that each sink is woken once for all of its own. A plain value.
struct ReplyBatch {
    private var batches: [(sink: any ReplySink, replies: [Reply])] = []

    mutating func append(_ outcome: Reply.Outcome, token: UInt64, to sink: any ReplySink) {
        let reply = Reply(token: token, outcome: outcome)
        // A node has a handful of sinks, one for each event loop of the gateway.
        for index in batches.indices where batches[index].sink === sink {
            batches[index].replies.append(reply)
            return
        }
        batches.append((sink, [reply]))
    }

    mutating func deliver() {
        guard !batches.isEmpty else { return }
        for batch in batches { batch.sink.deliver(batch.replies) }
        batches.removeAll(keepingCapacity: true)
    }
}
