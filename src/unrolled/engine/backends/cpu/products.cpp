// All products, compiled once: those of loops (products.h; at the end), and the large ones outside:
// C[M][N] = bias[N] + A[M][K] · W[K][N], every operand with strides of its own; C has rows that lie together, or columns that do
// and no bias. Two products may share their W, as the gradients of a cell's two weights do.
// Goto and van de Geijn's orders (Anatomy of high-performance matrix multiplication, 2008). Long vectors: a block of W, packed,
// stays in the second-level cache while the rows of A pass by. Shorter ones, whose panels of W are narrow: a panel stays in the
// first-level cache while some rows of A, in the second, pass by. Long sums run in pieces of BLOCK or DEEP that are added up:
// one chain of additions rounds worse.
#include "scratch.h"
#include "threads.h"
#include "tiles.h"
#include <unistd.h>

namespace {
constexpr int NV = FIT<4>, MR = ROWS<NV>;
// 8 to 15 % of the time of a large product on AVX2
constexpr bool PANEL_STAYS = BYTES < 64;
constexpr long PW = NV * VL, WIDTH = (PANEL_STAYS ? 64 : 8) * PW, HEIGHT = (PANEL_STAYS ? 8 : 16) * MR, BLOCK = 256, NEAR = 1024;
constexpr long LINE = 64 / sizeof(R);
constexpr long DEEP = 2 * BLOCK;  // of rows that need no packing: what C has is read and written less often

#if defined(_SC_LEVEL2_CACHE_SIZE)
const long level_2_bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
#else
const long level_2_bytes = 0;
#endif
// columns of a block of W: where it stays in the second-level cache, it takes half of it
long width_of(long depth) {
  if (PANEL_STAYS) return WIDTH;
  const long most = (level_2_bytes > 0 ? level_2_bytes : 1 << 20) / 2 / (depth * PW * (long)sizeof(R)) * PW;
  return most < PW ? PW : most > WIDTH ? WIDTH : most;
}

// rows of A become panels of MR, [panel][k][MR]
void pack_rows(const R* a, long row, long step, long m, long K, R* out) {
  const long whole = row == 1 ? m / MR * MR : 0;
  for (long k = 0; k < K && whole; k++) {
    for (long i = 0; i < whole; i += LINE) __builtin_prefetch(a + i + (k + SOON) * step);
    for (long i = 0; i < whole; i += MR) memcpy(out + i * K + k * MR, a + i + k * step, MR * sizeof(R));
  }
  for (long i = whole; i < m; i += MR) {
    const long n = m - i < MR ? m - i : MR;
    const R* from = a + i * row;
    R* to = out + i * K;
    for (long k = 0; k < K; k++)
      for (long j = 0; j < n; j++) to[k * MR + j] = from[j * row + k * step];
  }
}
}  // namespace

// A, or W transposed: `size` rows, `row` apart, of numbers `step` apart; its numbers from `split` on along the sum lie at `rest`
struct Factor {
  const R *from, *rest;
  int64_t split, size, row, step;

  const R* at(long i, long k) const { return (k < split ? from + k * step : rest + (k - split) * step) + i * row; }
};
struct Left {
  Factor a;
  R* c;
  int64_t c_row, c_column;
};
struct Product {
  Factor w;
  const R* bias;
  R* sums;  // as many numbers as C has columns, to which the rows of W, whose numbers lie together, are added, or null
  int64_t K, threads, n_lefts;
  Left lefts[2];

  long M() const { return lefts[0].a.size + (n_lefts == 2 ? lefts[1].a.size : 0); }
};

