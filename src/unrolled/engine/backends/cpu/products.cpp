// All products, compiled once: those of loops (products.h; at the end), and the large ones outside:
// C[M][N] = bias[N] + A[M][K] · W[K][N], every operand with strides of its own; C has rows that lie together, or columns that do
// and no bias.
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

// columns of a block of W: where it stays in the second-level cache, it takes half of it
long width_of(long depth) {
  if (PANEL_STAYS) return WIDTH;
#if defined(_SC_LEVEL2_CACHE_SIZE)
  static const long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
#else
  static const long bytes = 0;
#endif
  const long most = (bytes > 0 ? bytes : 1 << 20) / 2 / (depth * PW * (long)sizeof(R)) * PW;
  return most < PW ? PW : most > WIDTH ? WIDTH : most;
}

// rows of A become panels of MR, [panel][k][MR]
void pack_rows(const R* a, long row, long step, long m, long K, R* out) {
  const long whole = row == 1 ? m / MR * MR : 0;
  for (long k = 0; k < K && whole; k++)
    for (long i = 0; i < whole; i += MR) memcpy(out + i * K + k * MR, a + i + k * step, MR * sizeof(R));
  for (long i = whole; i < m; i += MR) {
    const long n = m - i < MR ? m - i : MR;
    const R* from = a + i * row;
    R* to = out + i * K;
    for (long k = 0; k < K; k++)
      for (long j = 0; j < n; j++) to[k * MR + j] = from[j * row + k * step];
  }
}
}  // namespace

