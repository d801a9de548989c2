// Content of configuration entries, in libraft's encoding.

#include "coordinator/log/bytes.hpp"
#include "coordinator/log/consensus_engine.hpp"

#include <algorithm>

namespace concordat::log {

std::string encode_configuration(std::vector<VotingMember> members) {
    std::ranges::sort(members, {}, &VotingMember::id);
    raft_configuration configuration;
    raft_configuration_init(&configuration);
    for (const VotingMember& member : members) {
        const int code =
            raft_configuration_add(&configuration, member.id, member.address.c_str(), RAFT_VOTER);
        CONCORDAT_ASSERT(code == 0);
    }
    raft_buffer buffer{};
    const int code = raft_configuration_encode(&configuration, &buffer);
    CONCORDAT_ASSERT(code == 0);
    std::string bytes(static_cast<const char*>(buffer.base), buffer.len);
    raft_free(buffer.base);
    raft_configuration_close(&configuration);
    return bytes;
}

std::optional<std::vector<VotingMember>> decode_configuration(std::string_view bytes) {
    // Checked here because the library's decoder trusts its input (rule 2): version, count, then
    // id, address up to a zero byte, role for each member.
    ByteReader reader{bytes};
    const auto version = reader.number<std::uint8_t>();
    const auto count = reader.number<std::uint64_t>();
    if (!reader.ok() || version != 1 || count == 0 || count > 1000) {
        return std::nullopt;
    }
    std::vector<VotingMember> members;
    std::size_t position = 9;
    for (std::uint64_t i = 0; i < count; ++i) {
        ByteReader item{bytes.substr(position)};
        const auto id = item.number<std::uint64_t>();
        const std::size_t end = item.ok() ? bytes.find('\0', position + 8) : std::string_view::npos;
        if (end == std::string_view::npos || end + 1 >= bytes.size() || id == 0) {
            return std::nullopt;
        }
        const auto role = static_cast<unsigned char>(bytes[end + 1]);
        VotingMember member{id, std::string(bytes.substr(position + 8, end - position - 8))};
        const bool repeated = std::ranges::any_of(members, [&](const VotingMember& other) {
            return other.id == member.id || other.address == member.address;
        });
        if (role > RAFT_SPARE || repeated) {
            return std::nullopt;
        }
        members.push_back(std::move(member));
        position = end + 2;
    }
    return members;
}

PersistedState bootstrap_state(std::vector<VotingMember> members) {
    PersistedState state;
    state.hard_state.term = 1;
    state.entries.push_back(
        {1, 1, EntryType::configuration,
         std::make_shared<const std::string>(encode_configuration(std::move(members)))});
    return state;
}

} // namespace concordat::log
