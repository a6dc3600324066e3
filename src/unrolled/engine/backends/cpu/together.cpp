// Several loops at once, each on a thread of its own: how many, and for each its function and the function's arguments.
#include "threads.h"

// returns 0, or what a loop that failed returned
extern "C" __attribute__((visibility("default"))) int64_t run(const int64_t* calls) {
  typedef int64_t (*Loop)(const int64_t*);
  const long n = calls[0];
  std::atomic<int64_t> failed{0};
  Team team(n);
  team.run([&](int tid) {
    for (long i = tid; i < n; i += team.n)
      if (const int64_t found = ((Loop)calls[1 + 2 * i])((const int64_t*)calls[2 + 2 * i])) failed = found;
  });
  return failed;
}