namespace {
// K rows of G vectors, `step` apart, are added to the sums, in short chains for the sake of rounding
template <int G> void add_vectors(const R* rows, long step, long K, R* sums) {
  V total[G] = {};
  for (long k = 0; k < K; k += 16) {
    V part[2][G] = {};
    const long some = K - k < 16 ? K - k : 16;
    for (long l = 0; l < some; l++) {
      V* const to = part[l % 2];
#pragma GCC unroll 4
      for (int g = 0; g < G; g++) to[g] += ld(rows + (k + l) * step + g * VL);
    }
#pragma GCC unroll 4
    for (int g = 0; g < G; g++) total[g] += part[0][g] + part[1][g];
  }
  for (int g = 0; g < G; g++) st(sums + g * VL, ld(sums + g * VL) + total[g]);
}

// K rows of n numbers
void add_rows(const R* rows, long step, long K, long n, R* sums) {
  long j = 0;
  for (; j + 4 * VL <= n; j += 4 * VL) add_vectors<4>(rows + j, step, K, sums + j);
  for (; j + 2 * VL <= n; j += 2 * VL) add_vectors<2>(rows + j, step, K, sums + j);
  for (; j + VL <= n; j += VL) add_vectors<1>(rows + j, step, K, sums + j);
  for (; j < n; j++)
    for (long k = 0; k < K; k += 16) {
      R part[4] = {};
      for (long l = k; l < K && l < k + 16; l++) part[l % 4] += rows[l * step + j];
      sums[j] += (part[0] + part[1]) + (part[2] + part[3]);
    }
}

void move(R* to, long to_row, const R* from, long row, long height, long width) {
  for (long r = 0; r < height; r++) memcpy(to + r * to_row, from + r * row, width * sizeof(R));
}

constexpr long MEMORY = DEEP * WIDTH + BLOCK * HEIGHT + 16 * PW;

// of the sum, in one go; a small result is soon added to: shorter pieces for less rounding
long depth_of(const Product& p) {
  const bool is_as_it_lies = p.lefts[0].a.step == 1 && p.lefts[p.n_lefts - 1].a.step == 1;
  return p.M() * p.w.size <= 4096 ? 32 : is_as_it_lies ? DEEP : BLOCK;
}

// a block of W, K rows from k on, columns from n on, packed; what it gives is added to what is in C, or to the bias
struct Block {
  const R* packed;
  long n, columns, k, K;
  const R* bias;
  bool is_added;
};

// rows [m0, m1) of C, whose rows lie together
void times_block(const Left& left, const Block& block, long m0, long m1, R* rows, R* edge) {
  const long columns = block.columns, K = block.K;
  for (long m = m0; m < m1; m += HEIGHT) {
    const long height = m1 - m < HEIGHT ? m1 - m : HEIGHT;
    const R* a = left.a.at(m, block.k);
    long row = left.a.row, step = left.a.step, panel = MR * row;
    // not worth it for the sake of few columns, where the rows lie near each other
    if (step != 1 && (row != 1 || columns > 2 * PW || step > NEAR)) {
      pack_rows(a, row, step, height, K, rows);
      a = rows, row = 1, step = MR, panel = MR * K;
    }
    // the rows of a panel of A times a panel of W
    const auto tile_at = [&](long i, long j) __attribute__((always_inline)) {
      const long h = height - i < MR ? height - i : MR, width = columns - j < PW ? columns - j : PW;
      R* const c = left.c + (m + i) * left.c_row + block.n + j;
      R* const to = width == PW ? c : edge;
      const long ld = width == PW ? left.c_row : PW;
      Plus plus = block.bias ? Plus{block.bias + block.n + j, 0} : Plus{block.is_added ? c : nullptr, left.c_row};
      if (plus.from && to == edge) {
        move(edge, PW, plus.from, plus.row, h, width);
        plus = {edge, PW};
      }
      for (long r = 0; r < h; r++)  // what is written at the end; 4 % where C is large
        for (long l = 0; l < PW; l += LINE) __builtin_prefetch(to + r * ld + l, 1);
      tile_of<NV, MR>(h, a + i / MR * panel, row, step, block.packed + j * K, to, ld, K, plus);
      if (to == edge) move(c, left.c_row, edge, PW, h, width);
    };
    if (PANEL_STAYS) {
      for (long j = 0; j < columns; j += PW)
        for (long i = 0; i < height; i += MR) tile_at(i, j);
    } else {
      for (long i = 0; i < height; i += MR)
        for (long j = 0; j < columns; j += PW) tile_at(i, j);
    }
  }
}

// of C and of the sum
struct Part {
  long m0, m1, n0, n1, k0, k1;
};

// one thread's part, where W may be packed already; sums of the rows of W, of the columns of A
void run_thread(const Product& p, const Part& part, R* memory, bool is_packed, R* of_w, R* of_a) {
  R *const packed = memory, *const rows = packed + DEEP * WIDTH, *const edge = rows + BLOCK * HEIGHT;
  const long depth = depth_of(p), most = width_of(depth);
  const auto least = [](long a, long b) { return a < b ? a : b; };
  for (long n = part.n0; n < part.n1; n += most) {
    const long columns = least(part.n1 - n, most);
    long k = part.k0;
    do {
      long until = least(part.k1, k + depth);
      for (long split : {p.w.split, p.lefts[0].a.split, p.lefts[p.n_lefts - 1].a.split})
        if (k < split) until = least(until, split);
      const long K = until - k;
      const bool is_first = k == part.k0;
      const R* const w = p.w.at(n, k);
      if (!is_packed) pack<NV>(w, p.w.step, p.w.row, K, columns, packed, 0, 1);
      if (of_w && part.m0 == 0) add_rows(w, p.w.step, K, columns, of_w + n);
      const Block block{packed, n, columns, k, K, is_first ? p.bias : nullptr, !is_first};
      for (long i = 0; i < p.n_lefts; i++) {
        const Left& left = p.lefts[i];
        const long m1 = least(part.m1, left.a.size);
        if (of_a && n == 0) add_rows(left.a.at(part.m0, k), left.a.step, K, m1 - part.m0, of_a + part.m0);
        times_block(left, block, part.m0, m1, rows, edge);
      }
      k = until;
    } while (k < part.k1);
  }
}

// Panels or blocks, as threads take them: the fewer at once, the fewer are left, so that who is slowed down by other
// programs does less. So few that it is not worth it are shared equally.
struct Pieces {
  const long all, least, threads, equal;
  std::atomic<long> taken{0};

