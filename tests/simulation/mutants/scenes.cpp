#include "tests/simulation/mutants/scenes.hpp"

namespace concordat::mutants {

void run_scene(Scene scene, std::uint64_t seed) {
    switch (scene) {
    case Scene::world:
        run_world(seed);
        return;
    case Scene::group:
        run_group(seed);
        return;
    case Scene::disk:
        run_disk(seed);
        return;
    case Scene::core:
        run_core(seed);
        return;
    case Scene::quorum:
        run_quorum(seed);
        return;
    }
}

const char* name_of(Scene scene) {
    switch (scene) {
    case Scene::world:
        return "world";
    case Scene::group:
        return "group";
    case Scene::disk:
        return "disk";
    case Scene::core:
        return "core";
    case Scene::quorum:
        return "quorum";
    }
    return "?";
}

} // namespace concordat::mutants
