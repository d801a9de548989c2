# The libraries that the SDK is linked with. Installed next to the package's configuration file, which
# includes it: a project that uses the SDK finds the same libraries under the same names.

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(OpenSSL 3 REQUIRED)
find_package(Boost 1.81 REQUIRED)
find_package(nlohmann_json 3.11 REQUIRED)
find_package(fmt 9 REQUIRED)

# concordat_pkg_config_dependency(<name> <pkg-config module expression>)
function(concordat_pkg_config_dependency name module)
    if(NOT TARGET concordat_dep::${name})
        pkg_check_modules(CONCORDAT_PKG_${name} REQUIRED IMPORTED_TARGET GLOBAL "${module}")
        add_library(concordat_dep::${name} INTERFACE IMPORTED GLOBAL)
        target_link_libraries(concordat_dep::${name} INTERFACE PkgConfig::CONCORDAT_PKG_${name})
    endif()
endfunction()

# concordat_dependency(<name> <library>...)
function(concordat_dependency name)
    if(NOT TARGET concordat_dep::${name})
        add_library(concordat_dep::${name} INTERFACE IMPORTED GLOBAL)
        target_link_libraries(concordat_dep::${name} INTERFACE ${ARGN})
    endif()
endfunction()

concordat_dependency(threads Threads::Threads)
concordat_dependency(boost Boost::headers Threads::Threads)
set_target_properties(
    concordat_dep::boost PROPERTIES INTERFACE_COMPILE_DEFINITIONS BOOST_ASIO_NO_DEPRECATED)
concordat_dependency(openssl OpenSSL::SSL OpenSSL::Crypto)
concordat_dependency(json nlohmann_json::nlohmann_json)
concordat_dependency(fmt fmt::fmt)
concordat_pkg_config_dependency(pqxx "libpqxx>=6.4")
concordat_pkg_config_dependency(pq "libpq")
concordat_pkg_config_dependency(rdkafka "rdkafka>=2.0")
