# Installation of the SDK as a CMake package:
#
#   find_package(concordat 0.1 CONFIG REQUIRED COMPONENTS participant postgres)
#   target_link_libraries(service PRIVATE concordat::participant concordat::postgres)
#
# Installed are the libraries declared with INSTALL, and every library of this project they stand on.

include(CMakePackageConfigHelpers)

function(concordat_install_sdk)
    get_property(pending GLOBAL PROPERTY CONCORDAT_INSTALLED_LIBRARIES)
    if(NOT pending)
        return()
    endif()

    set(libraries "")
    while(pending)
        list(POP_FRONT pending library)
        get_target_property(aliased ${library} ALIASED_TARGET)
        if(aliased)
            set(library ${aliased})
        endif()
        if(library IN_LIST libraries)
            continue()
        endif()
        list(APPEND libraries ${library})
        get_target_property(links ${library} LINK_LIBRARIES)
        foreach(link IN LISTS links)
            if(link MATCHES "^concordat(_|::)" AND NOT link MATCHES "^concordat_dep::" AND TARGET ${link})
                list(APPEND pending ${link})
            endif()
        endforeach()
    endwhile()

    set(package_folder "${CMAKE_INSTALL_LIBDIR}/cmake/concordat")
    install(
        TARGETS ${libraries}
        EXPORT concordat
        ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT sdk)
    install(
        EXPORT concordat
        NAMESPACE concordat::
        FILE concordat-targets.cmake
        DESTINATION "${package_folder}"
        COMPONENT sdk)

    get_property(header_folders GLOBAL PROPERTY CONCORDAT_PUBLIC_HEADER_FOLDERS)
    list(REMOVE_DUPLICATES header_folders)
    foreach(folder IN LISTS header_folders)
        install(DIRECTORY "${folder}/" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" COMPONENT sdk)
    endforeach()
    if(EXISTS "${PROJECT_SOURCE_DIR}/migrations/participant")
        install(
            DIRECTORY "${PROJECT_SOURCE_DIR}/migrations/participant"
            DESTINATION "${CMAKE_INSTALL_DATADIR}/concordat/migrations"
            COMPONENT sdk)
    endif()

    configure_package_config_file(
        "${PROJECT_SOURCE_DIR}/cmake/concordat-config.cmake.in"
        "${PROJECT_BINARY_DIR}/concordat-config.cmake"
        INSTALL_DESTINATION "${package_folder}")
    # Before 1.0 a minor version may change the interface.
    write_basic_package_version_file(
        "${PROJECT_BINARY_DIR}/concordat-config-version.cmake" COMPATIBILITY SameMinorVersion)
    install(
        FILES "${PROJECT_BINARY_DIR}/concordat-config.cmake"
              "${PROJECT_BINARY_DIR}/concordat-config-version.cmake"
              "${PROJECT_SOURCE_DIR}/cmake/ConcordatSdkDependencies.cmake"
        DESTINATION "${package_folder}"
        COMPONENT sdk)
endfunction()

concordat_install_sdk()
