#include "coordinator/log/identity.hpp"

#include "coordinator/log/crc32c.hpp"

#include <fmt/core.h>

#include <cerrno>
#include <charconv>
#include <optional>
#include <string_view>

namespace concordat::log {
namespace {

constexpr std::string_view identity_title = "concordat-data-directory 1\n";
constexpr std::string_view peers_title = "concordat-known-peers 1\n";
constexpr std::size_t checksum_line_bytes = 18; // "checksum=" + 8 digits + newline

std::string with_checksum(std::string text) {
    text += fmt::format("checksum={:08x}\n", crc32c(text));
    return text;
}

/// The text without title and checksum; nothing when it was changed.
std::optional<std::string_view> checked(std::string_view text, std::string_view title) {
    if (text.size() < title.size() + checksum_line_bytes || !text.starts_with(title)) {
        return std::nullopt;
    }
    const std::string_view body = text.substr(0, text.size() - checksum_line_bytes);
    if (text.substr(body.size()) != fmt::format("checksum={:08x}\n", crc32c(body))) {
        return std::nullopt;
    }
    return body.substr(title.size());
}

/// Takes "key=value\n" off the front.
std::optional<std::pair<std::string_view, std::string_view>> take_line(std::string_view& text) {
    const std::size_t end = text.find('\n');
    const std::size_t equals = text.find('=');
    if (end == std::string_view::npos || equals == std::string_view::npos || equals > end) {
        return std::nullopt;
    }
    const std::pair line{text.substr(0, equals), text.substr(equals + 1, end - equals - 1)};
    text.remove_prefix(end + 1);
    return line;
}

std::optional<std::uint64_t> parse_number(std::string_view text, int base) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (error != std::errc{} || end != text.data() + text.size()) {
        return std::nullopt;
    }
    return value;
}

std::unexpected<IoError> damaged(const FileSystem::Path& path) {
    return std::unexpected(IoError{EILSEQ, path.string() + ": the checksum is wrong"});
}

} // namespace

IoResult<void> write_identity(FileSystem& files, const FileSystem::Path& directory,
                              const Identity& identity) {
    return replace_file(
        files, directory / identity_file,
        with_checksum(fmt::format("{}node={}\nincarnation={:016x}\ncluster={}\n", identity_title,
                                  identity.node, identity.incarnation, identity.cluster_name)));
}

IoResult<Identity> read_identity(FileSystem& files, const FileSystem::Path& directory) {
    const FileSystem::Path path = directory / identity_file;
    const auto content = files.read(path);
    if (!content) {
        return std::unexpected(content.error());
    }
    auto text = checked(*content, identity_title);
    if (!text) {
        return damaged(path);
    }
    const auto node = take_line(*text);
    const auto incarnation = take_line(*text);
    const auto cluster = take_line(*text);
    if (!node || !incarnation || !cluster) {
        return damaged(path);
    }
    const auto node_id = parse_number(node->second, 10);
    const auto number = parse_number(incarnation->second, 16);
    if (!node_id || !number) {
        return damaged(path);
    }
    return Identity{std::string(cluster->second), *node_id, *number};
}

IoResult<void> write_known_peers(FileSystem& files, const FileSystem::Path& directory,
                                 const KnownPeers& peers) {
    std::string text{peers_title};
    for (const auto& [peer, incarnation] : peers) {
        text += fmt::format("{}={:016x}\n", peer, incarnation);
    }
    return replace_file(files, directory / known_peers_file, with_checksum(std::move(text)));
}

IoResult<KnownPeers> read_known_peers(FileSystem& files, const FileSystem::Path& directory) {
    const FileSystem::Path path = directory / known_peers_file;
    const auto content = files.read(path);
    if (!content) {
        return std::unexpected(content.error());
    }
    auto text = checked(*content, peers_title);
    if (!text) {
        return damaged(path);
    }
    KnownPeers peers;
    while (!text->empty()) {
        const auto line = take_line(*text);
        const auto peer = line ? parse_number(line->first, 10) : std::nullopt;
        const auto incarnation = line ? parse_number(line->second, 16) : std::nullopt;
        if (!peer || !incarnation) {
            return damaged(path);
        }
        peers[*peer] = *incarnation;
    }
    return peers;
}

} // namespace concordat::log
