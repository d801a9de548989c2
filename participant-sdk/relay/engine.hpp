// The pipeline: read rows, send them to Kafka, delete what was acknowledged.
//
// What: one thread that drives three database connections without blocking and one producer. While
// the broker takes one batch, the database reads the next and deletes the one before; several
// batches are in flight, up to a window of rows and bytes. No database transaction is open while
// records are on their way.
//
// A row is outstanding until it is deleted. Whatever goes wrong (a refused record, a dead producer,
// a lost lease) ends in the same place: give up what is in flight, wait for its reports, forget the
// rows that were not acknowledged, go back and read them again.
//
// The first row of a producer in a partition travels alone (partitions.hpp): the next ones of that
// partition are set aside, and go before everything else once it is acknowledged.
//
// A topic of which nothing is acknowledged would fill the window: it is tried with one row, and its
// other rows are forgotten until that one is acknowledged, so that other topics go on.
//
// Order per key: rows are read in an order in which each row comes after all rows that its writer
// could see (read_cursor.hpp), sent in id order, and a producer that skips nothing (producer.hpp)
// writes them; one owner per bucket (lease_keeper.hpp).
//
// Threading: run() on its own thread; wake(), request_stop(), set_parked(), parked_generation()
// from any. Ownership: refers to what it is given. Errors: none leave; they become log lines,
// telemetry and another attempt.
#pragma once

#include "participant-sdk/relay/batch.hpp"
#include "participant-sdk/relay/connector.hpp"
#include "participant-sdk/relay/envelope.hpp"
#include "participant-sdk/relay/holds.hpp"
#include "participant-sdk/relay/isolation.hpp"
#include "participant-sdk/relay/lease_keeper.hpp"
#include "participant-sdk/relay/options.hpp"
#include "participant-sdk/relay/producer.hpp"
#include "participant-sdk/relay/read_cursor.hpp"
#include "participant-sdk/relay/sweep.hpp"
#include "participant-sdk/relay/telemetry.hpp"
#include "participant-sdk/relay/topic_prober.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

namespace concordat::relay {

class Engine final : private Producer::Listener {
public:
    Engine(const Options& options, std::string instance, std::string conninfo,
           std::vector<std::string> settings, Telemetry& telemetry);
    ~Engine() override;
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    // Both must outlive run() and be there before it.
    void attach(LeaseKeeper& leases, TopicProber& topics) noexcept;
    // Until request_stop(). True: everything sent was acknowledged and deleted.
    [[nodiscard]] bool run();
    void request_stop() noexcept;
    void wake() noexcept;

    // The content of the table of parked keys as it was read after parked_generation() was taken.
    void set_parked(std::vector<ParkedKey> keys, std::uint64_t generation);
    [[nodiscard]] std::uint64_t parked_generation() const noexcept { return parked_generation_; }

private:
    using Clock = std::chrono::steady_clock;
    enum class Phase : std::uint8_t { running, resetting };
    enum class ReadJob : std::uint8_t { none, window, late, seek, payloads };

    // A row that Kafka refused for good.
    struct Refusal {
        std::int64_t id;
        std::uint16_t bucket;
        std::string topic; // of the row
        std::optional<std::string> key;
        std::string event_id;
        std::string reason;
        std::string detail;
    };

    // engine.cpp: the loop, connections, leases, the end.
    void turn();
    void wait_for_events();
    void connect_if_needed();
    void take_connections(Connector::Opened opened);
    void connection_failed(std::optional<Connection>& connection, const DatabaseError& error);
    void drop_connection_state(const std::optional<Connection>& connection);
    void apply_grant();
    [[nodiscard]] bool may_publish(std::size_t bucket) const;
    [[nodiscard]] std::vector<std::int16_t> readable_buckets() const;
    void report_drained();
    [[nodiscard]] bool finished_stopping();
    void publish_telemetry();

    // engine_read.cpp: windows, late rows, seeks, payloads, the sweep.
    void start_read();
    void send_read(ReadJob job, const char* sql, const Parameters& parameters);
    void finish_read(Result result);
    void take_window(Result result);
    void take_late(Result result);
    void take_payloads(Result result);
    void pace_reading(std::size_t rows, bool more);
    [[nodiscard]] std::unique_ptr<Batch> make_batch(Result result);
    void enqueue(std::unique_ptr<Batch> batch);
    void request_payloads(Batch& batch);
    void rewind(std::int64_t id); // and forgets what waits to be sent
    void start_sweep();
    void finish_sweep(const Result& result);
    void take_parked();
    void release_topics();

    // engine_send.cpp: produce, reports, delete.
    void feed_producer();
    [[nodiscard]] bool feed_row(Batch& batch, Row& row);
    void hold_refused_topic(const Batch& batch, Row& row, Topic& topic, const std::string& detail);
    [[nodiscard]] bool send_row(Batch& batch, Row& row, Topic& topic);
    void refuse(const Batch& batch, const Row& row, rd_kafka_resp_err_t code);
    [[nodiscard]] bool exceeds_limit(const Batch& batch, const Row& row) const;
    [[nodiscard]] Topic& topic_of(const Batch& batch, const Row& row);
    void on_report(void* tag, rd_kafka_resp_err_t code, std::int32_t partition) override;
    void on_trouble(rd_kafka_resp_err_t code, const std::string& text) override;
    void finish_row(Row& row);
    void drop_row(Row& row);
    static void take_from_queue(Row& row);
    void start_delete();
    void finish_delete(const Result& result);

