// The bodies that the upstream sends and the load generator expects. Every piece
// of a body differs from its neighbours, so that a piece that is missing, twice
// there or from somewhere else shows.
#ifndef BODY_H
#define BODY_H

#include <stddef.h>

#define MAX_BODY (1 << 20)

static char body[MAX_BODY];

static void fill_body(void) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    for (size_t i = 0; i < MAX_BODY; i++)
        body[i] = letters[(i * 7 + i / 36 + i / 4096) % 36];
}

#endif
