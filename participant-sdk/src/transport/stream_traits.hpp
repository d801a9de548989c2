// The seam between connections and the kind of stream below them.
#pragma once

#include "participant-sdk/src/transport/io_loop.hpp"

#include <boost/asio/ip/tcp.hpp>

namespace concordat::transport::detail {

template <class Stream>
struct StreamTraits;

template <>
struct StreamTraits<Socket> {
    // A plain socket may be written to synchronously while a read is pending; a TLS engine may not.
    static constexpr bool writes_at_once = true;

    static Socket& socket(Socket& stream) noexcept { return stream; }

    static void prepare(Socket& stream) {
        boost::system::error_code ignored;
        stream.set_option(boost::asio::ip::tcp::no_delay(true), ignored);
        stream.non_blocking(true, ignored);
    }
};

} // namespace concordat::transport::detail
