# Writes the forward migrations into a source file, so that an installed library can apply them itself.
# Run as a script: cmake -DFOLDER=… -DOUTPUT=… -P EmbedMigrations.cmake

file(GLOB files "${FOLDER}/*.up.sql")
list(SORT files)
set(entries "")
foreach(file IN LISTS files)
    get_filename_component(name "${file}" NAME)
    if(NOT name MATCHES "^0*([0-9]+)_(.*)\\.up\\.sql$")
        message(FATAL_ERROR "not a migration's name: ${name}")
    endif()
    set(version "${CMAKE_MATCH_1}")
    set(title "${CMAKE_MATCH_2}")
    file(READ "${file}" sql)
    # Compilers limit the length of one literal; adjacent literals are joined.
    string(LENGTH "${sql}" length)
    set(literals "")
    set(offset 0)
    while(offset LESS length)
        string(SUBSTRING "${sql}" ${offset} 8000 piece)
        string(APPEND literals "R\"concordat_sql(${piece})concordat_sql\"\n")
        math(EXPR offset "${offset} + 8000")
    endwhile()
    string(APPEND entries "    {${version}, \"${title}\",\n${literals}},\n")
endforeach()

set(content
    "#include \"participant-sdk/src/postgres/migrations.hpp\"

namespace concordat::postgres {

namespace {

constexpr Migration embedded[] = {
${entries}};

} // namespace

std::span<const Migration> migrations() noexcept {
    return embedded;
}

} // namespace concordat::postgres
")
file(WRITE "${OUTPUT}" "${content}")
