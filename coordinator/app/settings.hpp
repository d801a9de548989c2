#pragma once

// The table of all settings; see configuration.hpp.

#include "coordinator/app/configuration.hpp"

#include <span>

namespace concordat::app {

struct Setting {
    std::string_view key; ///< section.key
    std::string_view fallback;
    std::string_view description;
    /// Writes the parsed value; the error is a sentence without the key.
    std::expected<void, std::string> (*assign)(Configuration&, std::string_view);
};

/// All settings, grouped by section, in the order of the sample file.
std::span<const Setting> settings();

} // namespace concordat::app
