#pragma once

// The handlers of the route table. Each decodes its request and either refuses it or hands it on;
// none of them blocks. They run on the io thread that received the request.

#include "coordinator/http/routes.hpp"

namespace concordat::http {

// transaction_handlers.cpp
void handle_submit(Service& service, const ExchangePtr& exchange);
void handle_put(Service& service, const ExchangePtr& exchange);
void handle_get(Service& service, const ExchangePtr& exchange);
void handle_list(Service& service, const ExchangePtr& exchange);
void handle_enlist(Service& service, const ExchangePtr& exchange);
void handle_commit(Service& service, const ExchangePtr& exchange);
void handle_abort(Service& service, const ExchangePtr& exchange);
void handle_retry(Service& service, const ExchangePtr& exchange);
void handle_inquiry(Service& service, const ExchangePtr& exchange);
void handle_promise(Service& service, const ExchangePtr& exchange);
void handle_accept(Service& service, const ExchangePtr& exchange);

// operation_handlers.cpp
void handle_list_participants(Service& service, const ExchangePtr& exchange);
void handle_get_participant(Service& service, const ExchangePtr& exchange);
void handle_put_participant(Service& service, const ExchangePtr& exchange);
void handle_delete_participant(Service& service, const ExchangePtr& exchange);
void handle_cluster(Service& service, const ExchangePtr& exchange);
void handle_transfer(Service& service, const ExchangePtr& exchange);
void handle_drain(Service& service, const ExchangePtr& exchange);
void handle_events(Service& service, const ExchangePtr& exchange);
void handle_livez(Service& service, const ExchangePtr& exchange);
void handle_readyz(Service& service, const ExchangePtr& exchange);
void handle_metrics(Service& service, const ExchangePtr& exchange);

} // namespace concordat::http
