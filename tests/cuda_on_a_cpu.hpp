// Enough of CUDA to run a kernel on a CPU: the threads of a block take turns at barriers.
#define __CUDACC_VER_MAJOR__ 13  // so that CuPy takes its halves from cuda_fp16.h
#define __shared__ static        // blocks run one after the other

#include <assert.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cuda_fp16.h>
#include <ucontext.h>

static unsigned int __popc(unsigned int x) { return __builtin_popcount(x); }
static unsigned int __popcll(unsigned long long x) { return __builtin_popcountll(x); }

static struct { unsigned int x; } threadIdx, blockIdx, blockDim, gridDim;
static const size_t STACK = 1 << 15;
static ucontext_t scheduler, *threads;
static bool *is_done;
static void (*body)();

static void __syncthreads() { swapcontext(&threads[threadIdx.x], &scheduler); }

static void run_thread() {
  body();
  is_done[threadIdx.x] = true;
}

static void launch(unsigned int grid, unsigned int block, bool is_backwards, void (*kernel)()) {
  char *stacks = static_cast<char *>(malloc(STACK * block));
  threads = static_cast<ucontext_t *>(malloc(sizeof(ucontext_t) * block));
  is_done = static_cast<bool *>(malloc(block));
  body = kernel;
  gridDim.x = grid;
  blockDim.x = block;
  for (blockIdx.x = 0; blockIdx.x < grid; blockIdx.x++) {
    for (unsigned int t = 0; t < block; t++) {
      is_done[t] = false;
      getcontext(&threads[t]);
      threads[t].uc_stack.ss_sp = stacks + t * STACK;
      threads[t].uc_stack.ss_size = STACK;
      threads[t].uc_link = &scheduler;
      makecontext(&threads[t], run_thread, 0);
    }
    for (bool is_running = true; is_running;) {
      is_running = false;
      for (unsigned int turn = 0; turn < block; turn++) {
        threadIdx.x = is_backwards ? block - 1 - turn : turn;
        if (!is_done[threadIdx.x]) {
          is_running = true;
          swapcontext(&scheduler, &threads[threadIdx.x]);
        }
      }
    }
  }
  free(is_done);
  free(threads);
  free(stacks);
}

#include <cupy/carray.cuh>