  Pieces(long all, long least, long threads)
      : all(all), least(least), threads(threads), equal(all < 4 * least * threads ? ceil_div(all, threads) : 0) {}
  bool next(long& from, long& to) {
    from = taken.load();
    do {
      if (from >= all) return false;
      const long left = all - from, some = equal ? equal : left * 3 / (4 * threads);
      to = from + (some < least ? least : some);
      if (to > all) to = all;
    } while (!taken.compare_exchange_weak(from, to));
    return true;
  }
};

// numbers of a result up to which a thread may have one of its own, whatever the threads, and of all their results; and the
// least part of a sum that is worth it
constexpr long SMALL_RESULT = 1 << 16, SMALL_RESULTS = 1 << 22, PART = 64;
// numbers of a thread's own results, and of its sums
long own_numbers(const Product& p) { return (p.M() + 1) * p.w.size; }
// where a thread's own results lie: the first thread's where they will be, if their rows are to lie together
R* own_sums(const Product& p, R* results, long tid) { return tid ? results + tid * own_numbers(p) + p.M() * p.w.size : p.sums; }
Left own_left(const Product& p, int i, R* results, long tid) {
  const Left& left = p.lefts[i];
  if (tid == 0 && left.c_column == 1) return left;
  return {left.a, results + tid * own_numbers(p) + (i ? p.lefts[0].a.size * p.w.size : 0), p.w.size, 1};
}

// a thread's part of the sum
void run_own(const Product& p, R* memory, R* results, long tid, long nt) {
  Product own = p;
  for (int i = 0; i < p.n_lefts; i++) own.lefts[i] = own_left(p, i, results, tid);
  R* const sums = p.sums ? own_sums(p, results, tid) : nullptr;
  if (sums && tid) memset(sums, 0, p.w.size * sizeof(R));
  run_thread(own, {0, INT64_MAX, 0, p.w.size, p.K * tid / nt, p.K * (tid + 1) / nt}, memory, false, sums, nullptr);
}

void add(R* to, const R* from, long n) {
  for (long i = 0; i < n; i++) to[i] += from[i];
}
// of some rows all threads' results are added up in the first's, and go to C
void add_owns(const Product& p, R* results, long tid, long nt) {
  const long N = p.w.size;
  for (int i = 0; i < p.n_lefts; i++) {
    const Left &to = p.lefts[i], first = own_left(p, i, results, 0);
    const long M = to.a.size, strips = ceil_div(M, VL), end = strips * (tid + 1) / nt * VL;
    for (long m = strips * tid / nt * VL; m < end && m < M; m += VL) {
      const long some = M - m < VL ? M - m : VL;
      R *const sum = first.c + m * first.c_row, *const c = to.c + m * to.c_row;
      for (long other = 1; other < nt; other++)
        for (long r = 0; r < some; r++) add(sum + r * first.c_row, own_left(p, i, results, other).c + (m + r) * N, N);
      if (to.c_column == 1) continue;
      const long whole = some == VL && to.c_row == 1 ? N / VL * VL : 0;
      for (long n = 0; n < whole; n += VL) transpose(sum + n, N, c + n * to.c_column, to.c_column);
      for (long n = whole; n < N; n++)
        for (long r = 0; r < some; r++) c[n * to.c_column + r * to.c_row] = sum[r * N + n];
    }
  }
  for (long other = 1; tid == 0 && p.sums && other < nt; other++) add(p.sums, own_sums(p, results, other), N);
}

// few rows, or one where the rows of W lie together, that W is read for where it lies: packing it takes longer
bool is_done_with_few_rows(const Product& p) {
  const auto& [a, c, c_row, c_column] = p.lefts[0];
  const int64_t strides[2] = {p.w.step, p.w.row};
  const long M = a.size, N = p.w.size;
  const Weight w((const S*)p.w.from, strides, p.K, N, nullptr, M);  // narrow ones are torch's: S is R
  const bool is_few = p.w.step == 1 ? M <= Weight::FEW : p.w.row == 1 && M == 1;
  if (!is_few || a.step != 1 || c_column != 1 || p.sums || p.n_lefts > 1 || a.split < p.K) return false;
  if (p.bias)
    for (long r = 0; r < M; r++) memcpy(c + r * c_row, p.bias, N * sizeof(R));
  Team team(p.threads);
  team.run([&](long tid) {
    const long panels = ceil_div(N, PW), nt = team.n;
    product_as_it_lies<NV>(a.from, a.row, w, c, c_row, 0, M, panels * tid / nt * PW, panels * (tid + 1) / nt * PW, p.bias);
  });
  return true;
}

// returns 0, or how many bytes there was no memory for
int64_t run_product(Product p) {
  if (p.M() == 0) {  // the gradient of a weight of no inputs: the sums alone
    if (p.sums) add_rows(p.w.from, p.w.step, p.K, p.w.size, p.sums);
    return 0;
  }
  if (is_done_with_few_rows(p)) return 0;
  // Where the sum is long and the result small, each thread takes a part of the sum: none packs what another packs too.
  // To be worth it where the result is turned at the end, the sum must be longer.
  const long results = p.M() * p.w.size, least = (p.lefts[0].c_column == 1 ? 1 : 4) * PART * p.threads;
  const bool is_small = results <= SMALL_RESULT || (results * p.threads <= SMALL_RESULTS && p.lefts[0].a.step != 1);
  const bool by_depth = !p.bias && p.K >= least && is_small;
  const long each = (MEMORY + 64) / 64 * 64;
  if (by_depth) {
    Scratch scratch((each + own_numbers(p)) * sizeof(R) * p.threads + 64);
    if (!scratch.memory) return scratch.bytes;
    Team team(p.threads);
    team.run([&](long tid) {
      R *const memory = (R*)scratch.memory, *const results = memory + each * p.threads;
      run_own(p, memory + each * tid, results, tid, team.n);
      team.meet();
      add_owns(p, results, tid, team.n);
    });
    return 0;
  }
  if (p.n_lefts == 2) {
    p.n_lefts = 1;
    if (const int64_t missing = run_product(p)) return missing;
    p.lefts[0] = p.lefts[1], p.sums = nullptr;
    return run_product(p);
  }
  R *of_w = p.sums, *of_a = nullptr;
  Left& left = p.lefts[0];
  if (left.c_column != 1) {  // its columns lie together: the same, transposed
    std::swap(p.w, left.a);
    std::swap(left.c_row, left.c_column);
    std::swap(of_w, of_a);
  }
  const long M = left.a.size, N = p.w.size;
  Scratch scratch(each * sizeof(R) * p.threads + 64);
  if (!scratch.memory) return scratch.bytes;
  // whole tiles for every thread, of rows where there are as many of them
  const bool by_rows = M >= N || ceil_div(N, PW) < p.threads;
  // W fits into one block: a thread packs it once
  const bool is_once = by_rows && p.K <= depth_of(p) && N <= width_of(depth_of(p)) && p.w.split >= p.K && left.a.split >= p.K;
  // larger pieces where for each of them a factor is packed again
  const long at_once = is_once || (!by_rows && left.a.step == 1) ? 2 : 128 / (by_rows ? MR : PW);
  Pieces pieces(by_rows ? ceil_div(M, MR) : ceil_div(N, PW), at_once, p.threads);
  Team team(p.threads);
  team.run([&](long tid) {
    R* const memory = (R*)scratch.memory + each * tid;
    bool is_packed = false;
    for (long from, to; pieces.next(from, to); is_packed = is_once) {
      const Part part = by_rows ? Part{from * MR, to * MR, 0, N, 0, p.K}
                                : Part{0, M, from * PW, to * PW < N ? to * PW : N, 0, p.K};
      run_thread(p, part, memory, is_packed, of_w, of_a);
    }
  });
  return 0;
}

template <int NV> void pack_weight(const Weight& w, int thread, int threads) {
  pack<NV>(w.from, w.row, w.column, w.K, w.N, w.packed, thread, threads);
}
const Products OF_LOOPS = {
    {pack_weight<1>, pack_weight<2>, pack_weight<FIT<4>>}, {product<1>, product<2>, product<FIT<4>>}};
}  // namespace

extern "C" __attribute__((visibility("default"))) int64_t multiply(const Product* call) {
  return run_product(*call);
}
extern "C" __attribute__((visibility("default"))) const void* products() { return &OF_LOOPS; }
