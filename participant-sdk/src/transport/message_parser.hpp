// Beast's parser, writing straight into this library's messages.
//
// Why not Beast's own message types: they allocate once per field; these two allocate twice per
// head. Trailer fields of a chunked message are dropped: nothing after the body may pose as a
// header.
#pragma once

#include "participant-sdk/src/transport/message.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>

#include <algorithm>
#include <string>
#include <string_view>

namespace concordat::transport::detail {

using ParseError = boost::beast::error_code;

// A body announced as large gets its memory as it arrives, not for the announcement.
inline constexpr std::size_t largest_reserved_body_bytes = 64 * 1024;
// Beast asserts on a chunked rest shorter than this when the last chunk arrives byte by byte. Every
// unfinished chunked body still has at least this many bytes to come, so waiting for them is safe.
inline constexpr std::size_t shortest_chunked_rest_bytes = 5;

template <bool is_request>
class BodyParser : public boost::beast::http::basic_parser<is_request> {
public:
    BodyParser(Headers& headers, std::string& body) : headers_(headers), body_(body) {
        this->eager(true);
    }

    // Feeds `bytes` and returns how many were used; what was not used comes again with more behind
    // it. Errors but need_more are final.
    std::size_t feed(std::string_view bytes, ParseError& error) {
        if (bytes.size() < shortest_chunked_rest_bytes && this->is_header_done() &&
            this->chunked()) {
            error = boost::beast::http::error::need_more;
            return 0;
        }
        return this->put(boost::asio::const_buffer(bytes.data(), bytes.size()), error);
    }

private:
    using View = boost::beast::string_view;

    void on_field_impl(boost::beast::http::field, View name, View value, ParseError&) final {
        if (!head_done_) {
            headers_.add({name.data(), name.size()}, {value.data(), value.size()});
        }
    }
    void on_header_impl(ParseError&) final { head_done_ = true; }
    void on_body_init_impl(const boost::optional<std::uint64_t>& length, ParseError&) final {
        if (length) {
            body_.reserve(static_cast<std::size_t>(
                std::min<std::uint64_t>(*length, largest_reserved_body_bytes)));
        }
    }
    std::size_t on_body_impl(View bytes, ParseError&) final {
        body_.append(bytes.data(), bytes.size());
        return bytes.size();
    }
    void on_chunk_header_impl(std::uint64_t, View, ParseError&) final {}
    std::size_t on_chunk_body_impl(std::uint64_t, View bytes, ParseError&) final {
        body_.append(bytes.data(), bytes.size());
        return bytes.size();
    }
    void on_finish_impl(ParseError&) final {}

    Headers& headers_;
    std::string& body_;
    bool head_done_ = false;
};

class RequestParser final : public BodyParser<true> {
public:
    explicit RequestParser(Request& request)
        : BodyParser(request.headers, request.body), request_(request) {}

private:
    void on_request_impl(boost::beast::http::verb, boost::beast::string_view method,
                         boost::beast::string_view target, int, ParseError&) final {
        request_.method.assign(method.data(), method.size());
        request_.target.assign(target.data(), target.size());
    }
    void on_response_impl(int, boost::beast::string_view, int, ParseError&) final {}

    Request& request_;
};

class ResponseParser final : public BodyParser<false> {
public:
    explicit ResponseParser(Response& response)
        : BodyParser(response.headers, response.body), response_(response) {}

private:
    void on_request_impl(boost::beast::http::verb, boost::beast::string_view,
                         boost::beast::string_view, int, ParseError&) final {}
    void on_response_impl(int status, boost::beast::string_view, int, ParseError&) final {
        response_.status = status;
    }

    Response& response_;
};

} // namespace concordat::transport::detail
