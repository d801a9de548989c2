// Commands of a log entry: what an old or damaged node may hand over is refused, never guessed.

#include "coordinator/log/command_codec.hpp"
#include "tests/fuzz/fuzz_target.hpp"

#include <memory>

namespace concordat::fuzz {

std::vector<std::string> seeds() {
    core::Begin begin;
    begin.xid = core::Xid{"x-1"};
    begin.branches.push_back(
        {core::ParticipantName{"order"}, std::make_shared<const std::string>("{}"), {}});
    core::Decide decide;
    decide.xid = core::Xid{"x-1"};
    decide.detail = "no stock";
    core::LeaderEpoch epoch;
    epoch.nonce = 7;
    return {log::encode_commands(std::vector<core::Command>{begin, decide}),
            log::encode_commands(std::vector<core::Command>{epoch, core::ReadBarrier{}}),
            log::encode_snapshot(core::SnapshotContent{})};
}

bool run_one(std::string_view input) {
    const auto commands = log::decode_commands(input);
    if (commands) {
        const std::string encoded = log::encode_commands(*commands);
        require(encoded.size() % 8 == 0, "an entry's length is a multiple of eight");
        const auto again = log::decode_commands(encoded);
        require(again.has_value() && log::encode_commands(*again) == encoded, "encoding is stable");
    } else {
        require(!commands.error().empty(), "every refusal has words");
    }
    const auto content = log::decode_snapshot(input);
    require(content || !content.error().empty(), "every refusal has words");
    return commands || content;
}

} // namespace concordat::fuzz
