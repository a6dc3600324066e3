// How many multiplications and additions this processor can do at most: a tile of products that reads nothing.
#include "threads.h"
#include "vectors.h"

extern "C" __attribute__((visibility("default"))) void run(const int64_t* arguments) {
  const long repeats = arguments[0], threads = arguments[1];
  R* result = (R*)arguments[2];
  parallel(threads, [&](int thread, int) {
    constexpr int N = REGISTERS == 32 ? 24 : 12;
    V acc[N], x = bc(R(0.999)), y = bc(R(1e-3));
    for (int i = 0; i < N; i++) acc[i] = bc(R(i));
    for (long k = 0; k < repeats; k++)
#pragma GCC unroll 24
      for (int i = 0; i < N; i++) acc[i] = acc[i] * x + y;
    V total = acc[0];
    for (int i = 1; i < N; i++) total += acc[i];
    result[thread] = total[0];  // so that nothing is left out
  });
  result[threads] = 2 * VL * (REGISTERS == 32 ? 24 : 12);
}
