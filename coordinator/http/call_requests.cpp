#include "coordinator/http/call_requests.hpp"

namespace concordat::http {
namespace {

wire::Operation to_wire(core::Operation operation) noexcept {
    switch (operation) {
    case core::Operation::prepare:
        return wire::Operation::prepare;
    case core::Operation::pre_commit:
        return wire::Operation::pre_commit;
    case core::Operation::commit:
        return wire::Operation::commit;
    case core::Operation::abort:
        return wire::Operation::abort;
    case core::Operation::commit_one_phase:
        return wire::Operation::commit_one_phase;
    case core::Operation::learn:
        return wire::Operation::learn;
    }
    return wire::Operation::learn;
}

} // namespace

wire::BranchRequest branch_request(const core::ParticipantCall& call,
                                   const std::vector<std::string>& coordinators) {
    wire::BranchRequest request;
    request.xid = call.key.xid.value();
    request.branch = call.key.branch.value();
    request.operation = to_wire(call.key.operation);
    request.epoch = call.epoch.value();
    request.attempt = call.key.attempt;
    request.three_phase = call.protocol == core::Protocol::three_phase;
    request.participant = call.participant.value();
    if (call.payload) {
        request.payload = *call.payload;
    }
    if (call.key.operation == core::Operation::prepare) {
        request.participants.reserve(call.peers.size());
        for (const core::Peer& peer : call.peers) {
            request.participants.push_back(
                {peer.branch.value(), peer.participant.value(), peer.base_url});
        }
        request.quorum = call.quorum;
        request.coordinator_is_acceptor = call.coordinator_is_acceptor;
        request.capability = call.capability;
        request.coordinators = coordinators;
    }
    return request;
}

} // namespace concordat::http
