#pragma once

// The only includer of <raft.h> (libraft, the C consensus core).
//
// The header does not compile as C++ with g++: it defines types inside sizeof() within a
// static_assert. The assertions protect libraft's own binary layout, which its own build has
// already checked, so they are defined away around the include. Everything raft.h includes itself
// is included before, so that no standard header loses an assertion.
//
// Included by consensus.cpp and by tests that pin libraft's behaviour; never by another header.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define static_assert(...)
extern "C" {
#include <raft.h>
}
#undef static_assert
