// OpenMP's parallel region by threads that are made and joined: what the thread sanitizer understands.
#include <thread>
#include <vector>

namespace {
thread_local int number = 0;
int all = 1;
}  // namespace

extern "C" {
int omp_get_thread_num() { return number; }
int omp_get_num_threads() { return all; }
void GOMP_parallel(void (*work)(void*), void* data, unsigned n, unsigned) {
  all = n;
  std::vector<std::thread> others;
  for (unsigned i = 1; i < n; i++) others.emplace_back([=] { number = i, work(data); });
  work(data);
  for (auto& other : others) other.join();
  all = 1;
}
}
