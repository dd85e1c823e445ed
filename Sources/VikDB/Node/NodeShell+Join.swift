import VikWire

extension NodeShell {
    /// Tells a node that is to become a member who it is. Only a configuration that is known to be committed is given
    /// away: one that is not may yet be replaced by another, with other member ids.
    package func joinReply(to request: JoinRequest) -> JoinReply {
        guard let configuration = core.committedConfiguration?.configuration,
            let member = configuration.members.first(where: { $0.label == request.label })
        else { return .unknown }
        return .member(member.id, configuration)
    }
}
