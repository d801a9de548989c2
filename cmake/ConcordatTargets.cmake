# Functions with which every folder declares its targets. They put warnings, sanitizers and the include
# root (the top of the source tree) on the target, so that a folder's CMakeLists.txt is a list of files
# and a list of libraries.
#
#   concordat_add_library(<target>
#       [ALIAS concordat::name]       name for other folders and for the installed package
#       SOURCES file...               .cpp files (headers are found through the include root)
#       [PUBLIC library...]           libraries whose types appear in the headers
#       [PRIVATE library...]          libraries used only by the .cpp files
#       [PUBLIC_HEADERS dir]          folder of installed headers, e.g. ../../include; used as <concordat/x.hpp>
#       [INSTALL component])          part of the installed SDK package, in that component
#
#   concordat_add_executable(<target> [OUTPUT name] SOURCES file... PRIVATE library... [INSTALL component])
#       The program lands in <build>/bin.
#
#   concordat_add_test(<target> SOURCES file... PRIVATE library...
#       LABEL unit|golden|simulation|fuzz|bench [TIMEOUT seconds] [ARGS argument...] [NO_MAIN])
#       One GoogleTest program, one ctest entry of the same name. CONCORDAT_SOURCE_DIR is defined for it
#       as a string literal. With NO_MAIN the sources bring their own main().
#
#   concordat_add_protobuf(<target> FILES file.proto...)
#       Adds generated lite-runtime sources to an existing target. A file coordinator/log/x.proto is
#       included as "coordinator/log/x.pb.h".

set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lib")

function(concordat_add_existing_subdirectories)
    foreach(folder IN LISTS ARGN)
        if(EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${folder}/CMakeLists.txt")
            add_subdirectory(${folder})
        endif()
    endforeach()
endfunction()

function(concordat_require_arguments function_name)
    if(ARG_UNPARSED_ARGUMENTS)
        message(FATAL_ERROR "${function_name}: unknown arguments ${ARG_UNPARSED_ARGUMENTS}")
    endif()
    if(NOT ARG_SOURCES)
        message(FATAL_ERROR "${function_name}: SOURCES is missing")
    endif()
endfunction()

function(concordat_add_library target)
    cmake_parse_arguments(ARG "" "ALIAS;PUBLIC_HEADERS;INSTALL" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
    concordat_require_arguments("concordat_add_library(${target})")

    add_library(${target} STATIC ${ARG_SOURCES})
    target_include_directories(${target} PUBLIC "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>")
    target_link_libraries(
        ${target}
        PUBLIC ${ARG_PUBLIC}
        PRIVATE ${ARG_PRIVATE} "$<BUILD_INTERFACE:concordat::build_options>")
    if(ARG_ALIAS)
        add_library(${ARG_ALIAS} ALIAS ${target})
        string(REGEX REPLACE "^.*::" "" export_name "${ARG_ALIAS}")
        set_target_properties(${target} PROPERTIES EXPORT_NAME "${export_name}")
    endif()
    if(ARG_PUBLIC_HEADERS)
        get_filename_component(headers "${ARG_PUBLIC_HEADERS}" ABSOLUTE)
        target_include_directories(
            ${target} PUBLIC "$<BUILD_INTERFACE:${headers}>"
                             "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>")
        set_property(GLOBAL APPEND PROPERTY CONCORDAT_PUBLIC_HEADER_FOLDERS "${headers}")
    endif()
    if(ARG_INSTALL)
        set_property(GLOBAL APPEND PROPERTY CONCORDAT_INSTALLED_LIBRARIES ${target})
        set_target_properties(${target} PROPERTIES CONCORDAT_COMPONENT "${ARG_INSTALL}")
    endif()
endfunction()

function(concordat_add_executable target)
    cmake_parse_arguments(ARG "" "OUTPUT;INSTALL" "SOURCES;PRIVATE" ${ARGN})
    concordat_require_arguments("concordat_add_executable(${target})")

    add_executable(${target} ${ARG_SOURCES})
    target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}")
    target_link_libraries(${target} PRIVATE ${ARG_PRIVATE} concordat::build_options)
    if(ARG_OUTPUT)
        set_target_properties(${target} PROPERTIES OUTPUT_NAME "${ARG_OUTPUT}")
    endif()
    if(ARG_INSTALL)
        install(TARGETS ${target} RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}" COMPONENT "${ARG_INSTALL}")
    endif()
endfunction()

function(concordat_add_test target)
    cmake_parse_arguments(ARG "NO_MAIN" "LABEL;TIMEOUT" "SOURCES;PRIVATE;ARGS" ${ARGN})
    concordat_require_arguments("concordat_add_test(${target})")
    if(NOT ARG_LABEL)
        message(FATAL_ERROR "concordat_add_test(${target}): LABEL is missing")
    endif()
    if(NOT ARG_TIMEOUT)
        set(ARG_TIMEOUT 120)
    endif()
    if(ARG_NO_MAIN)
        set(framework concordat_dep::gtest)
    else()
        set(framework concordat_dep::gtest_main)
    endif()

    concordat_add_executable(${target} SOURCES ${ARG_SOURCES} PRIVATE ${ARG_PRIVATE} ${framework})
    target_compile_definitions(${target} PRIVATE CONCORDAT_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
    add_test(NAME ${target} COMMAND ${target} ${ARG_ARGS} WORKING_DIRECTORY "${CMAKE_CURRENT_BINARY_DIR}")
    set_tests_properties(${target} PROPERTIES LABELS "${ARG_LABEL}" TIMEOUT ${ARG_TIMEOUT})
    # One target per layer, so that scripts/test builds what a layer needs and no more.
    if(NOT TARGET concordat_layer_${ARG_LABEL})
        add_custom_target(concordat_layer_${ARG_LABEL})
    endif()
    add_dependencies(concordat_layer_${ARG_LABEL} ${target})
endfunction()

function(concordat_add_protobuf target)
    cmake_parse_arguments(ARG "" "" "FILES" ${ARGN})
    set(generated_root "${PROJECT_BINARY_DIR}/generated")
    foreach(file IN LISTS ARG_FILES)
        get_filename_component(absolute "${file}" ABSOLUTE)
        file(RELATIVE_PATH relative "${PROJECT_SOURCE_DIR}" "${absolute}")
        string(REGEX REPLACE "\\.proto$" "" stem "${relative}")
        set(outputs "${generated_root}/${stem}.pb.cc" "${generated_root}/${stem}.pb.h")
        file(MAKE_DIRECTORY "${generated_root}")
        add_custom_command(
            OUTPUT ${outputs}
            COMMAND protobuf::protoc "--cpp_out=lite:${generated_root}" "-I${PROJECT_SOURCE_DIR}" "${absolute}"
            DEPENDS "${absolute}"
            COMMENT "Generating ${stem}.pb.cc"
            VERBATIM)
        target_sources(${target} PRIVATE ${outputs})
        # The generator's output is not held to this project's warnings.
        set_source_files_properties("${generated_root}/${stem}.pb.cc" PROPERTIES COMPILE_OPTIONS "-w")
    endforeach()
    target_include_directories(${target} SYSTEM PUBLIC "$<BUILD_INTERFACE:${generated_root}>")
    target_link_libraries(${target} PUBLIC concordat_dep::protobuf)
endfunction()
