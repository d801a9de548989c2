#include "participant-sdk/src/inbox/dead_letter.hpp"
#include "participant-sdk/src/inbox/kafka_source.hpp"
#include "participant-sdk/src/postgres/durable_commits.hpp"

#include <concordat/inbox.hpp>

#include <fmt/format.h>
#include <pqxx/pqxx>

#include <algorithm>
#include <atomic>
#include <set>
#include <span>

namespace concordat::inbox {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds poll_patience{100};
constexpr std::chrono::hours maintenance_interval{1};
constexpr std::chrono::minutes maintenance_retry{1};

// An element of a PostgreSQL array literal.
std::string array_element(std::string_view text) {
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            out.push_back('\\');
        }
        out.push_back(c);
    }
    return out + "\"";
}

struct Pause {
    Clock::time_point until;
    unsigned attempts = 0;   // of the record at the offset, for the length of the pause
    unsigned failures = 0;   // those that were the record's own fault, not the database's
    std::int64_t offset = 0; // that failed
    bool paused = false;
    bool rewound = false; // the next record that comes is the one at the offset
};

enum class Outcome : std::uint8_t { committed, record_failed, database_failed };

} // namespace

std::optional<std::string_view> Record::header(std::string_view name) const noexcept {
    for (const auto& [header_name, value] : headers) {
        if (header_name == name) {
            return value;
        }
    }
    return std::nullopt;
}

class Consumer::State final : private SourceListener {
public:
    State(Options options, Handler handler)
        : options_(std::move(options)), handler_(std::move(handler)), dead_letter_(options_) {}

    std::expected<void, Error> run();
    void stop() noexcept { stopping_ = true; }
    [[nodiscard]] Statistics statistics() const noexcept;

private:
    void on_source_event(Event::Kind kind, const std::string& detail) override {
        tell(kind, detail);
    }
    void on_revoked(const std::vector<Partition>& partitions) override {
        for (const Partition& partition : partitions) {
            pauses_.erase(partition);
        }
    }
    void tell(Event::Kind kind, const std::string& detail);
    bool connect();
    void maintain();
    void resume_due();
    void process(std::span<const Message> batch);
    void process_one_by_one(std::span<const Message> batch);
    [[nodiscard]] bool process_single(const Message& message);
    [[nodiscard]] Outcome attempt(std::span<const Message> batch, HandlerError& error);
    [[nodiscard]] std::set<std::pair<std::string, std::string>>
    insert_ids(pqxx::work& work, std::span<const Message> batch,
               const std::vector<Record>& records);
    [[nodiscard]] bool bury(const Message& message, const std::string& reason);
    [[nodiscard]] unsigned failures_of(const Message& message) const;
    void fail(const Message& message, const std::string& detail, Outcome outcome);
    void store(std::span<const Message> batch);

    const Options options_;
    const Handler handler_;
    DeadLetter dead_letter_;
    std::unique_ptr<KafkaSource> source_;
    std::unique_ptr<pqxx::connection> connection_;
    std::map<Partition, Pause> pauses_;
    Clock::time_point next_maintenance_{};
    std::atomic<bool> stopping_{false};
    std::atomic<std::uint64_t> handled_{0};
    std::atomic<std::uint64_t> duplicates_{0};
    std::atomic<std::uint64_t> failures_{0};
    std::atomic<std::uint64_t> dead_lettered_{0};
    std::atomic<std::uint64_t> batches_{0};
};

void Consumer::State::tell(Event::Kind kind, const std::string& detail) {
    if (options_.on_event) {
        options_.on_event({.kind = kind, .detail = detail});
    }
}

Statistics Consumer::State::statistics() const noexcept {
    return {.handled = handled_,
            .duplicates = duplicates_,
            .failures = failures_,
            .dead_lettered = dead_lettered_,
            .batches = batches_};
}

bool Consumer::State::connect() {
    if (connection_ != nullptr) {
        return true;
    }
    try {
        auto connection = std::make_unique<pqxx::connection>(options_.conninfo);
        // The offset follows the commit: a commit that a crash may take back would lose the record.
        pqxx::nontransaction(*connection).exec(postgres::sql_durable_commits);
        connection_ = std::move(connection);
        return true;
    } catch (const std::exception& error) {
        tell(Event::Kind::trouble, error.what());
        return false;
    }
}

void Consumer::State::maintain() {
    const auto now = Clock::now();
    if (now < next_maintenance_ || !connect()) {
        return;
    }
    next_maintenance_ = now + maintenance_interval;
    try {
        pqxx::work work(*connection_);
        work.exec_params("SELECT concordat_inbox_maintain(make_interval(hours => $1))",
                         options_.keep.count());
        work.commit();
    } catch (const std::exception& error) {
        // Ids then go to the default partition: right, only not dropped cheaply.
        next_maintenance_ = now + maintenance_retry;
        connection_.reset();
        tell(Event::Kind::trouble, fmt::format("inbox partitions: {}", error.what()));
    }
}

