// Histograms of latencies.
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// Latencies in ns, kept with a precision of 1/64.
enum { SUB = 64, BUCKETS = 64 * SUB };
static uint64_t histogram[BUCKETS];

// percentile of a histogram in µs; 0 of none.
static double percentile(const uint64_t *of, double q) {
    uint64_t total = 0, sum = 0;
    for (size_t i = 0; i < BUCKETS; i++)
        total += of[i];
    uint64_t rank = (uint64_t)ceil(q * total);
    for (size_t i = 0; i < BUCKETS; i++)
        if ((sum += of[i]) >= rank && sum)
            return ldexp(i % SUB + SUB + 0.5, i / SUB) / 1e3;
    return 0;
}

// Windows of time have histograms of their own, one after the other.
static const int64_t window = 100000000;
enum { WINDOWS = 1 << 16 };
static uint64_t current[BUCKETS];
static double p99s[WINDOWS];
static size_t windows;
static int64_t window_end;

// record notes a latency that was found at a time.
static void record(int64_t at, int64_t ns) {
    if (at >= window_end) {
        if (window_end && windows < WINDOWS)
            p99s[windows++] = percentile(current, 0.99);
        memset(current, 0, sizeof current);
        window_end = at + window;
    }
    uint64_t v = ns < SUB ? SUB : (uint64_t)ns;
    int shift = 63 - __builtin_clzll(v) - 6; // v >> shift is in [64, 128)
    size_t i = (size_t)shift * SUB + (v >> shift) - SUB;
    histogram[i]++;
    current[i]++;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// steady_p99 is the median of the 99th percentiles of the windows that are over, in µs; 0 of none.
static double steady_p99(void) {
    if (windows == 0)
        return 0;
    qsort(p99s, windows, sizeof *p99s, by_value);
    return p99s[windows / 2];
}
