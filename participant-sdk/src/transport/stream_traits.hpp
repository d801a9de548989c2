// The seam between connections and the kind of stream below them.
#pragma once

#include "participant-sdk/src/transport/io_loop.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <array>

namespace concordat::transport::detail {

template <class Stream>
struct StreamTraits;

template <>
struct StreamTraits<Socket> {
    // A plain socket may be written to synchronously while a read is pending; a TLS engine may not.
    static constexpr bool writes_at_once = true;

    static Socket& socket(Socket& stream) noexcept { return stream; }

    // One buffer goes out by send(), which the kernel takes cheaper than the gathering sendmsg().
    static std::size_t write_now(Socket& stream,
                                 const std::array<boost::asio::const_buffer, 2>& parts,
                                 boost::system::error_code& error) {
        return parts[1].size() == 0 ? stream.write_some(parts[0], error)
                                    : stream.write_some(parts, error);
    }

    static void prepare(Socket& stream) {
        boost::system::error_code ignored;
        stream.set_option(boost::asio::ip::tcp::no_delay(true), ignored);
        stream.non_blocking(true, ignored);
    }
};

} // namespace concordat::transport::detail
