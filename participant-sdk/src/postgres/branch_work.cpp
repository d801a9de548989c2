#include "participant-sdk/src/postgres/branch_work.hpp"

#include "participant-sdk/src/postgres/libpq_connection.hpp"

#include <exception>
#include <utility>

namespace concordat::postgres {

namespace {

std::string text_of(const std::exception& error) {
    std::string text = error.what();
    while (!text.empty() && text.back() == '\n') {
        text.pop_back();
    }
    return text.empty() ? "the branch's work failed" : text;
}

std::string retryable(std::string_view state, const std::string& text) {
    return "retryable: SQLSTATE " + std::string(state) + ": " + text;
}

// A nontransaction sends what it is given and nothing of its own: neither a BEGIN nor, when it is
// destroyed, a ROLLBACK. A pqxx::work could not be ended by PREPARE TRANSACTION.
template <class Work>
auto in_open_transaction(Connection& connection, const BranchKey& key, std::string_view payload,
                         const Work& work) {
    // The service's callback speaks libpqxx, so its resource was given libpq_sessions().
    pqxx::nontransaction transaction(static_cast<LibpqConnection&>(connection).pqxx_connection());
    PostgresBranch branch(key, payload, transaction);
    return work(branch);
}

} // namespace

std::string reason_of(std::string_view state, const std::string& text) {
    if (state == sqlstate::serialization_failure || state == sqlstate::deadlock_detected) {
        return retryable(state, text);
    }
    return state.empty() ? text : "SQLSTATE " + std::string(state) + ": " + text;
}

VoteCast run_work(const PostgresWork& work, Connection& connection, const BranchKey& key,
                  std::string_view payload) {
    try {
        return in_open_transaction(connection, key, payload, work);
    } catch (const pqxx::transaction_rollback& error) { // in libpqxx 6 not an sql_error
        const bool deadlock = dynamic_cast<const pqxx::deadlock_detected*>(&error) != nullptr;
        return vote_no(
            retryable(deadlock ? sqlstate::deadlock_detected : sqlstate::serialization_failure,
                      text_of(error)));
    } catch (const pqxx::sql_error& error) {
        return vote_no(reason_of(error.sqlstate(), text_of(error)));
    } catch (const std::exception& error) {
        return vote_no(text_of(error));
    } catch (...) {
        return vote_no("the branch's work threw something that is not a std::exception");
    }
}

BranchWork on_libpq(PostgresWork work) {
    return [work = std::move(work)](Connection& connection, const BranchKey& key,
                                    std::string_view payload) {
        return run_work(work, connection, key, payload);
    };
}

AfterCommit on_libpq(std::function<void(pqxx::connection_base&)> act) {
    return [act = std::move(act)](Connection& connection) {
        if (!act) {
            return;
        }
        try {
            act(static_cast<LibpqConnection&>(connection).pqxx_connection());
        } catch (...) { // the branch is committed, whatever became of this
            connection.reset();
        }
    };
}

std::string run_second_phase(const PostgresSecondPhase& work, Connection& connection,
                             const BranchKey& key, std::string_view payload) {
    try {
        in_open_transaction(connection, key, payload, work);
        return {};
    } catch (const std::exception& error) {
        return text_of(error);
    } catch (...) {
        return "the work threw something that is not a std::exception";
    }
}

} // namespace concordat::postgres
