// Runs CUDA C kernels on a CPU as they are written, one block after the other.
//
// The threads of a block are coroutines: each runs until it meets a barrier or a warp
// operation, and which warp and which lane runs next is a choice that a result must not
// depend on. A source that waits at too few barriers gives other numbers in another
// order. Shared memory holds NaN when a block starts. Blocks have one dimension and
// whole warps.

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <tuple>
#include <utility>
#include <vector>

#ifndef __x86_64__
#include <ucontext.h>
#endif

using std::cos, std::floor, std::log, std::sin, std::sqrt;

#define __global__
#define __device__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __restrict__ __restrict
#ifdef __SANITIZE_ADDRESS__ // which guards no variables of a section
#define __shared__ static
#else
#define __shared__ static __attribute__((section("shared_memory")))
#endif
#define __syncthreads() emulator::wait(emulator::AT_BARRIER, __LINE__)
#define __shfl_xor_sync(mask, value, lanes) emulator::shuffle_xor(value, lanes, __LINE__)
#define __ballot_sync(mask, vote) emulator::ballot(vote, __LINE__)

// Where the variables of shared memory begin and end, set by the linker.
extern "C" char __start_shared_memory __attribute__((weak, visibility("hidden")));
extern "C" char __stop_shared_memory __attribute__((weak, visibility("hidden")));

struct Index {
    unsigned x, y, z;
};
static Index threadIdx, blockIdx, gridDim;

static inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
static inline long long __double2ll_rn(double x) { return std::llrint(x); }
static inline void atomicAdd(unsigned long long *to, unsigned long long x) { *to += x; }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline double __dadd_rn(double a, double b) { return a + b; }

