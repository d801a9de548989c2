#pragma once

#include <string_view>

namespace concordat::app {

/// Tells systemd (Type=notify) about the service's state through $NOTIFY_SOCKET, e.g. "READY=1".
/// Does nothing when the variable is absent; failures are ignored because nobody could act on them.
void notify_service_manager(std::string_view state) noexcept;

} // namespace concordat::app
