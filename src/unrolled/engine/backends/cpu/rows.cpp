// A padded variable-length batch becomes packed rows, and back.
#include "threads.h"
#include <string.h>

#define EXPORTED extern "C" __attribute__((visibility("default")))

// The rows of a tensor from those of another: how many, bytes of a row, threads, the address of their places there (-1: a
// row of zeros), of the other tensor and of this one.
EXPORTED void take(const int64_t* arguments) {
  const long n = arguments[0], bytes = arguments[1];
  const int64_t* places = (const int64_t*)arguments[3];
  const char* from = (const char*)arguments[4];
  char* to = (char*)arguments[5];
  Team team(arguments[2]);
  team.run([&](int tid) {
    for (long i = n * tid / team.n, end = n * (tid + 1) / team.n; i < end; i++)
      if (places[i] < 0) memset(to + i * bytes, 0, bytes);
      else memcpy(to + i * bytes, from + places[i] * bytes, bytes);
  });
}

// From time, batch and the address of bool [time, batch], true in each row up to its length, what `Packed` (run/packed_rows.py)
// holds: its addresses follow, in its order.
EXPORTED void arrange(const int64_t* arguments) {
  const long T = arguments[0], B = arguments[1];
  const bool* active = (const bool*)arguments[2];
  int64_t *counts = (int64_t*)arguments[3], *offsets = (int64_t*)arguments[4], *order = (int64_t*)arguments[5];
  int64_t *ranks = (int64_t*)arguments[6], *places = (int64_t*)arguments[7], *packed = (int64_t*)arguments[8];
  long total = 0;
  for (long t = 0; t < T; t++) {
    counts[t] = 0;
    for (long b = 0; b < B; b++) counts[t] += active[t * B + b];
    offsets[t] = total;
    total += counts[t];
  }
  // those that are longer than t come before those that end at t
  for (long t = T; t >= 0; t--) {
    long rank = t < T ? counts[t] : 0;
    if (rank == (t ? counts[t - 1] : B)) continue;  // none ends here
    for (long b = 0; b < B; b++)
      if ((t == T || !active[t * B + b]) && (t == 0 || active[(t - 1) * B + b])) {
        ranks[b] = rank;
        order[rank++] = b;
      }
  }
  for (long t = 0; t < T; t++)
    for (long b = 0; b < B; b++) {
      const long i = t * B + b, place = offsets[t] + ranks[b];
      packed[i] = active[i] ? place : -1;
      if (active[i]) places[place] = i;
    }
}
