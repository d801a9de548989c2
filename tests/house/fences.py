"""Which folder may include what: the architecture, as a check."""

from __future__ import annotations

import re

from cpp_scanner import includes
from source_tree import SourceTree, Violation

# Headers of the standard library that would let the pure core see time, randomness, threads or devices.
IMPURE = {
    "<thread>", "<mutex>", "<shared_mutex>", "<condition_variable>", "<atomic>", "<future>", "<random>",
    "<iostream>", "<fstream>", "<cstdio>", "<ctime>", "<filesystem>", "<semaphore>", "<latch>",
}

# Folder -> what its quoted includes may start with. What is not listed here may include anything.
ALLOWED = {
    "coordinator/core/": ("coordinator/core/",),
    "coordinator/log/": (
        "coordinator/log/", "coordinator/core/", "participant-sdk/src/wire/", "participant-sdk/src/failpoint/"),
    "coordinator/http/": (
        "coordinator/http/", "coordinator/core/", "participant-sdk/src/wire/", "participant-sdk/src/transport/",
        "participant-sdk/src/failpoint/"),
    "coordinator/cli/": ("coordinator/cli/", "participant-sdk/src/wire/", "participant-sdk/src/transport/"),
    "participant-sdk/": ("participant-sdk/",),
}

# Libraries that belong behind one adapter: include prefix -> folders that may name it.
ADAPTERS = {
    "<raft.h>": ("coordinator/log/",),
    "<raft/": ("coordinator/log/",),
    "<pqxx/": ("participant-sdk/", "coordinator/cli/", "tests/"),
    "<libpq-fe.h>": ("participant-sdk/", "coordinator/cli/", "tests/"),
    "<librdkafka/": ("participant-sdk/", "tests/"),
    "<prometheus/": ("coordinator/app/", "coordinator/http/", "participant-sdk/", "tests/"),
    "<yaml-cpp/": ("coordinator/app/", "coordinator/cli/", "participant-sdk/", "tests/"),
    "<CLI/": ("coordinator/app/", "coordinator/cli/", "participant-sdk/", "tests/"),
}

# A failed assertion says why before it stops the process.
MAY_PRINT = "coordinator/core/assert.cpp"

PUBLIC_HEADERS = "participant-sdk/include/"
# What a service would have to install and compile only because it includes one of our headers.
KEPT_OUT_OF_PUBLIC_HEADERS = (
    "<nlohmann/", "<boost/", "<spdlog/", "<prometheus/", "<librdkafka/", "<libpq-fe.h>", "<openssl/", "<google/",
    '"participant-sdk/src/', '"coordinator/')


def is_standard(name: str) -> bool:
    return re.fullmatch(r"<[a-z0-9_]+>", name) is not None


def includes_stay_inside_their_fence(tree: SourceTree) -> list[Violation]:
    found = []
    for folder, allowed in ALLOWED.items():
        for path, text in tree.below(folder).items():
            for line, name in includes(text):
                if name.startswith('"') and not name[1:].startswith(allowed):
                    found.append(Violation(path, line, f"{folder} may not include {name}"))
                if name.startswith("<concordat/") and folder.startswith("coordinator/") and folder != "coordinator/cli/":
                    found.append(Violation(path, line, "the coordinator does not use the SDK's public API"))
    return found


def core_is_pure(tree: SourceTree) -> list[Violation]:
    found = []
    for path, text in tree.below("coordinator/core/").items():
        for line, name in includes(text):
            if name.startswith("<") and not is_standard(name):
                found.append(Violation(path, line, f"the core includes only the standard library, not {name}"))
            if name in IMPURE and not (path == MAY_PRINT and name == "<cstdio>"):
                found.append(Violation(path, line, f"the core is deterministic: {name} lets the world in"))
    return found


def libraries_stay_behind_their_adapter(tree: SourceTree) -> list[Violation]:
    found = []
    for path, text in tree.below("").items():
        for line, name in includes(text):
            for prefix, folders in ADAPTERS.items():
                if name.startswith(prefix) and not path.startswith(folders):
                    found.append(Violation(path, line, f"{name} belongs behind its adapter in {folders[0]}"))
    return found


def raft_has_one_adapter(tree: SourceTree) -> list[Violation]:
    """libraft's header needs a workaround to compile as C++; exactly one file carries it."""
    users = [
        (path, line)
        for path, text in tree.below("").items()
        for line, name in includes(text)
        if name == "<raft.h>"
    ]
    return [Violation(path, line, "a second file includes <raft.h>") for path, line in users[1:]]


def public_headers_need_no_library(tree: SourceTree) -> list[Violation]:
    found = []
    for path, text in tree.below(PUBLIC_HEADERS).items():
        for line, name in includes(text):
            if name.startswith(KEPT_OUT_OF_PUBLIC_HEADERS):
                found.append(Violation(path, line, f"a public header may not include {name}"))
    return found


CHECKS = {
    includes_stay_inside_their_fence: [
        {"coordinator/core/a.cpp": '#include "coordinator/log/b.hpp"\n'},
        {"coordinator/log/a.cpp": '#include "coordinator/http/b.hpp"\n'},
        {"coordinator/http/a.cpp": '#include "coordinator/log/b.hpp"\n'},
        {"coordinator/cli/a.cpp": '#include "coordinator/core/b.hpp"\n'},
        {"coordinator/http/a.cpp": "#include <concordat/participant.hpp>\n"},
        {"participant-sdk/src/a.cpp": '#include "coordinator/core/b.hpp"\n'},
    ],
    core_is_pure: [
        {"coordinator/core/a.hpp": "#include <fmt/format.h>\n"},
        {"coordinator/core/a.hpp": "#include <vector>\n#  include <thread>\n"},
    ],
    libraries_stay_behind_their_adapter: [
        {"coordinator/app/a.cpp": "#include <raft.h>\n"},
        {"coordinator/http/a.cpp": "#include <pqxx/pqxx>\n"},
    ],
    raft_has_one_adapter: [
        {"coordinator/log/a.hpp": "#include <raft.h>\n", "coordinator/log/b.hpp": "#include <raft.h>\n"},
    ],
    public_headers_need_no_library: [
        {"participant-sdk/include/concordat/a.hpp": "#include <nlohmann/json.hpp>\n"},
        {"participant-sdk/include/concordat/a.hpp": "#include <boost/asio.hpp>\n"},
    ],
}
