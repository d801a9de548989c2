#include "coordinator/http/api.hpp"

#include "coordinator/http/service.hpp"

namespace concordat::http {

transport::Response problem_for(const transport::ProtocolError& error) {
    using Kind = transport::ProtocolError::Kind;
    Problem problem;
    problem.detail = error.detail;
    switch (error.kind) {
    case Kind::bad_framing:
        problem.code = ProblemCode::invalid_request;
        break;
    case Kind::header_too_large:
        problem.code = ProblemCode::header_too_large;
        break;
    case Kind::body_too_large:
        problem.code = ProblemCode::payload_too_large;
        break;
    case Kind::header_timeout:
    case Kind::body_timeout:
        problem.code = ProblemCode::request_timeout;
        break;
    case Kind::too_many_connections:
        problem.code = ProblemCode::overloaded;
        break;
    case Kind::unanswered:
        problem.code = ProblemCode::internal_error;
        break;
    }
    return render(problem);
}

Api::Api(Gateway& gateway, ApiOptions options, transport::IoThreads& threads)
    : service_(std::make_shared<Service>(gateway, std::move(options), threads)) {}

Api::~Api() {
    service_->stop();
}

void Api::handle(transport::Request&& request, transport::Responder responder) {
    service_->handle(std::move(request), std::move(responder));
}

std::string Api::metrics() const {
    return service_->metrics.text();
}

} // namespace concordat::http
