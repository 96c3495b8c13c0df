// The load generator of the HTTP/1.1, TLS and WebSocket cases: one thread over
// epoll. It checks every answer: status, Content-Length, each byte of the body,
// and that X-Request comes back with the id of this very request.
//
//   load KEY=VALUE…
//
//   port=N           of the proxy, on 127.0.0.1
//   path=/1k size=N  what to ask for, and how long the body has to be
//   host=NAME        the Host field; a %u in it is a number that counts up to hosts
//   hosts=N          how many hosts there are
//   mode=http        or tls, handshake (TLS with a new connection for each request,
//                    never resumed), websocket (size bytes to and fro)
//   conns=N          connections
//   rate=N           requests per second at random times (a Poisson process, the
//                    same in each run); 0: each connection asks again at once
//   warmup=S time=S  seconds before, and of, the measurement
//   pids=A,B         processes whose CPU time is measured
//   hold=1           another way to use the connections: each makes one request and
//                    then stays idle. "ready" is written when all are; a number that is
//                    read from standard input is how many of them ask once more.
//
// With a rate, latency runs from the time when a request was due, whether or not a
// connection was free then: a stall counts for all who would have met it. Without,
// it runs from sending. "p99_steady_us" is the median of the 99th percentiles of each
// tenth of a second: what a program that stops this machine now and then has no part in.
// Requests that were due and never sent, because the proxy
// can't do the rate, are "unsent". A summary of "key value" lines is written at the end; the
// exit code is 1 when anything was wrong.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "body.h"
#include "clock.h"
#include "files.h"
#include "latency.h"

enum { HEAD_SIZE = 8192, OUT_SIZE = 1024, READ_SIZE = 256 << 10, EVENTS = 512, MAX_PIDS = 64, SHOWN_ERRORS = 5 };
enum mode { HTTP, TLS, HANDSHAKE, WEBSOCKET };
enum state { CLOSED, CONNECTING, SHAKING, UPGRADING, FREE, WAITING };

static const int64_t patience = 10000000000; // for what is under way at the end
static const int64_t hold_patience = 2000000; // for each connection to be held, with a handshake
static const int64_t hold_step = 10000000;    // how often standard input is looked at
// AT_ONCE is how many of the connections to be held are opened at once: ten thousand
// requests at once would measure another thing.
enum { AT_ONCE = 64 };

struct conn {
    int fd, want_write, last; // last: the server closes after this answer
    enum state state;
    SSL *ssl;
    uint64_t id;         // of the request under way
    int64_t since;       // when it was due or sent
    size_t out_len, out_off, head_len, body_off;
    int in_body, asked; // asked: a request was sent on this connection
    char out[OUT_SIZE], head[HEAD_SIZE];
    struct conn *next; // of the free ones
};

static struct {
    int port, hosts, conns, hold;
    size_t size;
    const char *path, *host;
    enum mode mode;
    double rate, warmup, time;
    int pids[MAX_PIDS], pid_count;
} opt = {.hosts = 1, .conns = 1, .path = "/1k", .host = "bench.example", .size = 1024, .time = 1};

static struct conn *all, *free_first, *free_last;
static SSL_CTX *tls;
static int epoll_fd, measuring, stopping;
static int started; // connections, the first of all
static uint64_t next_id, issued, answered, errors, measured, bytes, connects;
static int busy; // connections with a request or a handshake under way
static char buffer[READ_SIZE];

static void fatal(const char *what) {
    perror(what);
    exit(2);
}

// CPU time of a process with all its threads, also those that ended, in ns.
static int64_t cpu_time(void) {
    int64_t sum = 0;
    for (int i = 0; i < opt.pid_count; i++) {
        struct timespec t;
        clockid_t clock = (~(clockid_t)opt.pids[i] << 3) | 2; // as clock_getcpuclockid(3) makes it
        if (clock_gettime(clock, &t) < 0)
            fatal("read CPU time");
        sum += t.tv_sec * second + t.tv_nsec;
    }
    return sum;
}

