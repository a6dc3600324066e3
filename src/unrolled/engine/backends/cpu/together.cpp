// Several loops at once, each on a thread of its own: how many, and for each its function and the function's arguments.
#include "threads.h"

extern "C" __attribute__((visibility("default"))) void run(const int64_t* calls) {
  typedef void (*Loop)(const int64_t*);
  const long n = calls[0];
  Team team(n);
  team.run([&](int tid) {
    for (long i = tid; i < n; i += team.n) ((Loop)calls[1 + 2 * i])((const int64_t*)calls[2 + 2 * i]);
  });
}
