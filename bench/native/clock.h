// The clock of all that is measured and paced here.
#include <stdint.h>
#include <time.h>

static const int64_t second = 1000000000;

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * second + t.tv_nsec;
}
