#include "participant-sdk/src/postgres/branch_work.hpp"

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

// A nontransaction sends what it is given and nothing of its own: neither a BEGIN nor, when it is
// destroyed, a ROLLBACK. A pqxx::work could not be ended by PREPARE TRANSACTION.
template <class Work>
auto in_open_transaction(Connection& connection, const BranchKey& key, std::string_view payload,
                         const Work& work) {
    pqxx::nontransaction transaction(connection.pqxx_connection());
    PostgresBranch branch(key, payload, transaction);
    return work(branch);
}

} // namespace

VoteCast run_work(const PostgresWork& work, Connection& connection, const BranchKey& key,
                  std::string_view payload) {
    try {
        return in_open_transaction(connection, key, payload, work);
    } catch (const pqxx::sql_error& error) {
        const std::string& state = error.sqlstate();
        if (state == sqlstate::serialization_failure || state == sqlstate::deadlock_detected) {
            return vote_no("retryable: SQLSTATE " + state + ": " + text_of(error));
        }
        return vote_no("SQLSTATE " + state + ": " + text_of(error));
    } catch (const std::exception& error) {
        return vote_no(text_of(error));
    } catch (...) {
        return vote_no("the branch's work threw something that is not a std::exception");
    }
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
