// The modelled database against what PostgreSQL 15 does; tests/integration/postgres sees the same
// traps on a real server.

#include "tests/simulation/modelled_postgres.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <utility>

namespace concordat::simulation {
namespace {

class Server : public testing::Test, private DatabaseObserver {
protected:
    using Session = std::unique_ptr<postgres::Connection>;

    /// Runs the bodies side by side, until all of them have ended.
    void run(const std::vector<std::function<void()>>& bodies) {
        for (const auto& body : bodies) {
            fibers_.start(body);
        }
        timeline_.run_until(timeline_.now() + 60'000);
    }
    std::expected<Session, postgres::SqlError> open(std::shared_ptr<ClientProcess> client) {
        return modelled_sessions(database_, fibers_, timeline_, *this, std::move(client))();
    }
    Session session() { return open(client_).value(); }
    /// The last statement's tag, or the SQLSTATE of the first that failed.
    static std::string tag_of(postgres::Connection& session, const std::string& statements) {
        const auto result = session.run(statements);
        return result ? std::string(result->back().tag()) : result.error().sqlstate;
    }
    static std::string claim(const std::string& xid) {
        return "INSERT INTO concordat_outcome (xid, branch, outcome) SELECT '" + xid +
               "', 0, 'committed' WHERE pg_try_advisory_xact_lock(hashtextextended('concordat:" +
               xid + ":0', 0)) ON CONFLICT DO NOTHING";
    }
    static std::string remember(const std::string& xid) {
        return "INSERT INTO concordat_branch (xid, branch) VALUES ('" + xid +
               "', 0) ON CONFLICT DO NOTHING";
    }
    static std::size_t rows_of(postgres::Connection& session, const std::string& xid) {
        const auto read = session.run("SELECT outcome, reason FROM concordat_outcome "
                                      "WHERE (xid, branch) = ('" +
                                      xid + "', 0)");
        return read ? read->back().size() : 99;
    }

    Timeline timeline_{1};
    Fibers fibers_{timeline_};
    std::shared_ptr<ClientProcess> client_ = std::make_shared<ClientProcess>();
    ModelledPostgres database_{timeline_, fibers_, *this};

private:
    bool goes_wrong(Fault, unsigned) override { return false; }
    void prepared(const std::string&) override {}
    void rolled_back(const std::string&) override {}
    void decided(const std::string&, const std::string&) override {}
    void acceptor_changed(const std::string&, const BranchRow&, const BranchRow&) override {}
};

// P7: PREPARE TRANSACTION of a failed transaction succeeds, with another tag, and nothing is left.
TEST_F(Server, rolls_back_instead_of_preparing_when_a_statement_had_failed) {
    run({[&] {
        const Session one = session();
        const std::string refusal = "INSERT INTO concordat_outcome (xid, branch, outcome, reason) "
                                    "VALUES ('x', 0, 'aborted', '')";
        EXPECT_EQ(tag_of(*one, refusal), "INSERT 0 1");
        EXPECT_EQ(tag_of(*one, "BEGIN; " + refusal), "23505");
        EXPECT_EQ(tag_of(*one, claim("y")), "25P02");
        EXPECT_EQ(tag_of(*one, "PREPARE TRANSACTION 'concordat:y:0'"), "ROLLBACK");
        EXPECT_TRUE(database_.is_quiet());
    }});
}

// P6, P3: a name can be prepared once, and finished once.
TEST_F(Server, knows_a_prepared_transaction_by_its_name) {
    run({[&] {
        const Session one = session();
        const Session other = session();
        EXPECT_EQ(tag_of(*one, "BEGIN; " + claim("x") + "; PREPARE TRANSACTION 'concordat:x:0'"),
                  "PREPARE TRANSACTION");
        EXPECT_EQ(tag_of(*other, "BEGIN; " + claim("y") + "; PREPARE TRANSACTION 'concordat:x:0'"),
                  "42710");
        EXPECT_EQ(rows_of(*other, "x"), 0U);
        EXPECT_EQ(tag_of(*other, "COMMIT PREPARED 'concordat:x:0'"), "COMMIT PREPARED");
        EXPECT_EQ(rows_of(*other, "x"), 1U);
        EXPECT_EQ(tag_of(*other, "COMMIT PREPARED 'concordat:x:0'"), "42704");
        EXPECT_EQ(tag_of(*other, "ROLLBACK PREPARED 'concordat:y:0'"), "42704");
    }});
}

// P8: without room the transaction is gone, as after a rollback.
TEST_F(Server, refuses_to_prepare_when_there_is_no_room) {
    run({[&] {
        const Session one = session();
        database_.set_room_for_prepared(0);
        EXPECT_EQ(tag_of(*one, "BEGIN; " + claim("x") + "; PREPARE TRANSACTION 'concordat:x:0'"),
                  "53200");
        EXPECT_EQ(tag_of(*one, "COMMIT"), "COMMIT");
        EXPECT_TRUE(database_.is_quiet());
    }});
}

// P4, P5: a prepared transaction keeps its advisory lock, so nobody waits for it without a limit.
TEST_F(Server, keeps_locks_of_prepared_transactions) {
    run({[&] {
        const Session one = session();
        const Session other = session();
        EXPECT_EQ(tag_of(*one, "BEGIN; " + claim("x") + "; PREPARE TRANSACTION 'concordat:x:0'"),
                  "PREPARE TRANSACTION");
        EXPECT_EQ(tag_of(*other, "BEGIN; " + claim("x")), "INSERT 0 0");
        EXPECT_EQ(tag_of(*other, "ROLLBACK"), "ROLLBACK");
        const Milliseconds before = timeline_.now();
        EXPECT_EQ(tag_of(*other,
                         "BEGIN; SET LOCAL lock_timeout = 50; "
                         "SELECT pg_advisory_xact_lock(hashtextextended('concordat:x:0', 0))"),
                  "55P03");
        EXPECT_GE(timeline_.now() - before, 50U);
        EXPECT_EQ(tag_of(*other, "ROLLBACK"), "ROLLBACK");
        EXPECT_EQ(tag_of(*other, "ROLLBACK PREPARED 'concordat:x:0'"), "ROLLBACK PREPARED");
        EXPECT_EQ(tag_of(*other, "BEGIN; " + claim("x") + "; COMMIT"), "COMMIT");
        EXPECT_EQ(rows_of(*other, "x"), 1U);
    }});
}

// Asynchronous commits may be lost in a crash, but not behind a commit that was flushed; what was
// prepared is there again (P9).
TEST_F(Server, loses_only_the_unflushed_end_in_a_crash) {
    std::size_t lost = 0;
    for (int i = 0; i < 20; ++i) {
        const std::string number = std::to_string(i);
        const std::string early = "e" + number;
        const std::string late = "l" + number;
        const std::string kept = "concordat:p" + number + ":0";
        const std::string asynchronous = "BEGIN; SET LOCAL synchronous_commit = off; ";
        run({[&] {
            const Session one = session();
            EXPECT_EQ(tag_of(*one, asynchronous + claim(early) + "; COMMIT; BEGIN; " +
                                       claim("p" + number) + "; PREPARE TRANSACTION '" + kept +
                                       "'; " + asynchronous + claim(late) + "; COMMIT"),
                      "COMMIT");
            database_.crash();
            EXPECT_FALSE(one->run(remember("z")).has_value());
            EXPECT_FALSE(open(client_).has_value());
            database_.start();
            const Session after = session();
            EXPECT_EQ(rows_of(*after, early), 1U);
            lost += rows_of(*after, late) == 0 ? 1U : 0U;
            EXPECT_EQ(tag_of(*after, "COMMIT PREPARED '" + kept + "'"), "COMMIT PREPARED");
        }});
    }
    EXPECT_GT(lost, 0U);
    EXPECT_LT(lost, 20U);
}

// P16: killed in the middle of PREPARE, the transaction is prepared, or it never was; no third.
TEST_F(Server, prepares_or_rolls_back_when_the_backend_is_killed) {
    std::size_t prepared = 0;
    for (int i = 0; i < 40; ++i) {
        const std::string xid = "k" + std::to_string(i);
        run({[&] {
                 const Session one = session();
                 if (const auto claimed = one->run("BEGIN; " + claim(xid)); !claimed) {
                     EXPECT_TRUE(claimed.error().connection_lost); // killed too early
                     return;
                 }
                 const auto answer = one->run("PREPARE TRANSACTION 'concordat:" + xid + ":0'");
                 EXPECT_TRUE(answer || answer.error().connection_lost);
             },
             [&] {
                 fibers_.sleep(static_cast<Milliseconds>(i % 8));
                 database_.kill_a_backend();
             }});
        const bool is_prepared = !database_.prepared_gids().empty();
        prepared += is_prepared ? 1U : 0U;
        run({[&] {
            const Session after = session();
            EXPECT_EQ(tag_of(*after, "ROLLBACK PREPARED 'concordat:" + xid + ":0'"),
                      is_prepared ? "ROLLBACK PREPARED" : "42704");
        }});
        EXPECT_TRUE(database_.is_quiet());
    }
    EXPECT_GT(prepared, 0U);
    EXPECT_LT(prepared, 40U);
}

// P13: two transactions that wait for each other; one of them is told, the other goes on.
TEST_F(Server, breaks_a_deadlock) {
    std::vector<std::string> states;
    const auto cross = [&](const char* first, const char* second) {
        return [&, first, second] {
            const Session one = session();
            const std::string update = "UPDATE account SET amount = amount + 1 WHERE id = ";
            EXPECT_EQ(tag_of(*one, "BEGIN; " + update + first), "UPDATE 1");
            fibers_.sleep(20);
            states.push_back(tag_of(*one, update + second + "; COMMIT"));
        };
    };
    run({cross("1", "2"), cross("2", "1")});
    ASSERT_EQ(states.size(), 2U);
    EXPECT_EQ(states.front(), "40P01");
    EXPECT_EQ(states.back(), "COMMIT");
    EXPECT_EQ(database_.balance(), 2);
}

// A transaction at REPEATABLE READ must not change what was changed behind its snapshot.
TEST_F(Server, refuses_to_change_what_changed_since_the_snapshot) {
    run({[&] {
        const Session one = session();
        const Session other = session();
        const std::string update = "UPDATE account SET amount = amount + 1 WHERE id = 1";
        EXPECT_EQ(tag_of(*one, "BEGIN ISOLATION LEVEL REPEATABLE READ; " + remember("x")),
                  "INSERT 0 1");
        EXPECT_EQ(tag_of(*other, update), "UPDATE 1");
        EXPECT_EQ(tag_of(*one, update), "40001");
    }});
}

// A client that is gone does not stop what it had sent already, not even behind a lock.
TEST_F(Server, ends_the_round_trip_of_a_client_that_is_gone) {
    const auto gone = std::make_shared<ClientProcess>();
    run({[&] {
             const Session holder = session();
             EXPECT_EQ(tag_of(*holder, "BEGIN; " + remember("x")), "INSERT 0 1");
             fibers_.sleep(200);
             EXPECT_EQ(tag_of(*holder, "COMMIT"), "COMMIT");
         },
         [&] {
             fibers_.sleep(50);
             const Session one = open(gone).value();
             EXPECT_FALSE(one->run(remember("x") + "; " + claim("y")).has_value());
         },
         [&] {
             fibers_.sleep(100);
             gone->is_dead = true;
             database_.hang_up(*gone);
         }});
    run({[&] { EXPECT_EQ(rows_of(*session(), "y"), 1U); }});
    EXPECT_TRUE(database_.is_quiet());
}

// A statement that the model does not know must not pass for one that did nothing.
TEST_F(Server, throws_at_a_statement_that_it_does_not_know) {
    EXPECT_THROW(run({[&] { static_cast<void>(session()->run("SELECT 1")); }}), Violation);
}

} // namespace
} // namespace concordat::simulation
