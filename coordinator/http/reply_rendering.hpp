#pragma once

// Replies of the core to HTTP answers. Hand-written JSON: the transaction reply is the hot path.
//
// Rule: never 200 for something undecided. A decision is 200, an opened interactive transaction
// 201, everything that still runs 202 with Location and Retry-After.
//
// Threading: pure functions. Schemas: openapi.yaml.

#include "coordinator/core/transaction_coordinator.hpp"
#include "coordinator/http/gateway.hpp"
#include "participant-sdk/src/transport/message.hpp"

#include <string>

namespace concordat::http {

/// What the client asked to wait for, which decides between 200 and 202.
enum class Awaited : std::uint8_t { opening, decision, completion };

/// Answer to a submission, commit or abort.
[[nodiscard]] transport::Response render_progress(const core::TransactionReply& reply,
                                                  Awaited awaited);
/// Answer to an enlistment: 201 and the transaction.
[[nodiscard]] transport::Response render_enlisted(const core::TransactionReply& reply);
/// Answer to a read: the transaction with its timeline.
[[nodiscard]] transport::Response render_transaction(const core::TransactionReply& reply);
[[nodiscard]] transport::Response render_page(const core::TransactionPage& page);
/// 200 with the outcome, 202 while there is none.
[[nodiscard]] transport::Response render_inquiry(const core::InquiryReply& reply);
/// The answer of the group as an acceptor, in the form in which participants answer ballots.
[[nodiscard]] transport::Response render_ballot(const core::BallotReply& reply);
[[nodiscard]] transport::Response render_participants(const core::ParticipantsReply& reply);
[[nodiscard]] transport::Response render_participant(const core::ParticipantName& name,
                                                     const core::ParticipantDefinition& definition);
[[nodiscard]] transport::Response render_cluster(const ClusterView& view, int status);

} // namespace concordat::http
