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
// K rows of n numbers, `step` apart, are added to the sums, in short chains for the sake of rounding
void add_rows(const R* rows, long step, long K, long n, R* sums) {
  for (long j = 0; j < n; j += VL) {
    const long m = n - j < VL ? n - j : VL;
    const auto read = [m](const R* p) { return m == VL ? ld(p) : ld(p, m); };
    V total{};
    for (long k = 0; k < K; k += 16) {
      V part[4] = {};
      for (long l = k; l < K && l < k + 16; l++) part[l % 4] += read(rows + l * step + j);
      total += (part[0] + part[1]) + (part[2] + part[3]);
    }
    st(sums + j, read(sums + j) + total, m);
  }
}

void move(R* to, long to_row, const R* from, long row, long height, long width) {
  for (long r = 0; r < height; r++) memcpy(to + r * to_row, from + r * row, width * sizeof(R));
}

constexpr long MEMORY = DEEP * WIDTH + BLOCK * HEIGHT + 16 * PW;

// one thread's part of C, whose rows lie together: rows [m0, m1), columns [n0, n1); sums of the rows of W, of the columns of A
void run_thread(const Product& p, R* memory, long m0, long m1, long n0, long n1, R* of_w, R* of_a) {
  if (m0 >= m1) return;
  R *const packed = memory, *const rows = packed + DEEP * WIDTH, *const edge = rows + BLOCK * HEIGHT;
  // a small result is soon added to: shorter pieces for less rounding
  const long depth = p.M * p.N <= 4096 ? 32 : p.step == 1 ? DEEP : BLOCK, most = width_of(depth);
  for (long n = n0; n < n1; n += most)
    for (long k = 0; k < p.K || k == 0; k += depth) {
      const long columns = n1 - n < most ? n1 - n : most, K = p.K - k < depth ? p.K - k : depth;
      pack<NV>(p.w + k * p.w_row + n * p.w_column, p.w_row, p.w_column, K, columns, packed, 0, 1);
      if (of_w && m0 == 0) add_rows(p.w + k * p.w_row + n, p.w_row, K, columns, of_w + n);
      const bool add = k > 0 || p.bias || p.add;
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
          if (k == 0 && p.bias) {
            for (long r = 0; r < h; r++) memcpy(to + r * ld, p.bias + n + j, width * sizeof(R));
          } else if (add && to == edge) move(edge, PW, c, p.c_row, h, width);
          for (long r = 0; r < h; r++)  // what is written at the end; 4 % where C is large
            for (long l = 0; l < PW; l += LINE) __builtin_prefetch(to + r * ld + l, 1);
          for (long r = 0; r < share; r++, ahead += p.step)
            for (long l = 0; l < HEIGHT; l += LINE) __builtin_prefetch(ahead + l);
          tile_of<NV, MR>(h, a + i / MR * panel, row, step, packed + j * K, to, ld, K, add);
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
}  // namespace

extern "C" __attribute__((visibility("default"))) void multiply(const Product* call) {
  Product p = *call;
  R *of_w = p.sums, *of_a = nullptr;
  if (p.c_column != 1) {  // its columns lie together: the same, transposed
    p = {p.w, p.a, nullptr, p.c, p.N, p.M, p.K, p.w_column, p.w_row, p.step, p.row, p.c_column, p.c_row, p.threads, p.sums, p.add};
    std::swap(of_w, of_a);
  }
  Scratch scratch((MEMORY + 64) * sizeof(R) * p.threads);
  Team team(p.threads);
  team.run([&](long tid) {
    const long nt = team.n;
    R* memory = (R*)scratch.memory + (MEMORY + 64) / 64 * 64 * tid;
    // whole tiles for every thread, of rows where there are as many of them
    const long panels = ceil_div(p.M, MR), blocks = ceil_div(p.N, PW);
    if (p.M >= p.N || blocks < nt) {
      long end = panels * (tid + 1) / nt * MR;
      run_thread(p, memory, panels * tid / nt * MR, end < p.M ? end : p.M, 0, p.N, of_w, of_a);
    } else {
      long end = blocks * (tid + 1) / nt * PW;
      run_thread(p, memory, 0, p.M, blocks * tid / nt * PW, end < p.N ? end : p.N, of_w, of_a);
    }
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
