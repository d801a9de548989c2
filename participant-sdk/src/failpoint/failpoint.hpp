#pragma once

// Named points at which a test build of a program can be made to die: CONCORDAT_FAILPOINT("a.b").
//
// Why: a crash between two steps of a protocol lasts microseconds, and a kill at a random moment
// hits it once in a thousand times. A point hits it every time, and says that it did.
//
// What is shipped has no points: the macro is nothing unless CONCORDAT_FAILPOINTS is defined, and
// its arguments are not evaluated. The programs *-failpoints are built with it
// (concordat_add_failpoint_executable); a package test compares the two.
//
// In those programs the environment variable CONCORDAT_FAILPOINTS names a plan, a file that is read
// at every point, so that a running process can be armed. Its lines:
//
//   <point> <k> <kill|stop|hold> <evidence file>
//
// The k-th passage through the point since the plan last changed creates the evidence file, writes
// the point's name, k and the process id, and then
//   kill: the process ends by SIGKILL, without destructors, flushing or farewells
//   stop: the process stops by SIGSTOP, until somebody sends SIGCONT
//   hold: this thread stands still for ever, the others go on
// Where the evidence exists already nothing happens: a plan given to several processes hits once.
//
// A point may stand for a family: '*' in its name is replaced by each kind in turn.
//
// Threading: any thread. Errors: a plan that is not there or not readable arms nothing.

#if defined(CONCORDAT_FAILPOINTS)

#    include <string_view>
#    include <vector>

namespace concordat::failpoint {

using Kinds = std::vector<std::string_view>;

void pass(std::string_view point);
void pass(std::string_view family, std::string_view kind);
void pass(std::string_view family, const Kinds& kinds);

} // namespace concordat::failpoint

#    define CONCORDAT_FAILPOINT(...) ::concordat::failpoint::pass(__VA_ARGS__)

#else

#    define CONCORDAT_FAILPOINT(...) static_cast<void>(0)

#endif
