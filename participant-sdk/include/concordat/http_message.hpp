#pragma once

// HTTP messages as values, so that a Participant can stand behind any HTTP server.

#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace concordat {

struct HttpRequest {
    std::string method; ///< "GET", case-sensitive
    std::string target; ///< path and query as they came in, undecoded
    std::vector<std::pair<std::string, std::string>> headers;
    std::string body;
};

struct HttpResponse {
    int status = 200;
    std::vector<std::pair<std::string, std::string>> headers;
    std::string body; ///< JSON unless a Content-Type header says otherwise
};

/// May block; must not throw (what it throws becomes a 500). Called from several threads.
using HttpHandler = std::function<HttpResponse(const HttpRequest&)>;

} // namespace concordat
