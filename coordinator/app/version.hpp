#pragma once

#include <string_view>

namespace concordat::app {

/// Version of this build, from CMake's project().
inline constexpr std::string_view version = CONCORDAT_VERSION;

} // namespace concordat::app
