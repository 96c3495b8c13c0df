// The least that can be done with slow clients: it takes connections, reads what comes,
// says nothing, and closes each after a while.
//
//   taker PORT LIFE
//
// LIFE is in seconds. What other work on this machine suffers while slow clients are at
// this program and not at a proxy is not the proxy's doing.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "files.h"

enum { EVENTS = 256, MOST = 1 << 16, TICK = 8 }; // TICK in ms
static int64_t since[MOST]; // when the descriptor was accepted; 0: it is closed
// Those that were accepted, oldest first.
static struct { int fd; int64_t at; } ring[MOST];
static unsigned in, out;

static void fatal(const char *what) {
    perror(what);
    exit(2);
}

static void watch(int epoll_fd, int fd) {
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
        fatal("epoll_ctl");
}

static void end(int fd) {
    close(fd);
    since[fd] = 0;
}

static void take(int epoll_fd, int listener) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        if (fd >= MOST || in - out == MOST) {
            close(fd);
            continue;
        }
        ring[in % MOST].fd = fd;
        ring[in++ % MOST].at = since[fd] = now();
        watch(epoll_fd, fd);
    }
}

int main(int argc, char **argv) {
    if (argc != 3 || atoi(argv[1]) < 1 || atof(argv[2]) <= 0) {
        fprintf(stderr, "usage: taker PORT LIFE\n");
        return 2;
    }
    int64_t life = (int64_t)(atof(argv[2]) * second);
    raise_files();
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (struct sockaddr *)&a, sizeof a) < 0 || listen(listener, SOMAXCONN) < 0)
        fatal("listen");
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    watch(epoll_fd, listener);
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct epoll_event events[EVENTS];
        char text[512];
        int n = epoll_wait(epoll_fd, events, EVENTS, TICK);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                take(epoll_fd, listener);
                continue;
            }
            ssize_t got = recv(fd, text, sizeof text, 0);
            if (got == 0 || (got < 0 && errno != EAGAIN))
                end(fd);
        }
        for (int64_t t = now(); out != in && ring[out % MOST].at + life <= t; out++) {
            int fd = ring[out % MOST].fd;
            if (since[fd] == ring[out % MOST].at)
                end(fd);
        }
    }
}
