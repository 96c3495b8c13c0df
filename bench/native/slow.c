// Clients that send a request's head so slowly that it never ends.
//
//   slow PORT CONNS LIFE
//
// It keeps CONNS connections to PORT of 127.0.0.1, and sends a byte a second on each.
// When the proxy ends one, it is opened again. So that they don't all end at once, and
// the load is even from the beginning, each ends itself the first time, at a random age
// below LIFE, in seconds: the proxy's limit for a head.
//
// It runs when nothing else wants its core (SCHED_IDLE), so that it does not keep the load
// generator and the upstream waiting, whose delays would be taken for the proxy's. Whether
// it got enough time shows in "late", the longest that a byte was sent after it was due, in
// seconds.
//
// "ready" is written when all are open. At the end of standard input a summary of
// "key value" lines is written. The exit code is 1 when an answer was neither an error
// of the client (400 to 499) nor a mere end.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "files.h"

enum { EVENTS = 512, SOURCES = 8 };
// Work is done in small portions, so that the proxy sees a steady trickle.
static const int64_t tick = 1000000;
// FILL is how many connections are opened in a tick at most: 10,000 in two seconds.
enum { FILL = 5 };

struct slow {
    int fd;        // -1: closed
    size_t sent;   // bytes of the head
    int64_t leave; // when it ends itself; 0: never
    struct slow *next; // of the closed ones
};

static struct slow *all, *closed;
static int port, conns, epoll_fd, open_count, lowest;
static int64_t life;
static int64_t late;
static uint64_t opened, ended, failed, bytes, wrong;

static void fatal(const char *what) {
    perror(what);
    exit(2);
}

static void end(struct slow *c) {
    close(c->fd);
    c->fd = -1;
    c->next = closed;
    closed = c;
    open_count--;
}

// begin opens a connection. Several source addresses have ports enough for those that
// ended a short while ago.
static void begin(struct slow *c) {
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        fatal("socket");
    int on = 1;
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + (c - all) % SOURCES)};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(c->fd, (struct sockaddr *)&from, sizeof from) < 0)
        fatal("bind");
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS)
        fatal("connect");
    c->sent = 0;
    c->leave = opened < (uint64_t)conns ? now() + (int64_t)(drand48() * life) : 0;
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &ev) < 0)
        fatal("epoll_ctl");
    opened++;
    open_count++;
}

// trickle sends the next byte.
static void trickle(struct slow *c, int64_t t) {
    static const char head[] = "GET / HTTP/1.1\r\nHost: bench.example\r\nX-Slow: ";
    if (c->fd < 0)
        return;
    if (c->leave && t >= c->leave) {
        end(c);
        return;
    }
    char next = c->sent < sizeof head - 1 ? head[c->sent] : 'a';
    if (send(c->fd, &next, 1, MSG_NOSIGNAL) == 1) {
        c->sent++;
        bytes++;
    } // else it is not open yet, or its end is about to be read
}

// answered is called when the proxy says something.
static void answered(struct slow *c) {
    char text[512];
    if (c->fd < 0)
        return;
    ssize_t n = recv(c->fd, text, sizeof text, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n < 0 && c->sent == 0)
        failed++;
    else
        ended++;
    if (n > 0 && (n < 10 || strncmp(text, "HTTP/1.", 7) || text[9] != '4') && wrong++ == 0)
        fprintf(stderr, "slow: answered by %.*s\n", (int)(n < 80 ? n : 80), text);
    end(c);
}

int main(int argc, char **argv) {
    if (argc != 4 || (port = atoi(argv[1])) < 1 || (conns = atoi(argv[2])) < 1 || atof(argv[3]) <= 0) {
        fprintf(stderr, "usage: slow PORT CONNS LIFE\n");
        return 2;
    }
    life = (int64_t)(atof(argv[3]) * second);
    signal(SIGPIPE, SIG_IGN);
    raise_files();
    if (sched_setscheduler(0, SCHED_IDLE, &(struct sched_param){0}) < 0)
        fatal("sched_setscheduler");
    srand48(42);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    all = calloc(conns, sizeof *all);
    for (int i = conns - 1; i >= 0; i--)
        all[i] = (struct slow){.fd = -1, .next = closed}, closed = &all[i];

    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    struct epoll_event events[EVENTS];
    int ready = 0;
    uint64_t turns = 0; // bytes that were due
    int64_t start = now();
    for (int64_t at = start; poll(&in, 1, 0) == 0; at += tick) {
        do {
            int64_t wait = at - now();
            struct timespec timeout = {0, wait > 0 ? wait : 0};
            int n = epoll_pwait2(epoll_fd, events, EVENTS, &timeout, NULL);
            for (int i = 0; i < n; i++)
                answered(events[i].data.ptr);
        } while (now() < at);
        for (int i = 0; i < FILL && closed; i++) {
            struct slow *c = closed;
            closed = c->next;
            begin(c);
        }
        for (uint64_t until = (uint64_t)((at - start) / 1e9 * conns); turns < until; turns++)
            trickle(&all[turns % conns], at);
        if (!closed && !ready) {
            ready = 1;
            lowest = conns;
            late = 0;
            puts("ready");
            fflush(stdout);
        }
        if (now() - at > late)
            late = now() - at;
        if (open_count < lowest)
            lowest = open_count;
    }
    printf("opened %llu\nended %llu\nfailed %llu\nlowest %d\nbytes %llu\nwrong %llu\nlate %.3f\nseconds %.3f\n", (unsigned long long)opened,
        (unsigned long long)ended, (unsigned long long)failed, lowest, (unsigned long long)bytes, (unsigned long long)wrong, late / 1e9, (now() - start) / 1e9);
    return wrong ? 1 : 0;
}