static void start(struct conn *c);
static void advance(struct conn *c);

static void unlink_fd(struct conn *c) {
    if (c->ssl) {
        SSL_shutdown(c->ssl); // says close_notify and waits for none
        SSL_free(c->ssl);
        c->ssl = NULL;
        ERR_clear_error();
    }
    close(c->fd);
    c->state = CLOSED;
}

// wrong counts an error and begins the connection anew.
static void wrong(struct conn *c, const char *format, ...) {
    if (++errors <= SHOWN_ERRORS) {
        va_list args;
        va_start(args, format);
        fprintf(stderr, "load: request %llu: ", (unsigned long long)c->id);
        vfprintf(stderr, format, args);
        fputc('\n', stderr);
        va_end(args);
    }
    if (errors > 10000) {
        fprintf(stderr, "load: giving up after %llu errors\n", (unsigned long long)errors);
        exit(1);
    }
    busy--;
    unlink_fd(c);
    if (!stopping)
        start(c);
}

static void want(struct conn *c, int write) {
    if (c->want_write == write)
        return;
    c->want_write = write;
    struct epoll_event ev = {.events = EPOLLIN | (write ? EPOLLOUT : 0), .data.ptr = c};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &ev) < 0)
        fatal("epoll_ctl");
}

static void start(struct conn *c) {
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        fatal("socket");
    int on = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(opt.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (connect(c->fd, (struct sockaddr *)&a, sizeof a) < 0 && errno != EINPROGRESS)
        fatal("connect");
    connects++;
    busy++;
    c->state = CONNECTING;
    c->last = c->in_body = c->asked = 0;
    c->out_len = c->out_off = c->head_len = c->body_off = 0;
    c->want_write = 1;
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &ev) < 0)
        fatal("epoll_ctl");
    if (tls) {
        c->ssl = SSL_new(tls);
        SSL_set_fd(c->ssl, c->fd);
        SSL_set_tlsext_host_name(c->ssl, "bench.example");
    }
}

// put_out writes what waits, and returns 0 when the connection failed.
static int put_out(struct conn *c) {
    while (c->out_off < c->out_len) {
        ssize_t n;
        if (c->ssl) {
            n = SSL_write(c->ssl, c->out + c->out_off, c->out_len - c->out_off);
            if (n <= 0 && SSL_get_error(c->ssl, n) == SSL_ERROR_WANT_WRITE) {
                want(c, 1);
                return 1;
            }
        } else {
            n = send(c->fd, c->out + c->out_off, c->out_len - c->out_off, MSG_NOSIGNAL);
            if (n < 0 && errno == EAGAIN) {
                want(c, 1);
                return 1;
            }
        }
        if (n <= 0) {
            wrong(c, "write failed: %s", strerror(errno));
            return 0;
        }
        c->out_off += n;
    }
    want(c, 0);
    return 1;
}

