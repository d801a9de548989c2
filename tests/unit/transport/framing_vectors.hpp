// Request heads that are read in one way only, and heads that are not: the filter's vector suite.
#pragma once

#include "participant-sdk/src/transport/framing_filter.hpp"

#include <optional>
#include <string>
#include <vector>

namespace concordat::transport::test {

using namespace std::string_literals;
using E = FramingError;

struct FramingVector {
    const char* name;
    std::string head; // with its empty line
    std::string body;
    std::optional<FramingError> error; // nullopt: accepted
};

inline std::string with_field(const std::string& field) {
    return "POST /p HTTP/1.1\r\nHost: a\r\n" + field + "\r\n\r\n";
}

inline std::string request_line(const std::string& line) {
    return line + "\r\nHost: a\r\n\r\n";
}

inline std::string host_line(const std::string& line) {
    return "GET / HTTP/1.1\r\n" + line + "\r\n\r\n";
}

inline const std::vector<FramingVector> framing_vectors{
    // Accepted: strict does not mean useless.
    {"minimal", request_line("GET / HTTP/1.1"), "", {}},
    {"http10", request_line("GET / HTTP/1.0"), "", {}},
    {"query", request_line("GET /a/b?c=%20d&e HTTP/1.1"), "", {}},
    {"options_star", request_line("OPTIONS * HTTP/1.1"), "", {}},
    {"unknown_method", request_line("BREW /pot HTTP/1.1"), "", {}},
    {"host_port", host_line("Host: example.org:8080"), "", {}},
    {"host_ipv6", host_line("Host: [::1]:8080"), "", {}},
    {"host_ipv4", host_line("host:127.0.0.1"), "", {}},
    {"value_padding", with_field("X-A: \t padded \t "), "", {}},
    {"value_empty", with_field("X-A:"), "", {}},
    {"value_high_bytes", with_field("X-A: caf\xc3\xa9"), "", {}},
    {"name_odd_token", with_field("!#$%&'*+-.^_`|~09aZ: x"), "", {}},
    {"length", with_field("Content-Length: 3"), "abc", {}},
    {"length_zero", with_field("Content-Length: 0"), "", {}},
    {"length_leading_zero", with_field("Content-Length: 003"), "abc", {}},
    {"chunked", with_field("Transfer-Encoding: chunked"), "3\r\nabc\r\n0\r\n\r\n", {}},
    {"chunked_case", with_field("transfer-encoding: ChUnKeD"), "0\r\n\r\n", {}},
    {"connection_list", with_field("Connection: keep-alive, X-A"), "", {}},
    // Transfer-Encoding and Content-Length.
    {"te_cl", with_field("Transfer-Encoding: chunked\r\nContent-Length: 3"), "",
     E::length_with_encoding},
    {"cl_te", with_field("Content-Length: 3\r\nTransfer-Encoding: chunked"), "",
     E::length_with_encoding},
    {"te_cl_zero", with_field("Transfer-Encoding: chunked\r\nContent-Length: 0"), "",
     E::length_with_encoding},
    {"te_twice", with_field("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), "",
     E::bad_encoding},
    {"te_list", with_field("Transfer-Encoding: gzip, chunked"), "", E::bad_encoding},
    {"te_chunked_twice_in_list", with_field("Transfer-Encoding: chunked, chunked"), "",
     E::bad_encoding},
    {"te_chunked_not_last", with_field("Transfer-Encoding: chunked, gzip"), "", E::bad_encoding},
    {"te_identity", with_field("Transfer-Encoding: identity"), "", E::bad_encoding},
    {"te_identity_then_chunked",
     with_field("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked"), "", E::bad_encoding},
    {"te_unknown", with_field("Transfer-Encoding: xchunked"), "", E::bad_encoding},
    {"te_suffix", with_field("Transfer-Encoding: chunkedx"), "", E::bad_encoding},
    {"te_parameter", with_field("Transfer-Encoding: chunked;q=1"), "", E::bad_encoding},
    {"te_empty", with_field("Transfer-Encoding:"), "", E::bad_encoding},
    {"te_trailing_comma", with_field("Transfer-Encoding: chunked,"), "", E::bad_encoding},
    {"te_quoted", with_field("Transfer-Encoding: \"chunked\""), "", E::bad_encoding},
    {"te_vertical_tab",
     with_field("Transfer-Encoding: \x0b"
                "chunked"),
     "", E::bad_field_value},
    {"te_http10", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "",
     E::encoding_before_http11},
    {"te_space_before_colon", with_field("Transfer-Encoding : chunked"), "", E::bad_field_name},
    {"te_folded", with_field("Transfer-Encoding:\r\n chunked"), "", E::bad_encoding},
    {"cl_twice_equal", with_field("Content-Length: 3\r\nContent-Length: 3"), "abc",
     E::repeated_length},
    {"cl_twice_different", with_field("Content-Length: 3\r\nContent-Length: 4"), "abc",
     E::repeated_length},
    {"cl_list", with_field("Content-Length: 3, 3"), "abc", E::repeated_length},
    {"cl_plus", with_field("Content-Length: +3"), "abc", E::bad_length},
    {"cl_minus", with_field("Content-Length: -3"), "abc", E::bad_length},
    {"cl_hex", with_field("Content-Length: 0x3"), "abc", E::bad_length},
    {"cl_empty", with_field("Content-Length:"), "", E::bad_length},
    {"cl_letters", with_field("Content-Length: three"), "", E::bad_length},
    {"cl_inner_space", with_field("Content-Length: 3 3"), "", E::bad_length},
    {"cl_fraction", with_field("Content-Length: 3.0"), "", E::bad_length},
    {"cl_overflow", with_field("Content-Length: 18446744073709551619"), "", E::bad_length},
    {"cl_many_zeros", with_field("Content-Length: 0000000000000000003"), "abc", E::bad_length},
    {"cl_underscore", with_field("Content-Length: 1_0"), "", E::bad_length},
    {"cl_space_before_colon", with_field("Content-Length : 3"), "", E::bad_field_name},
    // Host.
    {"host_missing", host_line("X-A: b"), "", E::missing_host},
    {"host_missing_http10", "GET / HTTP/1.0\r\n\r\n", "", E::missing_host},
    {"host_twice_equal", host_line("Host: a\r\nHost: a"), "", E::repeated_host},
    {"host_twice_case", host_line("Host: a\r\nHOST: b"), "", E::repeated_host},
    {"host_empty", host_line("Host:"), "", E::bad_host},
    {"host_list", host_line("Host: a, b"), "", E::bad_host},
    {"host_path", host_line("Host: a/b"), "", E::bad_host},
    {"host_user", host_line("Host: u@a"), "", E::bad_host},
    {"host_bad_port", host_line("Host: a:80x"), "", E::bad_host},
    {"host_empty_port", host_line("Host: a:"), "", E::bad_host},
    {"host_two_ports", host_line("Host: a:1:2"), "", E::bad_host},
    {"host_open_bracket", host_line("Host: [::1"), "", E::bad_host},
    {"host_after_bracket", host_line("Host: [::1]x"), "", E::bad_host},
    // Lines.
    {"bare_lf_everywhere", "GET / HTTP/1.1\nHost: a\n\n", "", E::bad_line_ending},
    {"bare_lf_in_request_line", "GET / HTTP/1.1\nHost: a\r\n\r\n", "", E::bad_line_ending},
    {"bare_lf_in_field", host_line("Host: a\nX-A: b"), "", E::bad_line_ending},
    {"bare_lf_at_end", "GET / HTTP/1.1\r\nHost: a\r\n\n", "", E::bad_line_ending},
    {"bare_cr_in_value", host_line("Host: a\r\nX-A: b\rc"), "", E::bad_line_ending},
    {"bare_cr_as_line_end", host_line("Host: a\rX-A: b"), "", E::bad_line_ending},
    {"cr_cr_lf", host_line("Host: a\r"), "", E::bad_line_ending},
    {"bare_cr_in_request_line", request_line("GET /\r HTTP/1.1"), "", E::bad_line_ending},
    {"folded_space", host_line("Host: a\r\nX-A: b\r\n c"), "", E::folded_line},
    {"folded_tab", host_line("Host: a\r\nX-A: b\r\n\tc"), "", E::folded_line},
    {"folded_first", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", "", E::folded_line},
    {"leading_empty_line", "\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", E::bad_request_line},
    // Request line.
    {"two_spaces", request_line("GET  / HTTP/1.1"), "", E::bad_request_line},
    {"trailing_space", request_line("GET / HTTP/1.1 "), "", E::bad_request_line},
    {"space_in_target", request_line("GET /a b HTTP/1.1"), "", E::bad_request_line},
    {"no_version", request_line("GET /"), "", E::bad_request_line},
    {"tab_separator", request_line("GET\t/\tHTTP/1.1"), "", E::bad_request_line},
    {"leading_space", request_line(" / HTTP/1.1"), "", E::bad_method},
    {"method_not_token", request_line("G(T / HTTP/1.1"), "", E::bad_method},
    {"method_long", request_line(std::string(33, 'M') + " / HTTP/1.1"), "", E::bad_method},
    {"method_control", request_line("G\x01T / HTTP/1.1"), "", E::bad_method},
    {"target_absolute", request_line("GET http://a/ HTTP/1.1"), "", E::bad_target},
    {"target_authority", request_line("CONNECT a:80 HTTP/1.1"), "", E::bad_target},
    {"target_star_get", request_line("GET * HTTP/1.1"), "", E::bad_target},
    {"target_fragment", request_line("GET /#f HTTP/1.1"), "", E::bad_target},
    {"target_high_byte", request_line("GET /\xc3\xa9 HTTP/1.1"), "", E::bad_target},
    {"target_nul", request_line("GET /\0x HTTP/1.1"s), "", E::bad_target},
    {"target_delete", request_line("GET /\x7f HTTP/1.1"), "", E::bad_target},
    {"target_long", request_line("GET /" + std::string(4096, 'a') + " HTTP/1.1"), "",
     E::bad_target},
    {"version_2", request_line("GET / HTTP/2.0"), "", E::bad_version},
    {"version_12", request_line("GET / HTTP/1.2"), "", E::bad_version},
    {"version_09", request_line("GET / HTTP/0.9"), "", E::bad_version},
    {"version_lower", request_line("GET / http/1.1"), "", E::bad_version},
    {"version_long", request_line("GET / HTTP/1.10"), "", E::bad_version},
    {"version_zero", request_line("GET / HTTP/01.1"), "", E::bad_version},
    // Field names and values.
    {"name_empty", with_field(": x"), "", E::bad_field_name},
    {"name_no_colon", with_field("X-A"), "", E::bad_field_name},
    {"name_space_before_colon", with_field("X-A : b"), "", E::bad_field_name},
    {"name_tab_before_colon", with_field("X-A\t: b"), "", E::bad_field_name},
    {"name_inner_space", with_field("X A: b"), "", E::bad_field_name},
    {"name_nul", with_field("X\0A: b"s), "", E::bad_field_name},
    {"name_high_byte", with_field("X\xc3\xa9: b"), "", E::bad_field_name},
    {"name_parenthesis", with_field("X(A): b"), "", E::bad_field_name},
    {"value_nul", with_field("X-A: b\0c"s), "", E::bad_field_value},
    {"value_control",
     with_field("X-A: b\x01"
                "c"),
     "", E::bad_field_value},
    {"value_delete", with_field("X-A: b\x7f"), "", E::bad_field_value},
    {"value_escape", with_field("X-A: \x1b[31m"), "", E::bad_field_value},
    {"fields_too_many",
     [] {
         std::string fields = "X-0: y";
         for (int index = 1; index < 64; ++index) {
             fields += "\r\nX-" + std::to_string(index) + ": y";
         }
         return with_field(fields);
     }(),
     "", E::too_many_fields},
};

} // namespace concordat::transport::test