struct Product {
  const R *a, *w, *bias;
  R* c;
  int64_t M, N, K, row, step, w_row, w_column, c_row, c_column, threads;
  R* sums;  // N numbers to which the rows of W, whose numbers lie together, are added, or null
  int64_t add;  // to what is in C already
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
long depth_of(const Product& p) { return p.M * p.N <= 4096 ? 32 : p.step == 1 ? DEEP : BLOCK; }

// one thread's part of C, whose rows lie together: rows [m0, m1), columns [n0, n1), where W may be packed already; sums of
// the rows of W, of the columns of A
void run_thread(const Product& p, R* memory, bool is_packed, long m0, long m1, long n0, long n1, R* of_w, R* of_a) {
  if (m0 >= m1) return;
  R *const packed = memory, *const rows = packed + DEEP * WIDTH, *const edge = rows + BLOCK * HEIGHT;
  const long depth = depth_of(p), most = width_of(depth);
  for (long n = n0; n < n1; n += most)
    for (long k = 0; k < p.K || k == 0; k += depth) {
      const long columns = n1 - n < most ? n1 - n : most, K = p.K - k < depth ? p.K - k : depth;
      if (!is_packed) pack<NV>(p.w + k * p.w_row + n * p.w_column, p.w_row, p.w_column, K, columns, packed, 0, 1);
      if (of_w && m0 == 0) add_rows(p.w + k * p.w_row + n, p.w_row, K, columns, of_w + n);
      for (long m = m0; m < m1; m += HEIGHT) {
        const long height = m1 - m < HEIGHT ? m1 - m : HEIGHT;
        const R* a = p.a + m * p.row + k * p.step;
        long row = p.row, step = p.step, panel = MR * p.row;
        // the next rows to be packed are asked for meanwhile, some by each tile: they lie apart, a line or few at each k
        const R* ahead = a + HEIGHT * row;
        const long share = row == 1 && m + HEIGHT < m1 ? ceil_div(K, ceil_div(height, MR) * ceil_div(columns, PW)) : 0;
        if (of_a && n == 0) add_rows(a, step, K, height, of_a + m);
        // not worth it for the sake of few columns, where the rows lie near each other
        if (step != 1 && (row != 1 || columns > 2 * PW || step > NEAR)) {
          pack_rows(a, row, step, height, K, rows);
          a = rows, row = 1, step = MR, panel = MR * K;
        }
        // the rows of a panel of A times a panel of W
        const auto tile_at = [&](long i, long j) __attribute__((always_inline)) {
          const long h = height - i < MR ? height - i : MR, width = columns - j < PW ? columns - j : PW;
          R* const c = p.c + (m + i) * p.c_row + n + j;
          R* const to = width == PW ? c : edge;
          const long ld = width == PW ? p.c_row : PW;
          Plus plus = k == 0 && p.bias ? Plus{p.bias + n + j, 0} : Plus{k > 0 || p.add ? c : nullptr, p.c_row};
          if (plus.from && to == edge) {
            move(edge, PW, plus.from, plus.row, h, width);
            plus = {edge, PW};
          }
          for (long r = 0; r < h; r++)  // what is written at the end; 4 % where C is large
            for (long l = 0; l < PW; l += LINE) __builtin_prefetch(to + r * ld + l, 1);
          for (long r = 0; r < share; r++, ahead += p.step)
            for (long l = 0; l < HEIGHT; l += LINE) __builtin_prefetch(ahead + l);
          tile_of<NV, MR>(h, a + i / MR * panel, row, step, packed + j * K, to, ld, K, plus);
          if (to == edge) move(c, p.c_row, edge, PW, h, width);
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

// numbers of a result up to which a thread may have one of its own, and the least part of a sum that is worth it
constexpr long SMALL_RESULT = 1 << 16, PART = 64;
// numbers of a thread's own result, and of its sums
long own_numbers(const Product& p) { return p.M * p.N + p.M + p.N; }

// a thread's part of the sum: the first one's where the result will be, another's beside it, with sums of its own
void run_part(Product p, R* memory, R* results, long tid, long nt, R* of_w, R* of_a) {
  const long from = p.K * tid / nt;
  p.a += from * p.step, p.w += from * p.w_row, p.K = p.K * (tid + 1) / nt - from;
  if (tid > 0) {
    p.c = results + tid * own_numbers(p), p.c_row = p.N, p.add = 0;
    R* const sums = p.c + p.M * p.N;
    memset(sums, 0, (p.M + p.N) * sizeof(R));
    of_w = of_w ? sums : nullptr, of_a = of_a ? sums : nullptr;
  }
  run_thread(p, memory, false, 0, p.M, 0, p.N, of_w, of_a);
}

void add(R* to, const R* from, long n) {
  for (long i = 0; i < n; i++) to[i] += from[i];
}
// of some rows of the result
void add_parts(const Product& p, const R* results, long tid, long nt, R* of_w, R* of_a) {
  for (long other = 1; other < nt; other++) {
    const R *const part = results + other * own_numbers(p), *const sums = part + p.M * p.N;
    for (long m = p.M * tid / nt; m < p.M * (tid + 1) / nt; m++) add(p.c + m * p.c_row, part + m * p.N, p.N);
    if (tid == 0 && of_w) add(of_w, sums, p.N);
    if (tid == 0 && of_a) add(of_a, sums, p.M);
  }
}

// few rows, or one where the rows of W lie together, that W is read for where it lies: packing it takes longer
bool is_done_with_few_rows(const Product& p) {
  const int64_t strides[2] = {p.w_row, p.w_column};
  const Weight w((const S*)p.w, strides, p.K, p.N, nullptr, p.M);  // narrow ones are torch's: S is R
  const bool is_few = p.w_row == 1 ? p.M <= Weight::FEW : p.w_column == 1 && p.M == 1;
  if (!is_few || p.step != 1 || p.c_column != 1 || p.sums) return false;
  if (p.bias)
    for (long r = 0; r < p.M; r++) memcpy(p.c + r * p.c_row, p.bias, p.N * sizeof(R));
  Team team(p.threads);
  team.run([&](long tid) {
    const long panels = ceil_div(p.N, PW), nt = team.n;
    product_as_it_lies<NV>(p.a, p.row, w, p.c, p.c_row, 0, p.M, panels * tid / nt * PW, panels * (tid + 1) / nt * PW,
                           p.bias || p.add);
  });
  return true;
}
}  // namespace

extern "C" __attribute__((visibility("default"))) void multiply(const Product* call) {
  Product p = *call;
  if (p.M == 0) {  // the gradient of a weight of no inputs: the sums alone
    if (p.sums) add_rows(p.w, p.w_row, p.K, p.N, p.sums);
    return;
  }
  if (is_done_with_few_rows(p)) return;
  R *of_w = p.sums, *of_a = nullptr;
  if (p.c_column != 1) {  // its columns lie together: the same, transposed
    p = {p.w, p.a, nullptr, p.c, p.N, p.M, p.K, p.w_column, p.w_row, p.step, p.row, p.c_column, p.c_row, p.threads, p.sums, p.add};
    std::swap(of_w, of_a);
  }
  // where the sum is long and the result small, each thread takes a part of the sum: none packs what another packs too
  const bool by_depth = !p.bias && p.threads > 1 && p.M * p.N <= SMALL_RESULT && p.K >= PART * p.threads;
  const long each = (MEMORY + 64) / 64 * 64, own = by_depth ? own_numbers(p) : 0;
  Scratch scratch((each + own) * sizeof(R) * p.threads + 64);
  // whole tiles for every thread, of rows where there are as many of them
  const bool by_rows = p.M >= p.N || ceil_div(p.N, PW) < p.threads;
  // W fits into one block: a thread packs it once
  const bool is_once = by_rows && p.K <= depth_of(p) && p.N <= width_of(depth_of(p));
  // larger pieces where for each of them a factor is packed again
  const long least = is_once || (!by_rows && p.step == 1) ? 2 : 128 / (by_rows ? MR : PW);
  Pieces pieces(by_rows ? ceil_div(p.M, MR) : ceil_div(p.N, PW), least, p.threads);
  Team team(p.threads);
  team.run([&](long tid) {
    const long nt = team.n;
    R* const memory = (R*)scratch.memory + each * tid;
    if (by_depth) {
      R* const results = (R*)scratch.memory + each * p.threads;
      run_part(p, memory, results, tid, nt, of_w, of_a);
      team.meet();
      add_parts(p, results, tid, nt, of_w, of_a);
      return;
    }
    bool is_packed = false;
    for (long from, to; pieces.next(from, to); is_packed = is_once)
      if (by_rows) run_thread(p, memory, is_packed, from * MR, to * MR < p.M ? to * MR : p.M, 0, p.N, of_w, of_a);
      else run_thread(p, memory, false, 0, p.M, from * PW, to * PW < p.N ? to * PW : p.N, of_w, of_a);
  });
}

namespace {
template <int NV> void pack_weight(const Weight& w, int thread, int threads) {
  pack<NV>(w.from, w.row, w.column, w.K, w.N, w.packed, thread, threads);
}
const Products OF_LOOPS = {
    {pack_weight<1>, pack_weight<2>, pack_weight<FIT<4>>}, {product<1>, product<2>, product<FIT<4>>}};
}  // namespace

extern "C" __attribute__((visibility("default"))) const void* products() { return &OF_LOOPS; }