namespace emulator {

enum State { READY, AT_BARRIER, IN_WARP, DONE };
enum Order { FORWARD, REVERSE, RANDOM };

const unsigned WARP_SIZE = 32, STACK = 256 * 1024;

struct Thread {
    State state;
    int line; // of the barrier it waits at
    uint64_t sent; // what other lanes read
    char *stack;
#ifdef __x86_64__
    void *pointer;
#else
    ucontext_t context;
#endif
};

static std::vector<Thread> threads;
static Thread host;
static void (*body)(void *);
static void *arguments;
static uint64_t random_state;

static uint64_t random_number()
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static void permute(std::vector<unsigned> &order, Order how)
{
    const unsigned n = order.size();
    for (unsigned k = 0; k < n; k++)
        order[k] = how == REVERSE ? n - 1 - k : k;
    for (unsigned k = n; k > 1 && how == RANDOM; k--)
        std::swap(order[k - 1], order[random_number() % k]);
}

#ifdef __x86_64__
// Save the registers that a call preserves, and go on with another stack.
__attribute__((naked, noinline, no_sanitize("address"))) static void change_stack(
    void **from, void *to)
{
    asm volatile("pushq %%rbp\n pushq %%rbx\n pushq %%r12\n pushq %%r13\n"
                 "pushq %%r14\n pushq %%r15\n movq %%rsp, (%%rdi)\n movq %%rsi, %%rsp\n"
                 "popq %%r15\n popq %%r14\n popq %%r13\n popq %%r12\n popq %%rbx\n"
                 "popq %%rbp\n ret\n" ::
                     : "memory");
}
static void go(Thread &from, Thread &to) { change_stack(&from.pointer, to.pointer); }
#else
static void go(Thread &from, Thread &to) { swapcontext(&from.context, &to.context); }
#endif

// The bottom of the stack of every thread.
static void enter()
{
    body(arguments);
    Thread &thread = threads[threadIdx.x];
    thread.state = DONE;
    go(thread, host);
    abort(); // nobody resumes a thread that is done
}

static void prepare(Thread &thread)
{
    thread.state = READY;
    if (thread.stack == nullptr)
        thread.stack = (char *)aligned_alloc(64, STACK);
#ifdef __x86_64__
    void **top = (void **)(thread.stack + STACK);
    *--top = nullptr; // where enter would return to
    *--top = (void *)enter;
    for (int k = 0; k < 6; k++)
        *--top = nullptr;
    thread.pointer = top;
#else
    getcontext(&thread.context);
    thread.context.uc_stack.ss_sp = thread.stack;
    thread.context.uc_stack.ss_size = STACK;
    thread.context.uc_link = &host.context;
    makecontext(&thread.context, enter, 0);
#endif
}

static void wait(State state, int line)
{
    Thread &thread = threads[threadIdx.x];
    thread.state = state;
    thread.line = line;
    go(thread, host);
}

// Return what the lane that ``from`` numbers sends.
template <class T, class From> static T exchange(T value, int line, From from)
{
    Thread &thread = threads[threadIdx.x];
    thread.sent = 0;
    std::memcpy(&thread.sent, &value, sizeof(T));
    wait(IN_WARP, line);
    const unsigned lane = threadIdx.x % WARP_SIZE;
    T found;
    std::memcpy(
        &found, &threads[threadIdx.x - lane + from(lane)].sent, sizeof(T));
    wait(IN_WARP, line); // until all have read
    return found;
}

template <class T> static T shuffle_xor(T value, unsigned lanes, int line)
{
    return exchange(value, line, [=](unsigned lane) { return lane ^ lanes; });
}

static unsigned ballot(bool vote, int line)
{
    Thread &thread = threads[threadIdx.x];
    thread.sent = vote;
    wait(IN_WARP, line);
    const unsigned first = threadIdx.x / WARP_SIZE * WARP_SIZE;
    unsigned votes = 0;
    for (unsigned lane = 0; lane < WARP_SIZE; lane++)
        votes |= (unsigned)threads[first + lane].sent << lane;
    wait(IN_WARP, line);
    return votes;
}

// Let a warp go on whose lanes have all met at one warp operation.
static void release_warp(unsigned first)
{
    for (unsigned t = first; t < first + WARP_SIZE; t++)
        if (threads[t].state != IN_WARP || threads[t].line != threads[first].line)
            return;
    for (unsigned t = first; t < first + WARP_SIZE; t++)
        threads[t].state = READY;
}

// Let all go on from the barrier; return what is wrong, or null.
static const char *release_block()
{
    for (Thread &thread : threads) {
        if (thread.state == IN_WARP)
            return "a warp operation without all lanes of the warp";
        if (thread.state == DONE)
            return "a barrier that threads which have ended do not reach";
        if (thread.line != threads[0].line)
            return "threads wait at different barriers";
    }
    for (Thread &thread : threads)
        thread.state = READY;
    return nullptr;
}

// Run the threads of a block up to their next barrier, warp after warp: the first may
// be far ahead of the last. Return whether a thread has not ended.
static bool run_phase(Order how)
{
    std::vector<unsigned> warps(threads.size() / WARP_SIZE), lanes(WARP_SIZE);
    permute(warps, how);
    bool going = false;
    for (unsigned warp : warps) {
        const unsigned first = warp * WARP_SIZE;
        for (bool moved = true; moved; release_warp(first)) {
            moved = false;
            permute(lanes, how);
            for (unsigned lane : lanes)
                if (threads[first + lane].state == READY) {
                    threadIdx.x = first + lane;
                    go(host, threads[first + lane]);
                    moved = true;
                }
        }
        for (unsigned lane : lanes)
            going = going || threads[first + lane].state != DONE;
    }
    return going;
}

static const char *run_block(Order how)
{
    const size_t size = &__stop_shared_memory - &__start_shared_memory;
    if (size > 0)
        std::memset(&__start_shared_memory, 0xff, size);
    for (Thread &thread : threads)
        prepare(thread);
    while (run_phase(how)) {
        const char *error = release_block();
        if (error != nullptr)
            return error;
    }
    return nullptr;
}

template <class... Types> struct Call {
    void (*kernel)(Types...);
    void **values;

    template <size_t... K> void with(std::index_sequence<K...>)
    {
        kernel(*(Types *)values[K]...);
    }

    static void run(void *call)
    {
        ((Call *)call)->with(std::index_sequence_for<Types...>{});
    }
};

// Run a kernel on a grid; values[k] points at its k-th argument. Return what is wrong.
template <class... Types>
static const char *launch(
    void (*kernel)(Types...), const unsigned *grid, unsigned block, void **values,
    int how, uint64_t seed)
{
    Call<Types...> call{kernel, values};
    body = &Call<Types...>::run;
    arguments = &call;
    random_state = seed * 2654435761u + 88172645463325252ull;
    threads.resize(block); // the same in every call of a program
    gridDim = {grid[0], grid[1], 1};
    std::vector<unsigned> order(grid[0] * grid[1]);
    permute(order, (Order)how);
    for (unsigned b : order) {
        blockIdx = {b % grid[0], b / grid[0], 0};
        const char *error = run_block((Order)how);
        if (error != nullptr)
            return error;
    }
    return nullptr;
}

} // namespace emulator
