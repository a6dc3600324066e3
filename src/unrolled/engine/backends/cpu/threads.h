// The threads of one call.
#pragma once
#include <atomic>
#include <sched.h>
#include <stdint.h>
#if defined(_OPENMP)
#include <omp.h>
#else
#include <pthread.h>
#include <stdlib.h>
#endif
#if defined(__linux__)
#include <linux/futex.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

#if !defined(_OPENMP)
#if defined(__linux__)
// The OpenMP that torch's threads are: GNU's, or LLVM's, which has the same functions. Clang's own is another one, and often
// missing. Null where the process has none.
extern "C" {
__attribute__((weak)) void GOMP_parallel(void (*work)(void*), void* data, unsigned threads, unsigned flags);
__attribute__((weak)) int omp_get_thread_num();
__attribute__((weak)) int omp_get_num_threads();
}
#endif
// threads of one call
template <class F> struct Others {
  F& work;
  std::atomic<int> all{0};
  struct One {
    Others* others;
    int number;
    pthread_t thread;
  };

  static void* begin(void* data) {
    const One& one = *(One*)data;
    while (!one.others->all) sched_yield();
    one.others->work(one.number, (int)one.others->all);
    return nullptr;
  }
  void run(int n) {
    One* const made = (One*)malloc(n * sizeof(One));
    int some = 1;
    for (; made && some < n; some++) {
      made[some].others = this, made[some].number = some;
      if (pthread_create(&made[some].thread, nullptr, begin, made + some)) break;
    }
    all = some;
    work(0, some);
    for (int i = 1; i < some; i++) pthread_join(made[i].thread, nullptr);
    free(made);
  }
};
#endif

// runs `work(thread, threads)` on n threads, or on fewer where there are no more to be had: on OpenMP's, which torch's are;
// else on threads of this call
template <class F> void parallel(int n, F work) {
#if defined(_OPENMP)
#pragma omp parallel num_threads(n)
  work(omp_get_thread_num(), omp_get_num_threads());
#else
#if defined(__linux__)
  if (GOMP_parallel && omp_get_thread_num && omp_get_num_threads)
    return GOMP_parallel([](void* data) { (*(F*)data)(omp_get_thread_num(), omp_get_num_threads()); }, &work, n, 0);
#endif
  Others<F>{work}.run(n);
#endif
}

// A number that threads wait for. They spin, and about each millisecond look whether another program wanted their
// processor: then they sleep, as what they wait for may be a thread that was pushed off its own for longer. (Who gives
// its processor away again and again instead, by sched_yield, is served last afterwards: with two busy programs beside
// it a loop then took three times as long. Nobody sleeps on an idle machine, where waking is the slower.)
struct Turn {
  static constexpr long SPINS = 65536;
  std::atomic<int> now{0};
  std::atomic<int> sleepers{0};

  int read() const { return now.load(std::memory_order_relaxed); }
  void next(int before) {
    now.store(before + 1);
#if defined(__linux__)
    if (sleepers.load()) syscall(SYS_futex, &now, FUTEX_WAKE_PRIVATE, INT32_MAX, nullptr, nullptr, 0);
#endif
  }
  void wait(int before) {
    for (long spins = 1; now.load(std::memory_order_acquire) == before; spins++) {
      if (spins % SPINS == 0) give_way(before);
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
  }
  void give_way(int before) {
#if defined(__linux__)
    static thread_local long pushed_off = 0;  // so often until now
    rusage used;
    if (getrusage(RUSAGE_THREAD, &used) || used.ru_nivcsw == pushed_off) return;
    pushed_off = used.ru_nivcsw;
    sleepers++;
    syscall(SYS_futex, &now, FUTEX_WAIT_PRIVATE, before, nullptr, nullptr, 0);  // at once, if it is no longer `before`
    sleepers--;
#else
    sched_yield();
#endif
  }
};

// The threads of one call: where they run, and where they meet.
struct Team {
  static constexpr int PROCESSORS = 1024;
  std::atomic<int> n;  // asked for; within `run`, those that there are, which may be fewer
  alignas(64) std::atomic<int> count{0};
  alignas(64) Turn turn;
  alignas(64) std::atomic<int> arrived{0};
  alignas(64) std::atomic<uint64_t> taken[PROCESSORS / 64] = {};  // processors that run one of us

  explicit Team(long threads) : n((int)threads) {}

  // A scheduler may wake two of us on one processor and leave the other idle, for milliseconds: who finds its processor
  // taken moves to a free one. What it may run on afterwards stays as it was.
  void spread() {
#if defined(__linux__)
    const int here = sched_getcpu();
    if (here < 0 || here >= PROCESSORS || claim(here)) return;
    cpu_set_t allowed, one;
    if (sched_getaffinity(0, sizeof(allowed), &allowed)) return;
    for (int other = 0; other < PROCESSORS && other < CPU_SETSIZE; other++)
      if (CPU_ISSET(other, &allowed) && claim(other)) {
        CPU_ZERO(&one);
        CPU_SET(other, &one);
        if (!sched_setaffinity(0, sizeof(one), &one)) sched_setaffinity(0, sizeof(allowed), &allowed);
        return;
      }
#endif
  }
  bool claim(int processor) {
    const uint64_t bit = uint64_t(1) << processor % 64;
    return !(taken[processor / 64].fetch_or(bit) & bit);
  }

  // Others that slept have been woken, perhaps on this very processor, where they would wait until the scheduler's next
  // look, for milliseconds: if they are not here soon, it is theirs for a moment, in which they move to another.
  void await_others() {
    const int all = n.load(std::memory_order_relaxed);
    for (int spins = 0; arrived.load(std::memory_order_relaxed) < all; spins++) {
      if (spins == 64) {
        sched_yield();  // once: who yields again and again is served last
        return;
      }
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
  }

  // Each parallel region ends with this, not with OpenMP's own barrier, which spins for as long as the scheduler lets it.
  void meet() {
    const int all = n.load(std::memory_order_relaxed);
    if (all == 1) return;
    const int now = turn.read();
    if (count.fetch_add(1, std::memory_order_acq_rel) == all - 1) {
      count.store(0, std::memory_order_relaxed);
      turn.next(now);
    } else {
      turn.wait(now);
    }
  }

  // runs `work(thread)` on all
  template <class F> void run(F work) {
    if (n == 1) return work(0);
    parallel(n, [&](int thread, int all) {
      n.store(all, std::memory_order_relaxed);  // each stores the same
      if (all > 1) spread();
      arrived.fetch_add(1, std::memory_order_relaxed);
      if (thread == 0) await_others();
      work(thread);
      meet();
    });
  }
};

}  // namespace
