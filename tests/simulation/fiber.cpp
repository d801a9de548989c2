#include "tests/simulation/fiber.hpp"

#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <new>
#include <utility>

#if defined(__SANITIZE_ADDRESS__)
#    include <sanitizer/common_interface_defs.h>
#elif defined(__SANITIZE_THREAD__)
#    include <sanitizer/tsan_interface.h>
#endif

namespace concordat::simulation {
namespace {

constexpr std::size_t page_bytes = 4096;
constexpr std::size_t stack_bytes = 256UL << 10; // only touched pages cost memory

} // namespace

// A stack with a body on it. When the body has ended the fiber is parked and used again, because
// mapping a stack costs more than most bodies.
class Fiber {
public:
    Fiber();
    ~Fiber();
    Fiber(const Fiber&) = delete;
    Fiber& operator=(const Fiber&) = delete;

    /// Runs it until it calls leave().
    void enter();
    void leave();

    std::function<void()> body;
    std::exception_ptr thrown;
    std::uint64_t wait = 0; ///< counts up with each wait, also from body to body
    bool is_waiting = false;
    bool was_woken = false;
    bool has_ended = false;

private:
    static void run(unsigned high, unsigned low);
    void loop();

    std::byte* stack_;
    ucontext_t own_{};
    ucontext_t outside_{};
#if defined(__SANITIZE_ADDRESS__)
    void* own_fake_ = nullptr;
    void* outside_fake_ = nullptr;
    const void* outside_stack_ = nullptr;
    std::size_t outside_bytes_ = 0;
#elif defined(__SANITIZE_THREAD__)
    void* own_tsan_ = __tsan_create_fiber(0);
    void* outside_tsan_ = nullptr;
#endif
};

namespace {

std::vector<std::unique_ptr<Fiber>>& parked() {
    static std::vector<std::unique_ptr<Fiber>> fibers;
    return fibers;
}

} // namespace

Fiber::Fiber() {
    void* memory = mmap(nullptr, stack_bytes + page_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        throw std::bad_alloc();
    }
    stack_ = static_cast<std::byte*>(memory);
    mprotect(stack_, page_bytes, PROT_NONE); // an overflow must not pass unnoticed
    getcontext(&own_);
    own_.uc_stack.ss_sp = stack_ + page_bytes;
    own_.uc_stack.ss_size = stack_bytes;
    own_.uc_link = nullptr;
    const auto address = reinterpret_cast<std::uintptr_t>(this);
    makecontext(&own_, reinterpret_cast<void (*)()>(&Fiber::run), 2,
                static_cast<unsigned>(address >> 32U), static_cast<unsigned>(address));
}

Fiber::~Fiber() {
#if defined(__SANITIZE_THREAD__)
    __tsan_destroy_fiber(own_tsan_);
#endif
    munmap(stack_, stack_bytes + page_bytes);
}

void Fiber::enter() {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&outside_fake_, stack_ + page_bytes, stack_bytes);
#elif defined(__SANITIZE_THREAD__)
    outside_tsan_ = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(own_tsan_, 0);
#endif
    swapcontext(&outside_, &own_);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(outside_fake_, nullptr, nullptr);
#endif
}

void Fiber::leave() {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&own_fake_, outside_stack_, outside_bytes_);
#elif defined(__SANITIZE_THREAD__)
    __tsan_switch_to_fiber(outside_tsan_, 0);
#endif
    swapcontext(&own_, &outside_);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(own_fake_, &outside_stack_, &outside_bytes_);
#endif
}

// makecontext() passes ints.
void Fiber::run(unsigned high, unsigned low) {
    const std::uintptr_t address = (static_cast<std::uintptr_t>(high) << 32U) | low;
    reinterpret_cast<Fiber*>(address)->loop();
}

void Fiber::loop() {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &outside_stack_, &outside_bytes_);
#endif
    for (;;) {
        try {
            body();
        } catch (...) {
            thrown = std::current_exception();
        }
        body = nullptr;
        has_ended = true;
        leave();
    }
}

Fibers::Fibers(Timeline& timeline) : timeline_(timeline) {}

Fibers::~Fibers() {
    drain();
    *self_ = nullptr;
}

void Fibers::start(std::function<void()> body) {
    auto& idle = parked();
    if (idle.empty()) {
        idle.push_back(std::make_unique<Fiber>());
    }
    std::unique_ptr<Fiber> fiber = std::move(idle.back());
    idle.pop_back();
    Fiber& started = *fiber;
    started.body = std::move(body);
    started.has_ended = false;
    alive_.push_back(std::move(fiber));
    resume(started);
}

void Fibers::resume(Fiber& fiber) {
    Fiber* const outer = std::exchange(running_, &fiber);
    fiber.is_waiting = false;
    fiber.enter();
    running_ = outer;
    std::exception_ptr failure = std::exchange(failure_, nullptr);
    if (fiber.has_ended) {
        if (!failure) {
            failure = fiber.thrown;
        }
        fiber.thrown = nullptr;
        const auto ended =
            std::ranges::find_if(alive_, [&](const auto& one) { return one.get() == &fiber; });
        parked().push_back(std::move(*ended));
        *ended = std::move(alive_.back());
        alive_.pop_back();
    }
    if (failure && !draining_) {
        std::rethrow_exception(failure);
    }
}

void Fibers::drain() {
    draining_ = true;
    while (!alive_.empty()) {
        resume(*alive_.back());
    }
}

Fibers::Ticket Fibers::ticket() const {
    return {running_, running_->wait + 1};
}

bool Fibers::wait(Milliseconds at_most) {
    Fiber& fiber = *running_;
    const std::uint64_t wait = ++fiber.wait;
    if (draining_) {
        return false;
    }
    timeline_.after(at_most, [self = self_, &fiber, wait] {
        if (*self != nullptr && fiber.is_waiting && fiber.wait == wait) {
            (*self)->resume(fiber);
        }
    });
    fiber.is_waiting = true;
    fiber.was_woken = false;
    fiber.leave();
    return fiber.was_woken;
}

void Fibers::wake(const Ticket& ticket) {
    if (draining_ || !ticket.fiber->is_waiting || ticket.fiber->wait != ticket.wait ||
        ticket.fiber->was_woken) {
        return;
    }
    ticket.fiber->was_woken = true;
    timeline_.after(0, [self = self_, ticket] {
        if (*self != nullptr && ticket.fiber->is_waiting && ticket.fiber->wait == ticket.wait) {
            (*self)->resume(*ticket.fiber);
        }
    });
}

void Fibers::fail(std::exception_ptr failure) {
    if (!failure_) {
        failure_ = std::move(failure);
    }
}

} // namespace concordat::simulation
