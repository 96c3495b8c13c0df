// A histogram.
#include <math.h>
#include <stddef.h>
#include <stdint.h>

// Latencies in ns, kept with a precision of 1/64.
enum { SUB = 64, BUCKETS = 64 * SUB };
static uint64_t histogram[BUCKETS];

static void record(int64_t ns) {
    uint64_t v = ns < SUB ? SUB : (uint64_t)ns;
    int shift = 63 - __builtin_clzll(v) - 6; // v >> shift is in [64, 128)
    histogram[(size_t)shift * SUB + (v >> shift) - SUB]++;
}

static double percentile(double q) {
    uint64_t total = 0, sum = 0;
    for (size_t i = 0; i < BUCKETS; i++)
        total += histogram[i];
    uint64_t rank = (uint64_t)ceil(q * total);
    for (size_t i = 0; i < BUCKETS; i++)
        if ((sum += histogram[i]) >= rank && sum)
            return ldexp(i % SUB + SUB + 0.5, i / SUB) / 1e3;
    return 0;
}
