// One event loop: an Asio context for one thread, its inbox, its deadlines.
//
// Private to this library: the only headers that name Asio types are this one, pch.hpp and the
// connections'.
#pragma once

#include "participant-sdk/src/transport/deadlines.hpp"
#include "participant-sdk/src/transport/io_threads.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <ctime>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace concordat::transport::detail {

// The concrete executor instead of any_executor: no type-erased call per operation.
using Executor = boost::asio::io_context::executor_type;
using Socket = boost::asio::basic_stream_socket<boost::asio::ip::tcp, Executor>;
using Acceptor = boost::asio::basic_socket_acceptor<boost::asio::ip::tcp, Executor>;
using Endpoint = boost::asio::ip::tcp::endpoint;

// Tasks for one loop from other threads. It outlives the loop, so that a Responder held too long
// posts into nothing instead of into freed memory.
// Why not post each task to Asio: one wake-up then serves all tasks of a burst.
class Mailbox {
public:
    explicit Mailbox(boost::asio::io_context& context) noexcept : context_(&context) {}

    // False when the loop has ended; the task is dropped then.
    bool post(IoThreads::Task task);
    // From now on tasks are dropped; what waits is destroyed.
    void close();

private:
    void run();

    std::mutex mutex_;
    boost::asio::io_context* context_;
    std::vector<IoThreads::Task> waiting_;
    std::vector<IoThreads::Task> running_; // only on the loop's thread
};

class IoLoop {
public:
    explicit IoLoop(std::size_t index);
    ~IoLoop();
    IoLoop(const IoLoop&) = delete;
    IoLoop& operator=(const IoLoop&) = delete;

    [[nodiscard]] std::size_t index() const noexcept { return index_; }
    [[nodiscard]] boost::asio::io_context& context() noexcept { return context_; }
    [[nodiscard]] const std::shared_ptr<Mailbox>& mailbox() const noexcept { return mailbox_; }
    [[nodiscard]] Deadlines& deadlines() noexcept { return deadlines_; }
    // The loop that runs on the calling thread, if any.
    [[nodiscard]] static IoLoop* current() noexcept;
    // The value of a Date field, rendered once per second.
    [[nodiscard]] std::string_view http_date();

    void run(); // on its thread, until stop()
    void stop();

private:
    std::size_t index_;
    boost::asio::io_context context_{1};
    boost::asio::executor_work_guard<Executor> work_{context_.get_executor()};
    Deadlines deadlines_{context_};
    std::shared_ptr<Mailbox> mailbox_ = std::make_shared<Mailbox>(context_);
    std::string date_;
    std::time_t date_second_ = 0;
};

} // namespace concordat::transport::detail
