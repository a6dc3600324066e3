// Memory for the time of a call.
#pragma once
#include <atomic>
#include <stdlib.h>

namespace {

// memory that is kept between calls: a page touched for the first time costs more than the page's use
struct Arena {
  char* memory = nullptr;
  size_t size = 0;
  std::atomic_flag busy = ATOMIC_FLAG_INIT;
};
Arena kept;

struct Scratch {
  char* memory;
  bool own;
  explicit Scratch(size_t bytes) {
    own = kept.busy.test_and_set();
    if (own) {
      memory = (char*)aligned_alloc(64, (bytes + 63) / 64 * 64);
      return;
    }
    if (kept.size < bytes) {
      free(kept.memory);
      kept.size = (bytes + (1 << 16)) / 64 * 64;
      kept.memory = (char*)aligned_alloc(64, kept.size);
    }
    memory = kept.memory;
  }
  ~Scratch() {
    if (own) free(memory);
    else kept.busy.clear();
  }
};

}  // namespace
