# Installation of the SDK as a CMake package.
