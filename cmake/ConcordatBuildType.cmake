# Language level, default build type, compiler launcher, sanitizers and warnings for the whole tree.

set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set_property(GLOBAL PROPERTY USE_FOLDERS ON)

include(GNUInstallDirs)

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "Build type" FORCE)
endif()

# Invariants are asserted in release builds too, so NDEBUG (which would remove assert()) stays off.
# -g1 keeps line numbers in stack traces at a third of the object size of -g.
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g1")
set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O2 -g1")

find_program(CONCORDAT_CCACHE ccache)
mark_as_advanced(CONCORDAT_CCACHE)
if(CONCORDAT_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
    # What was compiled in one clone serves every other one: paths are taken relative to the clone. The price is that
    # debug information may name the clone that came first.
    set(CMAKE_CXX_COMPILER_LAUNCHER
        "${CMAKE_COMMAND}" -E env "CCACHE_BASEDIR=${PROJECT_SOURCE_DIR}" CCACHE_NOHASHDIR=1
        "${CONCORDAT_CCACHE}")
    set(CMAKE_C_COMPILER_LAUNCHER "${CMAKE_CXX_COMPILER_LAUNCHER}")
endif()

add_library(concordat_build_options INTERFACE)
add_library(concordat::build_options ALIAS concordat_build_options)

target_compile_options(
    concordat_build_options
    INTERFACE
        -Wall
        -Wextra
        -Wpedantic
        -Wshadow
        -Wconversion
        -Wsign-conversion
        -Wnon-virtual-dtor
        -Woverloaded-virtual
        -Wcast-align
        -Wformat=2
        -Wimplicit-fallthrough
        -Wextra-semi)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # The first three report impossible paths through inlined library code at -O2 (g++ 12). The last complains
    # about designated initialisers that leave members to their defaults, which is their purpose.
    target_compile_options(
        concordat_build_options
        INTERFACE -Wno-maybe-uninitialized -Wno-restrict -Wno-stringop-overflow
                  -Wno-missing-field-initializers)
endif()
if(CONCORDAT_WERROR)
    target_compile_options(concordat_build_options INTERFACE -Werror)
endif()

if(CONCORDAT_SANITIZER STREQUAL "address")
    add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
    add_link_options(-fsanitize=address,undefined)
elseif(CONCORDAT_SANITIZER STREQUAL "thread")
    add_compile_options(-fsanitize=thread -fno-omit-frame-pointer)
    add_link_options(-fsanitize=thread)
    # Boost.Asio fences are not understood by the thread sanitizer; gcc says so as a warning.
    target_compile_options(concordat_build_options INTERFACE -Wno-tsan)
elseif(NOT CONCORDAT_SANITIZER STREQUAL "none")
    message(FATAL_ERROR "CONCORDAT_SANITIZER must be address, thread or none")
endif()

if(CONCORDAT_COVERAGE)
    add_compile_options(--coverage)
    add_link_options(--coverage)
endif()
