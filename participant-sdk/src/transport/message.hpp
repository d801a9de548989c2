// HTTP messages as plain values.
//
// What: the request and response types that the server hands to its handler, that the client
// sends and receives, and the header list they share. They know nothing of sockets.
// Why: the owners (REST routes, participant endpoints, participant client) are tested with values.
//
// Threading: values; no sharing between threads without the caller's own lock.
// Errors: none here. Names and values are checked where a message meets the wire: the server's
// framing filter on the way in, the serialiser on the way out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace concordat::transport {

// ASCII case-insensitive equality, as header names need it; independent of the locale.
[[nodiscard]] bool equals_ignoring_case(std::string_view left, std::string_view right) noexcept;

struct Header {
    std::string_view name;
    std::string_view value;
};

// An ordered list of header fields with case-insensitive look-up. All text lives in one string, so
// a message with ten fields costs two allocations. Views are valid until the list changes or moves.
class Headers {
    struct Slot {
        std::uint32_t name_begin;
        std::uint32_t name_size;
        std::uint32_t value_begin;
        std::uint32_t value_size;
    };

public:
    class Iterator {
    public:
        using iterator_category = std::input_iterator_tag;
        using value_type = Header;
        using difference_type = std::ptrdiff_t;
        using pointer = void;
        using reference = Header;

        Iterator(const Headers* owner, std::size_t index) noexcept : owner_(owner), index_(index) {}
        [[nodiscard]] Header operator*() const noexcept { return owner_->at(index_); }
        Iterator& operator++() noexcept {
            ++index_;
            return *this;
        }
        Iterator operator++(int) noexcept {
            Iterator before = *this;
            ++index_;
            return before;
        }
        [[nodiscard]] bool operator==(const Iterator& other) const noexcept {
            return index_ == other.index_;
        }

    private:
        const Headers* owner_;
        std::size_t index_;
    };

    // Appends; a name may occur more than once.
    void add(std::string_view name, std::string_view value);
    // Replaces every field of that name by one.
    void set(std::string_view name, std::string_view value);
    void remove(std::string_view name);
    void clear() noexcept;
    // Room for that much text and that many fields, to save growing step by step.
    void reserve(std::size_t text_bytes, std::size_t fields);

    // The first field of that name.
    [[nodiscard]] std::optional<std::string_view> find(std::string_view name) const noexcept;
    [[nodiscard]] bool contains(std::string_view name) const noexcept;
    [[nodiscard]] std::size_t count(std::string_view name) const noexcept;
    [[nodiscard]] std::size_t size() const noexcept { return slots_.size(); }
    [[nodiscard]] bool empty() const noexcept { return slots_.empty(); }
    [[nodiscard]] Header at(std::size_t index) const noexcept;
    [[nodiscard]] Iterator begin() const noexcept { return {this, 0}; }
    [[nodiscard]] Iterator end() const noexcept { return {this, slots_.size()}; }

private:
    std::string text_;
    std::vector<Slot> slots_;
};

struct Request {
    std::string method; // as received: case-sensitive, "GET"
    std::string target; // origin form, undecoded: "/v1/transactions?limit=5"
    Headers headers;
    std::string body;           // chunked coding already removed; trailer fields are dropped
    std::string remote_address; // IP of the peer, without port
    std::string peer_identity;  // name in the verified client certificate; empty without TLS

    // The target up to '?', undecoded.
    [[nodiscard]] std::string_view path() const noexcept;
    // The target after '?', undecoded; empty without one. See uri.hpp for parsing it.
    [[nodiscard]] std::string_view query() const noexcept;
};

struct Response {
    int status = 200;
    Headers headers; // Content-Length, Connection, Date and Content-Type are added by the server
    std::string body;
    std::string content_type = "application/json"; // sent with a non-empty body; "" sends none
    bool close = false; // server: close after this answer. client: the peer will close
};

} // namespace concordat::transport
