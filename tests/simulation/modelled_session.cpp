// The SDK's view of the modelled server: a Connection that takes time, breaks, and dies with its
// process.

#include "tests/simulation/modelled_postgres.hpp"

#include <utility>

namespace concordat::simulation {
namespace {

using postgres::SqlError;
using postgres::SqlResult;

SqlError lost(std::string message) {
    return {{}, std::move(message), true};
}

class ModelledSession final : public postgres::Connection {
public:
    ModelledSession(ModelledPostgres& database, Fibers& fibers, Timeline& timeline,
                    DatabaseObserver& observer, ModelledPostgres::BackendPtr backend)
        : database_(database),
          fibers_(fibers),
          timeline_(timeline),
          observer_(observer),
          backend_(std::move(backend)) {}

    ~ModelledSession() override { database_.hang_up(backend_); }

    SqlResult run(const std::string& statements) override {
        if (!is_usable()) {
            return broken("the connection is lost");
        }
        fibers_.sleep(timeline_.pick(2));
        if (observer_.goes_wrong(Fault::database_connection_lost, 2)) {
            return broken("connection reset by peer");
        }
        const bool is_cut = observer_.goes_wrong(Fault::database_answer_lost, 3);
        if (is_cut) {
            backend_->has_client = false; // it carries on, and nobody will hear of it
        }
        auto answer = database_.round_trip(*backend_, statements);
        is_in_transaction_ = backend_->transaction != nullptr;
        stand_still();
        if (!answer || is_cut || !is_usable()) {
            return broken("server closed the connection unexpectedly");
        }
        return std::move(*answer);
    }

    bool reset() override {
        if (!is_usable()) {
            return false;
        }
        return !is_in_transaction_ || run("ROLLBACK").has_value();
    }

    bool is_usable() const override {
        return !is_broken_ && !backend_->client->is_dead && !fibers_.is_draining();
    }

private:
    SqlResult broken(std::string message) {
        if (!std::exchange(is_broken_, true)) {
            database_.hang_up(backend_);
        }
        return std::unexpected(lost(std::move(message)));
    }

    // A process that is stopped hears nothing, however long ago the server has answered.
    void stand_still() {
        while (timeline_.now() < backend_->client->paused_until && !fibers_.is_draining()) {
            fibers_.sleep(backend_->client->paused_until - timeline_.now());
        }
    }

    ModelledPostgres& database_;
    Fibers& fibers_;
    Timeline& timeline_;
    DatabaseObserver& observer_;
    const ModelledPostgres::BackendPtr backend_;
    bool is_in_transaction_ = false; ///< as the server's last answer said
    bool is_broken_ = false;
};

} // namespace

postgres::SessionFactory modelled_sessions(ModelledPostgres& database, Fibers& fibers,
                                           Timeline& timeline, DatabaseObserver& observer,
                                           std::shared_ptr<ClientProcess> process) {
    return [&, process = std::move(
                   process)]() -> std::expected<std::unique_ptr<postgres::Connection>, SqlError> {
        fibers.sleep(timeline.pick(3));
        if (process->is_dead || fibers.is_draining()) {
            return std::unexpected(lost("the process is gone"));
        }
        auto backend = database.connect(process);
        if (!backend) {
            return std::unexpected(lost("connection refused"));
        }
        return std::make_unique<ModelledSession>(database, fibers, timeline, observer,
                                                 std::move(backend));
    };
}

} // namespace concordat::simulation