std::expected<void, Error> Consumer::State::run() {
    auto source = KafkaSource::open(options_, *this);
    if (!source) {
        return std::unexpected(Error{.detail = source.error()});
    }
    source_ = std::move(*source);
    while (!stopping_) {
        maintain();
        resume_due();
        const std::vector<Message> batch = source_->poll(poll_patience);
        if (!batch.empty()) {
            process(batch);
        }
    }
    source_->close();
    source_.reset();
    connection_.reset();
    return {};
}

void Consumer::State::resume_due() {
    const auto now = Clock::now();
    for (auto& [partition, pause] : pauses_) {
        if (!pause.paused || now < pause.until) {
            continue;
        }
        // Going on behind a record that was not handled would lose it.
        if (!pause.rewound) {
            pause.rewound = source_->pause_at(partition, pause.offset);
            pause.until = now + options_.first_retry;
            continue;
        }
        pause.paused = false;
        source_->resume(partition);
    }
}

void Consumer::State::process(std::span<const Message> batch) {
    // A record that failed before is tried alone, so that its failure is not its neighbours'.
    const bool any_suspect = std::ranges::any_of(
        batch, [this](const Message& message) { return failures_of(message) > 0; });
    if (batch.size() > 1 && !any_suspect) {
        HandlerError error;
        if (attempt(batch, error) == Outcome::committed) {
            store(batch);
            for (const Message& message : batch) {
                pauses_.erase(partition_of(*message));
            }
            return;
        }
    }
    process_one_by_one(batch);
}

void Consumer::State::process_one_by_one(std::span<const Message> batch) {
    std::set<Partition> waiting; // their next record failed: the later ones come again
    for (const Message& message : batch) {
        const Partition partition = partition_of(*message);
        if (!waiting.contains(partition) && !process_single(message)) {
            waiting.insert(partition);
        }
    }
}

// False: the partition has to wait.
bool Consumer::State::process_single(const Message& message) {
    HandlerError error;
    const Outcome outcome = attempt({&message, 1}, error);
    if (outcome == Outcome::committed) {
        store({&message, 1});
        pauses_.erase(partition_of(*message));
        return true;
    }
    if (outcome == Outcome::record_failed && options_.on_failure == OnFailure::dead_letter) {
        const unsigned attempts = 1 + failures_of(message);
        if ((!error.retry || attempts >= options_.max_attempts) && bury(message, error.detail)) {
            pauses_.erase(partition_of(*message));
            return true;
        }
    }
    fail(message, error.detail, outcome);
    return false;
}

unsigned Consumer::State::failures_of(const Message& message) const {
    const auto pause = pauses_.find(partition_of(*message));
    const bool same = pause != pauses_.end() && pause->second.offset == message->offset;
    return same ? pause->second.failures : 0;
}

std::set<std::pair<std::string, std::string>>
Consumer::State::insert_ids(pqxx::work& work, std::span<const Message> batch,
                            const std::vector<Record>& records) {
    std::string days = "{";
    std::string ids = "{";
    for (std::size_t i = 0; i < batch.size(); ++i) {
        days += (i == 0 ? "" : ",") + day_of(*batch[i]);
        ids += (i == 0 ? "" : ",") + array_element(records[i].message_id);
    }
    days += "}";
    ids += "}";
    // In one order for all consumers, so that two that hold the same records cannot deadlock.
    const pqxx::result fresh = work.exec_params(
        "INSERT INTO concordat_inbox (day, consumer, message_id) "
        "SELECT day, $1, id FROM unnest($2::date[], $3::text[]) AS r (day, id) ORDER BY day, id "
        "ON CONFLICT DO NOTHING RETURNING day, message_id",
        options_.consumer, days, ids);
    std::set<std::pair<std::string, std::string>> out;
    for (const auto& row : fresh) {
        out.emplace(row[0].as<std::string>(), row[1].as<std::string>());
    }
    return out;
}