static void send_request(struct conn *c, int64_t since) {
    c->id = next_id++;
    c->since = since;
    c->asked = 1;
    c->out_off = c->head_len = c->body_off = c->in_body = 0;
    if (opt.mode == WEBSOCKET) {
        static const unsigned char mask[4] = {0x12, 0x9a, 0x56, 0xfe};
        c->out[0] = (char)0x82; // a whole binary message
        c->out[1] = (char)(0x80 | opt.size);
        memcpy(c->out + 2, mask, 4);
        char text[17];
        snprintf(text, sizeof text, "%016llx", (unsigned long long)c->id);
        for (size_t i = 0; i < opt.size; i++)
            c->out[6 + i] = (i < 16 ? text[i] : body[i]) ^ mask[i % 4];
        c->out_len = 6 + opt.size;
    } else {
        char host[128];
        snprintf(host, sizeof host, opt.host, (unsigned)(c->id % opt.hosts));
        c->out_len = snprintf(c->out, OUT_SIZE, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nAccept: */*\r\nX-Request: %016llx\r\n\r\n",
            opt.path, host, (unsigned long long)c->id);
    }
    c->state = WAITING;
    issued++;
    put_out(c);
}

// Requests that are due and found no free connection, oldest first.
enum { BACKLOG = 1 << 20 };
static int64_t backlog[BACKLOG];
static uint64_t backlog_in, backlog_out;

// ready is called when a connection can take a request. It counts as busy until
// it is found to have nothing to do.
static void ready(struct conn *c) {
    if (stopping) {
        busy--;
        c->state = FREE;
        return;
    }
    if (opt.hold ? !c->asked : opt.rate == 0) {
        send_request(c, now());
        return;
    }
    if (backlog_out != backlog_in) {
        send_request(c, backlog[backlog_out++ % BACKLOG]);
        return;
    }
    busy--;
    c->state = FREE;
    c->next = NULL;
    if (free_last)
        free_last->next = c;
    else
        free_first = c;
    free_last = c;
    if (started < opt.conns)
        start(&all[started++]);
}

static void answer_complete(struct conn *c) {
    answered++;
    if (measuring) {
        int64_t t = now();
        record(t, t - c->since);
        measured++;
        bytes += opt.size;
    }
    if (opt.mode == HANDSHAKE || c->last) {
        busy--;
        unlink_fd(c);
        if (!stopping)
            start(c);
        return;
    }
    ready(c);
}

static const char *field(const char *head, const char *name) {
    size_t n = strlen(name);
    for (const char *at = strstr(head, "\r\n"); at; at = strstr(at + 2, "\r\n"))
        if (!strncasecmp(at + 2, name, n) && at[2 + n] == ':')
            return at + 3 + n + strspn(at + 3 + n, " ");
    return NULL;
}

// head_complete checks a head, and returns 0 when it was wrong.
static int head_complete(struct conn *c) {
    const char *value;
    if (opt.mode == WEBSOCKET) {
        value = field(c->head, "sec-websocket-accept");
        // The answer to the key of RFC 6455, section 1.3.
        if (strncmp(c->head, "HTTP/1.1 101 ", 13) || !value || strncmp(value, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r", 29))
            return wrong(c, "no upgrade: %.80s", c->head), 0;
        c->head_len = 0;
        ready(c);
        return 1;
    }
    if (strncmp(c->head, "HTTP/1.1 200 ", 13))
        return wrong(c, "status: %.*s", (int)strcspn(c->head, "\r"), c->head), 0;
    value = field(c->head, "content-length");
    if (!value || strtoull(value, NULL, 10) != opt.size)
        return wrong(c, "content-length: %.10s", value ? value : "none"), 0;
    value = field(c->head, "x-request");
    if (!value || strtoull(value, NULL, 16) != c->id)
        return wrong(c, "answer of another request: %.16s", value ? value : "none"), 0;
    value = field(c->head, "connection");
    c->last = value && !strncasecmp(value, "close", 5);
    c->in_body = 1;
    return 1;
}

// take checks what came, and returns 0 when it was wrong or the connection has
// begun anew.
static int take(struct conn *c, const char *at, size_t n) {
    while (n > 0) {
        if (c->state != WAITING && c->state != UPGRADING)
            return busy++, wrong(c, "%zu bytes that nobody asked for", n), 0;
        if (opt.mode == WEBSOCKET && c->state == WAITING) {
            size_t want = 2 + opt.size, part = n < want - c->head_len ? n : want - c->head_len;
            memcpy(c->head + c->head_len, at, part);
            c->head_len += part;
            at += part, n -= part;
            if (c->head_len < want)
                return 1;
            char text[17];
            snprintf(text, sizeof text, "%016llx", (unsigned long long)c->id);
            if ((unsigned char)c->head[0] != 0x82 || (unsigned char)c->head[1] != opt.size || memcmp(c->head + 2, text, 16) ||
                memcmp(c->head + 18, body + 16, opt.size - 16))
                return wrong(c, "another message than was sent"), 0;
            answer_complete(c);
            continue;
        }
        if (!c->in_body) {
            size_t part = n < HEAD_SIZE - 1 - c->head_len ? n : HEAD_SIZE - 1 - c->head_len, before = c->head_len;
            memcpy(c->head + c->head_len, at, part);
            c->head_len += part;
            char *end = memmem(c->head, c->head_len, "\r\n\r\n", 4);
            if (!end) {
                if (part == 0 || c->head_len == HEAD_SIZE - 1)
                    return wrong(c, "head too long"), 0;
                return 1;
            }
            size_t used = end + 4 - c->head - before;
            end[2] = 0; // the last line keeps its CRLF
            at += used, n -= used;
            if (!head_complete(c))
                return 0;
            if (c->state == WAITING && opt.mode == WEBSOCKET)
                continue;
            if (!c->in_body)
                continue;
        }
        size_t part = n < opt.size - c->body_off ? n : opt.size - c->body_off;
        if (memcmp(body + c->body_off, at, part))
            return wrong(c, "wrong byte in the body after %zu", c->body_off), 0;
        c->body_off += part, at += part, n -= part;
        if (c->body_off == opt.size) {
            if (n > 0)
                return wrong(c, "%zu bytes after the answer", n), 0;
            answer_complete(c);
            return c->state != CLOSED && c->state != CONNECTING;
        }
    }
    return 1;
}

static void get_in(struct conn *c) {
    // A full buffer is followed by another read; a part of it means that the
    // socket is empty, and the next event will tell.
    for (;;) {
        ssize_t n;
        int dry = 0;
        if (c->ssl) {
            n = SSL_read(c->ssl, buffer, READ_SIZE);
            if (n <= 0) {
                int error = SSL_get_error(c->ssl, n);
                if (error == SSL_ERROR_WANT_READ)
                    return;
                n = error == SSL_ERROR_ZERO_RETURN ? 0 : -1;
            }
        } else {
            n = recv(c->fd, buffer, READ_SIZE, 0);
            if (n < 0 && errno == EAGAIN)
                return;
            dry = n < READ_SIZE;
        }
        if (n <= 0) {
            if (c->state == FREE)
                busy++; // wrong takes it off again
            wrong(c, n == 0 ? "closed before the answer was complete" : "read failed: %s", strerror(errno));
            return;
        }
        int was = c->fd;
        SSL *ssl = c->ssl;
        if (!take(c, buffer, n) || dry || c->fd != was || c->ssl != ssl)
            return;
    }
}

static void advance(struct conn *c) {
    if (c->state == CONNECTING) {
        int error = 0;
        socklen_t len = sizeof error;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
        if (error) {
            errno = error;
            wrong(c, "connect failed: %s", strerror(error));
            return;
        }
        c->state = c->ssl ? SHAKING : FREE;
    }
    if (c->state == SHAKING) {
        int n = SSL_connect(c->ssl);
        if (n != 1) {
            int error = SSL_get_error(c->ssl, n);
            if (error == SSL_ERROR_WANT_READ)
                want(c, 0);
            else if (error == SSL_ERROR_WANT_WRITE)
                want(c, 1);
            else
                wrong(c, "TLS handshake failed");
            return;
        }
        if (SSL_version(c->ssl) != TLS1_3_VERSION || SSL_session_reused(c->ssl)) {
            wrong(c, "not a full TLS 1.3 handshake");
            return;
        }
    }
    want(c, 0);
    if (opt.mode == WEBSOCKET) {
        c->state = UPGRADING;
        c->out_len = snprintf(c->out, OUT_SIZE, "GET /ws HTTP/1.1\r\nHost: bench.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
        put_out(c);
        return;
    }
    ready(c);
}

static void handle(struct conn *c, uint32_t events) {
    if (c->state == CLOSED)
        return;
    if (c->state == CONNECTING || c->state == SHAKING) {
        advance(c);
        return;
    }
    if ((events & EPOLLOUT) && c->want_write && !put_out(c))
        return;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        get_in(c);
}

// A generator of its own (splitmix64), the same in each run.
static uint64_t seed = 42;
static double uniform(void) {
    uint64_t z = (seed += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return ((z ^ (z >> 31)) >> 11) * 0x1.0p-53;
}

static void due(int64_t at) {
    if (!free_first) {
        if (backlog_in - backlog_out == BACKLOG) {
            fprintf(stderr, "load: a million requests wait: the rate is too high\n");
            exit(1);
        }
        backlog[backlog_in++ % BACKLOG] = at;
        return;
    }
    struct conn *c = free_first;
    free_first = c->next;
    if (!free_first)
        free_last = NULL;
    busy++;
    send_request(c, at);
}

// spin runs the loop until a time, or, when stopping, until nothing is under way.
static void spin(int64_t until, int64_t *next) {
    struct epoll_event events[EVENTS];
    for (;;) {
        int64_t t = now();
        if (t >= until || (stopping && busy == 0))
            return;
        if (opt.rate > 0 && !stopping)
            for (; *next <= t; *next += (int64_t)(-log(1 - uniform()) / opt.rate * second))
                due(*next);
        int64_t wait = until - t;
        if (opt.rate > 0 && !stopping && *next - t < wait)
            wait = *next - t;
        if (wait < 0)
            wait = 0;
        struct timespec timeout = {wait / second, wait % second};
        int n = epoll_pwait2(epoll_fd, events, EVENTS, &timeout, NULL);
        if (n < 0 && errno != EINTR)
            fatal("epoll_pwait2");
        for (int i = 0; i < n; i++)
            handle(events[i].data.ptr, events[i].events);
    }
}

static void parse(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (!value) {
            fprintf(stderr, "load: %s is no KEY=VALUE\n", argv[i]);
            exit(2);
        }
        *value++ = 0;
        const char *key = argv[i];
        if (!strcmp(key, "port")) opt.port = atoi(value);
        else if (!strcmp(key, "path")) opt.path = value;
        else if (!strcmp(key, "size")) opt.size = strtoull(value, NULL, 10);
        else if (!strcmp(key, "host")) opt.host = value;
        else if (!strcmp(key, "hosts")) opt.hosts = atoi(value);
        else if (!strcmp(key, "conns")) opt.conns = atoi(value);
        else if (!strcmp(key, "hold")) opt.hold = atoi(value);
        else if (!strcmp(key, "rate")) opt.rate = atof(value);
        else if (!strcmp(key, "warmup")) opt.warmup = atof(value);
        else if (!strcmp(key, "time")) opt.time = atof(value);
        else if (!strcmp(key, "mode"))
            opt.mode = !strcmp(value, "tls") ? TLS : !strcmp(value, "handshake") ? HANDSHAKE : !strcmp(value, "websocket") ? WEBSOCKET : HTTP;
        else if (!strcmp(key, "pids"))
            for (char *p = strtok(value, ","); p && opt.pid_count < MAX_PIDS; p = strtok(NULL, ","))
                opt.pids[opt.pid_count++] = atoi(p);
        else {
            fprintf(stderr, "load: unknown key %s\n", key);
            exit(2);
        }
    }
    if (opt.size > MAX_BODY || opt.hosts < 1 || opt.conns < 1 || (opt.mode == WEBSOCKET && (opt.size < 16 || opt.size > 125))) {
        fprintf(stderr, "load: a value is out of range\n");
        exit(2);
    }
}

static void set_up_tls(void) {
    tls = SSL_CTX_new(TLS_client_method());
    // What browsers prefer; servers that leave the choice to clients and servers
    // that make it then do the same work.
    if (!tls || !SSL_CTX_set_ciphersuites(tls, "TLS_AES_128_GCM_SHA256") || !SSL_CTX_set1_groups_list(tls, "X25519"))
        exit(2);
    SSL_CTX_set_min_proto_version(tls, TLS1_3_VERSION);
    SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify(tls, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_read_ahead(tls, 1);
    SSL_CTX_set_mode(tls, SSL_MODE_RELEASE_BUFFERS);
    static const unsigned char h1[] = "\x08http/1.1";
    SSL_CTX_set_alpn_protos(tls, h1, sizeof h1 - 1);
}

// settle runs the loop until nothing is under way.
static void settle(void) {
    int64_t next = 0, end = now() + opt.conns * hold_patience + patience;
    while (busy > 0 && errors == 0 && now() < end)
        spin(now() + hold_step, &next);
}

// hold has each connection ask once, and some of them again when it is told to.
// Those that the proxy closes meanwhile are errors.
static void hold(void) {
    settle();
    puts("ready");
    fflush(stdout);
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    for (int64_t next = 0; poll(&in, 1, 0) == 0;)
        spin(now() + hold_step, &next);
    int again = 0;
    if (scanf("%d", &again) != 1)
        exit(2); // whoever started this has ended
    measuring = 1;
    for (int i = 0; i < again && free_first; i++)
        due(now());
    settle();
}

static void report(double seconds, int64_t cpu, uint64_t unsent) {
    if (busy > 0) {
        fprintf(stderr, "load: %d answers never came\n", busy);
        errors += busy;
    }
    printf("requests %llu\nmeasured %llu\nerrors %llu\nunsent %llu\nbytes %llu\nconnects %llu\nseconds %.6f\ncpu_seconds %.9f\n"
           "p50_us %.1f\np90_us %.1f\np99_us %.1f\np999_us %.1f\np99_steady_us %.1f\n",
        (unsigned long long)answered, (unsigned long long)measured, (unsigned long long)errors, (unsigned long long)unsent, (unsigned long long)bytes,
        (unsigned long long)connects, seconds, cpu / 1e9, percentile(histogram, 0.5), percentile(histogram, 0.9), percentile(histogram, 0.99), percentile(histogram, 0.999), steady_p99());
}

int main(int argc, char **argv) {
    parse(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_TIMERSLACK, 1000UL, 0, 0, 0); // ns; 50,000 by default
    fill_body();
    if (opt.mode == TLS || opt.mode == HANDSHAKE)
        set_up_tls();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    all = calloc(opt.conns, sizeof *all);
    raise_files();
    int64_t begin = now();
    int first = opt.hold && opt.conns > AT_ONCE ? AT_ONCE : opt.conns;
    while (started < first)
        start(&all[started++]);
    if (opt.hold) {
        hold();
        report((now() - begin) / 1e9, 0, 0);
        return errors || issued != answered ? 1 : 0;
    }

    begin = now();
    int64_t next = begin + (int64_t)(opt.warmup * second) / 2; // connections come first
    spin(begin + (int64_t)(opt.warmup * second), &next);
    measuring = 1;
    int64_t cpu = cpu_time();
    begin = now();
    spin(begin + (int64_t)(opt.time * second), &next);
    int64_t end = now();
    stopping = 1;
    // What the proxy was too slow for is not sent any more, and has waited so long.
    uint64_t unsent = backlog_in - backlog_out;
    for (; backlog_out != backlog_in; backlog_out++)
        record(end, end - backlog[backlog_out % BACKLOG]);
    spin(end + patience, &next); // all that was asked is answered, and counted
    int64_t drained = now();
    cpu = cpu_time() - cpu;
    report((drained - begin) / 1e9, cpu, unsent);
    return errors || issued != answered ? 1 : 0;
}
