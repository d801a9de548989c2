# Third-party libraries, all of them from the distribution; nothing is downloaded.
#
# Target                      Library                                   Use it for
# concordat_dep::threads      POSIX threads
# concordat_dep::boost        Boost >= 1.81, headers only                Asio, Beast
# concordat_dep::openssl      OpenSSL 3 (ssl and crypto)                TLS, SHA-256
# concordat_dep::raft         libraft >= 0.22                           consensus; only coordinator/log
# concordat_dep::pqxx         libpqxx 6.4 or newer                      PostgreSQL, C++
# concordat_dep::pq           libpq                                     PostgreSQL, binary results
# concordat_dep::rdkafka      librdkafka C API                          Kafka
# concordat_dep::protobuf     protobuf, lite runtime                    log encoding
# concordat_dep::json         nlohmann/json (single-header)             JSON bodies; few .cpp files only
# concordat_dep::spdlog       spdlog on the external fmt                logging
# concordat_dep::fmt          fmt 9 or newer                            formatting
# concordat_dep::prometheus   prometheus-cpp core (no HTTP part)        metrics
# concordat_dep::cli11        CLI11                                     flags
# concordat_dep::yaml         yaml-cpp                                  configuration files
# concordat_dep::gtest        GoogleTest with main, and gmock           tests (added by concordat_add_test)
# concordat_dep::benchmark    Google Benchmark                          tests/bench
# concordat_dep::rapidcheck   rapidcheck with its GoogleTest glue       property tests

include("${CMAKE_CURRENT_LIST_DIR}/ConcordatSdkDependencies.cmake")

find_package(Protobuf 3.21 REQUIRED)
find_package(spdlog 1.10 REQUIRED)
find_package(prometheus-cpp CONFIG REQUIRED COMPONENTS core)
find_package(CLI11 2 REQUIRED)
find_package(yaml-cpp REQUIRED)

concordat_pkg_config_dependency(raft "raft>=0.22")
concordat_dependency(protobuf protobuf::libprotobuf-lite)
concordat_dependency(spdlog spdlog::spdlog)
concordat_dependency(prometheus prometheus-cpp::core)
concordat_dependency(cli11 CLI11::CLI11)
concordat_dependency(yaml yaml-cpp)

if(CONCORDAT_PKG_pqxx_VERSION VERSION_GREATER_EQUAL 7)
    # It deprecates what both it and libpqxx 6 have.
    target_compile_options(concordat_dep::pqxx INTERFACE -Wno-deprecated-declarations)
endif()

if(CONCORDAT_BUILD_TESTS)
    find_package(GTest 1.12 REQUIRED)
    find_package(benchmark REQUIRED)
    find_package(rapidcheck CONFIG REQUIRED)
    concordat_dependency(gtest GTest::gtest GTest::gmock)
    concordat_dependency(gtest_main GTest::gtest GTest::gmock GTest::gtest_main)
    concordat_dependency(benchmark benchmark::benchmark)
    concordat_dependency(rapidcheck rapidcheck)
endif()
