#pragma once

// Describes a data directory to an operator without changing it. The directory must not be in use.

#include <filesystem>
#include <string>

namespace concordat::log {

struct DataDirectoryReport {
    bool healthy = false; ///< everything could be read
    std::string text;     ///< lines for a person
};

[[nodiscard]] DataDirectoryReport describe_data_directory(const std::filesystem::path& directory);

} // namespace concordat::log