Outcome Consumer::State::attempt(std::span<const Message> batch, HandlerError& error) {
    if (!connect()) {
        error = {.detail = "the database is away", .retry = true};
        return Outcome::database_failed;
    }
    bool in_effect = false; // from there on a failure is the record's, not the database's
    try {
        std::vector<Record> records;
        for (const Message& message : batch) {
            records.push_back(to_record(*message));
        }
        pqxx::work work(*connection_);
        auto fresh = insert_ids(work, batch, records);
        in_effect = true;
        std::uint64_t handled = 0;
        for (std::size_t i = 0; i < batch.size(); ++i) {
            // Erased on first use: a second copy in the same batch is a duplicate.
            if (fresh.erase({day_of(*batch[i]), records[i].message_id}) == 0) {
                continue;
            }
            if (auto done = handler_(work, records[i]); !done) {
                ++failures_;
                error = done.error();
                return Outcome::record_failed;
            }
            ++handled;
        }
        work.commit();
        handled_ += handled;
        duplicates_ += batch.size() - handled;
        ++batches_;
        return Outcome::committed;
    } catch (const pqxx::broken_connection& failure) {
        error = {.detail = failure.what(), .retry = true};
    } catch (const pqxx::in_doubt_error& failure) {
        // The ids tell at the next attempt whether it was committed.
        error = {.detail = failure.what(), .retry = true};
    } catch (const std::exception& failure) {
        error = {.detail = failure.what(), .retry = true};
        if (in_effect && connection_->is_open()) {
            ++failures_;
            return Outcome::record_failed;
        }
    }
    connection_.reset();
    return Outcome::database_failed;
}

bool Consumer::State::bury(const Message& message, const std::string& reason) {
    if (const auto sent = dead_letter_.send(*message, reason); !sent) {
        tell(Event::Kind::trouble, fmt::format("dead-letter topic: {}", sent.error()));
        return false;
    }
    try {
        // The id goes in as well: a second copy of a dead record is not handled behind its back.
        pqxx::work work(*connection_);
        std::ignore = insert_ids(work, {&message, 1}, {to_record(*message)});
        work.commit();
    } catch (const std::exception& failure) {
        connection_.reset();
        tell(Event::Kind::trouble, failure.what());
        return false;
    }
    ++dead_lettered_;
    store({&message, 1});
    const auto [topic, partition] = partition_of(*message);
    tell(Event::Kind::dead_lettered,
         fmt::format("{}[{}] offset {}: {}", topic, partition, message->offset, reason));
    return true;
}

void Consumer::State::fail(const Message& message, const std::string& detail, Outcome outcome) {
    const Partition partition = partition_of(*message);
    const unsigned failures = failures_of(message);
    Pause& pause = pauses_[partition];
    pause.attempts = pause.offset == message->offset ? pause.attempts + 1 : 1;
    pause.failures = failures + (outcome == Outcome::record_failed ? 1 : 0);
    pause.offset = message->offset;
    const auto doublings = std::min(pause.attempts - 1, 20U);
    const auto wait = std::min(options_.longest_retry, options_.first_retry * (1U << doublings));
    pause.until = Clock::now() + wait;
    pause.paused = true;
    pause.rewound = source_->pause_at(partition, message->offset);
    tell(Event::Kind::retrying,
         fmt::format("{}[{}] offset {} again in {} ms: {}", partition.first, partition.second,
                     message->offset, wait.count(), detail));
}

void Consumer::State::store(std::span<const Message> batch) {
    std::map<Partition, std::int64_t> offsets;
    for (const Message& message : batch) {
        auto& offset = offsets[partition_of(*message)];
        offset = std::max(offset, message->offset);
    }
    source_->store(offsets);
}

std::expected<std::unique_ptr<Consumer>, Error> Consumer::create(Options options, Handler handler) {
    const auto refuse = [](std::string detail) {
        return std::unexpected(Error{.detail = std::move(detail)});
    };
    if (options.consumer.empty() || options.consumer.size() > 200) {
        return refuse("consumer must have 1 to 200 bytes");
    }
    if (options.bootstrap_servers.empty() || options.topics.empty()) {
        return refuse("bootstrap_servers and topics are needed");
    }
    if (options.batch_records < 1 || options.batch_records > 10'000) {
        return refuse("batch_records must be 1 to 10000");
    }
    if (options.first_retry.count() < 1 || options.longest_retry < options.first_retry) {
        return refuse("first_retry must be at least 1 ms and at most longest_retry");
    }
    if (options.keep < std::chrono::hours(24)) {
        return refuse("keep must be at least a day");
    }
    if (options.on_failure == OnFailure::dead_letter &&
        (options.dead_letter_topic.empty() || options.max_attempts < 1)) {
        return refuse("dead_letter needs dead_letter_topic and max_attempts");
    }
    if (!handler) {
        return refuse("a handler is needed");
    }
    return std::unique_ptr<Consumer>(
        new Consumer(std::make_unique<State>(std::move(options), std::move(handler))));
}

Consumer::Consumer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Consumer::~Consumer() = default;

std::expected<void, Error> Consumer::run() {
    return state_->run();
}

void Consumer::stop() noexcept {
    state_->stop();
}

Statistics Consumer::statistics() const noexcept {
    return state_->statistics();
}

} // namespace concordat::inbox
