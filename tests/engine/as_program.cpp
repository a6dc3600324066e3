// Runs one generated function, or the large product (-DRUN=multiply), as a program of its own: argument by argument from
// a file, and what it wrote back to it.
// The file: how many arguments; then for each 0 and the number, or the size in bytes and the bytes it points to.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

extern "C" void RUN(const int64_t* arguments);
extern "C" const void* products();

int main(int, char** names) {
  FILE* file = fopen(names[1], "rb+");
  int64_t n;
  if (!file || fread(&n, 8, 1, file) != 1) return 2;
  std::vector<int64_t> arguments(n), sizes(n);
  std::vector<long> places(n);
  for (int64_t i = 0; i < n; i++) {
    if (fread(&sizes[i], 8, 1, file) != 1) return 2;
    places[i] = ftell(file);
    if (sizes[i]) {
      void* memory = malloc(sizes[i]);
      if (fread(memory, 1, sizes[i], file) != (size_t)sizes[i]) return 2;
      arguments[i] = (int64_t)memory;
    } else if (fread(&arguments[i], 8, 1, file) != 1) return 2;
  }
#if defined(PRODUCTS)  // which argument is the address of the products
  arguments[PRODUCTS] = (int64_t)products();
#endif
  RUN(arguments.data());
  for (int64_t i = 0; i < n; i++)
    if (sizes[i]) {
      fseek(file, places[i], SEEK_SET);
      fwrite((void*)arguments[i], 1, sizes[i], file);
    }
  return fclose(file);
}
