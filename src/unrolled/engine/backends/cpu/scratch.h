// Memory for the time of a call.
#pragma once
#include <atomic>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

namespace {

struct OutOfMemory {
  size_t bytes;
};

char* allocate(size_t bytes) {
  char* memory = (char*)aligned_alloc(64, bytes);
  if (!memory) throw OutOfMemory{bytes};
  return memory;
}

// what a compiled function returns: 0, or how many bytes there was no memory for, as no exception may leave it
template <class F> int64_t missing_bytes(F call) {
  try {
    call();
    return 0;
  } catch (const OutOfMemory& fault) { return (int64_t)fault.bytes; }
}

// memory that is kept between calls: a page touched for the first time costs more than the page's use
struct Arena {
  char* memory = nullptr;
  size_t size = 0;
  std::atomic_flag busy = ATOMIC_FLAG_INIT;

  // in a forked child: the thread that used it may be missing there, and may have been anywhere in `Scratch`
  void start_anew() {
    if (busy.test_and_set()) memory = nullptr, size = 0;
    busy.clear();
  }
};
Arena kept;
const int at_fork = pthread_atfork(nullptr, nullptr, [] { kept.start_anew(); });

struct Scratch {
  char* memory;
  bool own;
  explicit Scratch(size_t bytes) {
    own = kept.busy.test_and_set();
    if (own) {
      memory = allocate((bytes + 63) / 64 * 64);
      return;
    }
    if (kept.size < bytes) {
      free(kept.memory);
      kept.memory = nullptr, kept.size = 0;
      const size_t size = (bytes + (1 << 16)) / 64 * 64;
      try {
        kept.memory = allocate(size);
      } catch (const OutOfMemory&) {
        kept.busy.clear();
        throw;
      }
      kept.size = size;
    }
    memory = kept.memory;
  }
  ~Scratch() {
    if (own) free(memory);
    else kept.busy.clear();
  }
};

}  // namespace
