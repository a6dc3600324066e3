// Memory for the time of a call.
#pragma once
#include <atomic>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

namespace {

char* allocate(size_t bytes) { return (char*)aligned_alloc(64, bytes); }

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
void start_kept_anew() { kept.start_anew(); }
#if defined(__GLIBC__)
// what pthread_atfork calls; that one itself lies in a static part of the C library, which not every compiler links
extern "C" int __register_atfork(void (*)(), void (*)(), void (*)(), void*);
const int at_fork = __register_atfork(nullptr, nullptr, start_kept_anew, nullptr);
#else
const int at_fork = pthread_atfork(nullptr, nullptr, start_kept_anew);
#endif

// memory of a call; `memory` is null where there is none, and `bytes` what was asked for: a compiled function returns
// that, or 0 (exceptions would need C++'s library)
struct Scratch {
  char* memory;
  size_t bytes;
  bool own;
  explicit Scratch(size_t least) {
    own = kept.busy.test_and_set();
    if (own) {
      bytes = (least + 63) / 64 * 64;
      memory = allocate(bytes);
      return;
    }
    bytes = (least + (1 << 16)) / 64 * 64;
    if (kept.size < least) {
      free(kept.memory);
      kept.memory = allocate(bytes);
      kept.size = kept.memory ? bytes : 0;
    }
    memory = kept.memory;
  }
  ~Scratch() {
    if (own) free(memory);
    else kept.busy.clear();
  }
};

}  // namespace
