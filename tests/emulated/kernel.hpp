// Enough of CUDA to run a kernel on a CPU: the threads of a block take turns at barriers.
#define __CUDACC_VER_MAJOR__ 13  // so that CuPy takes its halves from cuda_fp16.h
#define __shared__ static        // blocks run one after the other

#include <assert.h>
#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <xmmintrin.h>

#include <algorithm>
#include <functional>
#include <tuple>
#include <vector>

#include <cuda_fp16.h>

using std::max;
using std::min;

static struct { unsigned int x; } threadIdx, blockIdx, blockDim, gridDim;

static long long clock64() {
  static long long time = 0;
  return time += 1 << 30;
}
static unsigned int __popc(unsigned int x) { return __builtin_popcount(x); }
static unsigned int __popcll(unsigned long long x) { return __builtin_popcountll(x); }

template <class To, class From> static To bits(From value) {
  static_assert(sizeof(To) == sizeof(From), "other bits");
  To result;
  memcpy(&result, &value, sizeof(To));
  return result;
}
static float __int_as_float(int x) { return bits<float>(x); }
static int __float_as_int(float x) { return bits<int>(x); }
static double __longlong_as_double(long long x) { return bits<double>(x); }
static long long __double_as_longlong(double x) { return bits<long long>(x); }

// CuPy's headers name these; nothing else runs between a read and its write.
template <class T> static T swapped(T *place, T value) {
  T old = *place;
  *place = value;
  return old;
}
#define ATOMIC(T)                                                                              \
  static T atomicAdd(T *place, T value) { return swapped<T>(place, *place + value); }          \
  static T atomicCAS(T *place, T old, T value) { return swapped<T>(place, *place == old ? value : *place); }
ATOMIC(int)
ATOMIC(unsigned int)
ATOMIC(unsigned long long)
static float atomicAdd(float *place, float value) { return swapped(place, *place + value); }
static double atomicAdd(double *place, double value) { return swapped(place, *place + value); }

typedef std::function<void()> Work;

// Threads that never wait for each other.
static void run_freely(unsigned int grid, unsigned int block, const Work &kernel) {
  for (blockIdx.x = 0; blockIdx.x < grid; blockIdx.x++)
    for (threadIdx.x = 0; threadIdx.x < block; threadIdx.x++) kernel();
}

// Threads with barriers have stacks of their own. They change places by longjmp: swapcontext
// would ask the kernel, the operating system's, each time.
struct Thread {
  std::vector<char> stack = std::vector<char>(1 << 15);
  ucontext_t start;
  jmp_buf place;
  bool has_begun = false, is_done = false;
};
static std::vector<Thread> threads;
static const Work *body;
static jmp_buf scheduler;

static void __syncthreads() {
  if (!_setjmp(threads[threadIdx.x].place)) _longjmp(scheduler, 1);
}

static void run_thread() {
  for (;;) {  // each block
    (*body)();
    threads[threadIdx.x].is_done = true;
    __syncthreads();
  }
}

static void resume(Thread &thread) {
  if (_setjmp(scheduler)) return;
  if (thread.has_begun) _longjmp(thread.place, 1);
  thread.has_begun = true;
  getcontext(&thread.start);
  thread.start.uc_stack.ss_sp = thread.stack.data();
  thread.start.uc_stack.ss_size = thread.stack.size();
  makecontext(&thread.start, run_thread, 0);
  setcontext(&thread.start);
}

static bool take_turns(unsigned int block, bool is_backwards) {
  bool is_running = false;
  for (unsigned int turn = 0; turn < block; turn++) {
    threadIdx.x = is_backwards ? block - 1 - turn : turn;
    Thread &thread = threads[threadIdx.x];
    if (thread.is_done) continue;
    is_running = true;
    resume(thread);
  }
  return is_running;
}

static void run_in_turns(
    unsigned int grid, unsigned int block, bool is_backwards, const Work &kernel) {
  threads = std::vector<Thread>(block);
  body = &kernel;
  for (blockIdx.x = 0; blockIdx.x < grid; blockIdx.x++) {
    for (Thread &thread : threads) thread.is_done = false;
    while (take_turns(block, is_backwards)) continue;
  }
}

// The arguments of a kernel are copied when it is launched; it runs when somebody waits.
template <bool has_barriers, bool flushes, class... A>
static Work launched(
    void (*kernel)(A...), unsigned int grid, unsigned int block, void **places, bool is_backwards) {
  size_t at = 0;
  std::tuple<typename std::remove_const<A>::type...> given{
      *static_cast<typename std::remove_const<A>::type *>(places[at++])...};
  return [=] {
    gridDim.x = grid;
    blockDim.x = block;
    const Work thread = [&] { std::apply(kernel, given); };
    const unsigned int before = _mm_getcsr();
    if (flushes) _mm_setcsr(before | 0x8040);  // subnormal operands and results are zero
    if (has_barriers)
      run_in_turns(grid, block, is_backwards, thread);
    else
      run_freely(grid, block, thread);
    _mm_setcsr(before);
  };
}

// What CuPy puts before each kernel.
#include <cupy/complex.cuh>
#include <cupy/carray.cuh>
#include <cupy/atomics.cuh>
#include <cupy/math_constants.h>
