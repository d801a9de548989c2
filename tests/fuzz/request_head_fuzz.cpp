// The head of an HTTP request: the scanner, the strict filter and the parser behind it. What the
// filter accepts, the parser must read the same way; a difference is request smuggling.

#include "participant-sdk/src/transport/framing_filter.hpp"
#include "participant-sdk/src/transport/head_scanner.hpp"
#include "participant-sdk/src/transport/message_parser.hpp"
#include "tests/fuzz/fuzz_target.hpp"

namespace concordat::fuzz {

std::vector<std::string> seeds() {
    return {
        "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /v1/transactions?x=1 HTTP/1.1\r\nHost: a.example:80\r\nContent-Length: 2\r\n\r\n{}",
        "POST /v1/transactions HTTP/1.1\r\nHost: [::1]:80\r\nTransfer-Encoding: chunked\r\n\r\n"
        "2\r\n{}\r\n0\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
        "PUT /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n",
    };
}

bool run_one(std::string_view input) {
    transport::detail::HeadScanner scanner;
    if (scanner.scan(input) != transport::detail::HeadScanner::Result::complete) {
        return false;
    }
    const std::size_t head_bytes = scanner.head_size();
    require(head_bytes <= input.size(), "the head lies inside the input");
    const std::string_view head = input.substr(0, head_bytes);
    const auto framing = transport::check_framing(head);
    if (!framing) {
        require(!transport::describe(framing.error()).empty(), "every refusal has words");
        return false;
    }
    require(!(framing->chunked && framing->has_length), "one way to tell the length");

    transport::Request request;
    transport::detail::RequestParser parser(request);
    transport::detail::ParseError error;
    const std::size_t used = parser.feed(head, error);
    if (error && error != boost::beast::http::error::need_more) {
        return false;
    }
    require(used == head.size(), "filter and parser agree where the head ends");
    require(parser.is_header_done(), "the parser has the whole head");
    require(parser.chunked() == framing->chunked, "filter and parser agree on chunks");
    const auto length = parser.content_length();
    require(length.has_value() == framing->has_length,
            "filter and parser agree whether there is a length");
    require(!length || *length == framing->content_length, "filter and parser agree on the length");
    return true;
}

} // namespace concordat::fuzz
