# Debian packages, made by `cpack --config build/release/CPackConfig.cmake`:
#
#   concordatd             the coordinator node with its systemd unit, and the operator's command line
#   concordat-relay        the outbox relay
#   concordat-sdk-dev      libraries, headers and CMake package of the participant SDK, and its migrations

install(
    FILES "${PROJECT_SOURCE_DIR}/cmake/package/concordatd.service"
    DESTINATION lib/systemd/system
    COMPONENT daemon)
install(
    FILES "${PROJECT_SOURCE_DIR}/docs/reference/concordatd.yaml"
    DESTINATION "${CMAKE_INSTALL_DATADIR}/doc/concordatd/examples"
    COMPONENT daemon)

# Packaging takes what is built; it does not build the tests first.
set(CMAKE_SKIP_INSTALL_ALL_DEPENDENCY ON)
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME concordat)
set(CPACK_PACKAGE_VENDOR "The Concordat maintainers")
set(CPACK_PACKAGE_CONTACT "The Concordat maintainers <maintainers@concordat.invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_PACKAGE_DIRECTORY "${PROJECT_BINARY_DIR}/packages")
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_GROUPING IGNORE)
set(CPACK_COMPONENTS_ALL daemon relay sdk)

set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_DAEMON_PACKAGE_NAME concordatd)
set(CPACK_DEBIAN_RELAY_PACKAGE_NAME concordat-relay)
set(CPACK_DEBIAN_SDK_PACKAGE_NAME concordat-sdk-dev)
set(CPACK_DEBIAN_SDK_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_SDK_PACKAGE_SHLIBDEPS OFF)
set(CPACK_DEBIAN_SDK_PACKAGE_DEPENDS
    "libboost1.81-dev | libboost-dev (>= 1.81), libssl-dev, libpqxx-dev, libpq-dev, librdkafka-dev, nlohmann-json3-dev, libfmt-dev, pkg-config")

include(CPack)