    // engine_open.cpp: partitions in which the producer has no acknowledgement yet.
    [[nodiscard]] bool feed_set_aside();
    void set_aside(Row& row, Topic& topic);
    void count_partitions();
    void note_partition(Topic& topic, const Row& row, std::int32_t partition);
    void drop_set_aside();

    // engine_recover.cpp: resets, refused rows.
    void make_producer();
    void watch_producer();
    void watch_acknowledgements(Clock::duration silent);
    void clear_kafka_trouble();
    void clear_silence();
    // Without purge, what is on the way is waited for: nothing about it is wrong.
    void begin_reset(const std::string& reason, bool purge = true);
    void continue_reset();
    void drop_all_waiting();
    void drop_all_sent();
    [[nodiscard]] Refusal refusal_of(const Batch& batch, const Row& row,
                                     rd_kafka_resp_err_t code) const;
    void judge_refusals();
    [[nodiscard]] bool condemn_all();
    [[nodiscard]] std::expected<void, DatabaseError> condemn(const Refusal& refusal);

    // engine_stall.cpp: topics of which nothing is acknowledged.
    [[nodiscard]] bool watch_topics();
    // Rows at Kafka whose acknowledgement is expected: not those that try a stalled topic.
    [[nodiscard]] std::size_t awaited() const;
    void put_alone(Batch& batch, Row& row);
    void set_stalled(Topic& topic, bool stalled);
    void retry_stalled_topics();
    void end_stall(const std::string& name, Topic& topic);
    void forget_what_is_gone();
    [[nodiscard]] std::vector<const Row*> rows_on_trial() const;
    [[nodiscard]] std::vector<std::string> waiting_topics() const;

    const Options& options_;
    const std::string instance_;
    const Envelope envelope_;
    Telemetry& telemetry_;
    LeaseKeeper* leases_ = nullptr;
    TopicProber* topics_ = nullptr;
    int wake_descriptor_;
    std::atomic<bool> stop_requested_{false};

    Connector connector_;
    std::optional<Connection> reader_;
    std::optional<Connection> deleter_;
    std::optional<Connection> sweeper_;
    Clock::time_point next_connect_{};

    Grant grant_;
    std::array<std::size_t, bucket_count> bucket_rows_{}; // rows in memory, by bucket

    ReadCursor cursor_;
    ReadJob read_job_ = ReadJob::none;
    bool discard_read_ = false;
    bool restart_pending_ = false; // the cursor's, when nothing is known any more
    Clock::time_point read_started_{};
    Clock::time_point next_read_{};
    std::chrono::milliseconds read_pause_;
    bool read_blocked_ = false; // by something that ends with an event, not with time
    std::vector<std::int16_t> window_buckets_; // of the latest window
    std::optional<ReadCursor::LateRows> late_;
    std::unique_ptr<Batch> behind_late_; // read with the same snapshot, waits for the late rows
    Batch* payload_batch_ = nullptr;
    // Ids deleted while a statement with an older snapshot was on its way: it may still show them.
    std::unordered_set<std::int64_t> deleted_during_read_;
    std::unordered_set<std::int64_t> deleted_during_sweep_;
    Sweep sweep_;
    Sweep::Slice sweep_slice_{.after = 0, .upto = 0}; // that the sweeper is asked about
    std::int64_t sweep_candidate_ = 0;
    Clock::time_point next_sweep_{};
    Clock::time_point sweep_started_{};

    std::list<std::unique_ptr<Batch>> batches_;
    std::deque<Batch*> ready_;  // with rows that wait to be sent, in order
    std::list<Row*> set_aside_; // that go before them, once their partition is open
    bool look_at_set_aside_ = false;
    std::unordered_set<std::int64_t> known_; // read, and not known to be deleted
    std::size_t bytes_in_memory_ = 0;
    std::map<std::string, Topic, std::less<>> known_topics_; // by the name in the rows
    std::size_t on_trial_ = 0;                               // rows at Kafka, of stalled topics
    Clock::time_point next_topic_look_{};
    RecordHeaders headers_;
    Holds holds_;
    std::atomic<bool> topics_changed_{false};

    std::unique_ptr<Producer> producer_;
    Phase phase_ = Phase::resetting; // the first producer is made as every later one
    Clock::time_point reset_started_{};
    Clock::time_point resume_at_{};
    Clock::time_point last_progress_{};
    Clock::time_point cluster_asked_{}; // whether it answers, in a silence
    unsigned fruitless_resets_ = 0;
    std::optional<std::string> failure_; // a report that calls for a reset
    std::int64_t lowest_dropped_ = 0;    // 0: none
    std::vector<Refusal> suspects_;
    std::vector<Refusal> condemned_;
    Isolation isolation_;
    std::size_t batch_bytes_;
    double wall_clock_seconds_ = 0; // once per turn
    bool kafka_trouble_ = false;
    bool silence_reported_ = false;

    std::vector<RowIdentity> acknowledged_; // to be deleted
    std::vector<RowIdentity> deleting_;
    Clock::time_point next_delete_{};

    std::mutex mailbox_mutex_;
    std::optional<std::pair<std::vector<ParkedKey>, std::uint64_t>> parked_mail_;
    std::atomic<std::uint64_t> parked_generation_{0};
    Clock::time_point stop_deadline_{};
    bool gave_up_ = false;
    bool trials_ended_ = false; // the rows that try a stalled topic, for the end
};

} // namespace concordat::relay
