# While folders are being filled: stand-ins for standard targets that nobody declares yet, so that the rest
# of the tree configures.
foreach(
    name
    core log http app wire transport participant client postgres outbox inbox)
    if(NOT TARGET concordat_${name})
        message(WARNING "concordat_${name} is not declared yet")
        add_library(concordat_${name} INTERFACE)
    endif()
    if(NOT TARGET concordat::${name})
        add_library(concordat::${name} ALIAS concordat_${name})
    endif()
endforeach()
