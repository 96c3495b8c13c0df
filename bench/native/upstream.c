// The upstream of the benchmarks: a server of one thread over epoll, cheap enough
// to share a core with the load generator.
//
//   upstream PORT
//
// GET /1k, /10k and /1m answer a body of that size (body.h) and repeat the field
// X-Request; GET /ws with Upgrade echoes WebSocket messages of at most 125 bytes;
// GET /count says how many answers and messages there were, without counting
// itself. Requests have no body. Anything else is answered with 400 and a close.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "body.h"

enum { IN_SIZE = 16384, OUT_SIZE = 16384, EVENTS = 512, MAX_FDS = 65536, MAX_FRAME = 125 };

struct conn {
    int fd, websocket, closing, want_write;
    size_t in_len, out_len, out_off;
    size_t body_len, body_off; // follows out
    char in[IN_SIZE], out[OUT_SIZE];
};

static struct conn *conns[MAX_FDS];
static int epoll_fd;
static uint64_t served;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void drop(struct conn *c) {
    conns[c->fd] = NULL;
    close(c->fd);
    free(c);
}

static void watch(struct conn *c, int want_write) {
    if (c->want_write == want_write)
        return;
    c->want_write = want_write;
    // Nothing is read while an answer waits for room: back-pressure.
    struct epoll_event ev = {.events = want_write ? EPOLLOUT : EPOLLIN, .data.fd = c->fd};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &ev) < 0)
        die("epoll_ctl");
}

// flush writes what waits. It returns -1 when the connection is gone, 0 when
// something still waits, 1 when all is written.
static int flush(struct conn *c) {
    while (c->out_off < c->out_len || c->body_off < c->body_len) {
        struct iovec v[2] = {{c->out + c->out_off, c->out_len - c->out_off}, {body + c->body_off, c->body_len - c->body_off}};
        ssize_t n = writev(c->fd, v, 2);
        if (n < 0) {
            if (errno == EAGAIN) {
                watch(c, 1);
                return 0;
            }
            drop(c);
            return -1;
        }
        size_t head = c->out_len - c->out_off;
        if ((size_t)n < head) {
            c->out_off += n;
        } else {
            c->out_off = c->out_len;
            c->body_off += n - head;
        }
    }
    c->out_len = c->out_off = c->body_len = c->body_off = 0;
    if (c->closing) {
        drop(c);
        return -1;
    }
    watch(c, 0);
    return 1;
}

// field finds a field's value in a head whose last line ends with CRLF.
static const char *field(const char *head, const char *end, const char *name, size_t *len) {
    size_t n = strlen(name);
    for (const char *line = memchr(head, '\n', end - head); line && line + 1 < end; line = memchr(line + 1, '\n', end - line - 1)) {
        const char *at = line + 1;
        if ((size_t)(end - at) <= n || at[n] != ':' || strncasecmp(at, name, n) != 0)
            continue;
        at += n + 1;
        while (at < end && *at == ' ')
            at++;
        const char *stop = memchr(at, '\r', end - at);
        *len = stop ? (size_t)(stop - at) : 0;
        return stop ? at : NULL;
    }
    return NULL;
}

static void refuse(struct conn *c) {
    c->closing = 1;
    c->out_len += snprintf(c->out + c->out_len, OUT_SIZE - c->out_len, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

static void upgrade(struct conn *c, const char *head, const char *end) {
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; // RFC 6455, section 1.3
    size_t n;
    const char *key = field(head, end, "sec-websocket-key", &n);
    if (!key || n > 64) {
        refuse(c);
        return;
    }
    char text[128];
    unsigned char sum[SHA_DIGEST_LENGTH], accept[64];
    int len = snprintf(text, sizeof text, "%.*s%s", (int)n, key, guid);
    SHA1((unsigned char *)text, len, sum);
    EVP_EncodeBlock(accept, sum, sizeof sum);
    c->websocket = 1;
    c->out_len += snprintf(c->out + c->out_len, OUT_SIZE - c->out_len,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", accept);
}

static void answer(struct conn *c, const char *head, const char *end) {
    size_t size = 0, n = 0, path;
    const char *length = field(head, end, "content-length", &n);
    if ((length && !(n == 1 && *length == '0')) || field(head, end, "transfer-encoding", &n) || strncmp(head, "GET /", 5) != 0) {
        refuse(c);
        return;
    }
    const char *at = head + 5;
    path = strcspn(at, " ");
    if (path == 2 && !memcmp(at, "1k", 2))
        size = 1024;
    else if (path == 3 && !memcmp(at, "10k", 3))
        size = 10240;
    else if (path == 2 && !memcmp(at, "1m", 2))
        size = MAX_BODY;
    else if (path == 2 && !memcmp(at, "ws", 2)) {
        upgrade(c, head, end);
        return;
    } else if (path == 5 && !memcmp(at, "count", 5)) {
        char text[32];
        int len = snprintf(text, sizeof text, "%llu", (unsigned long long)served);
        c->out_len += snprintf(c->out + c->out_len, OUT_SIZE - c->out_len, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len, text);
        return;
    } else {
        refuse(c);
        return;
    }
    served++;
    const char *id = field(head, end, "x-request", &n);
    c->out_len += snprintf(c->out + c->out_len, OUT_SIZE - c->out_len,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\nX-Request: %.*s\r\n\r\n", size, id ? (int)n : 0, id ? id : "");
    c->body_len = size;
}

// frame echoes one WebSocket message. It returns its length, or 0 when it is not
// all there.
static size_t frame(struct conn *c, unsigned char *at, size_t len) {
    if (len < 2)
        return 0;
    size_t n = at[1] & 0x7f;
    if (n > MAX_FRAME || !(at[1] & 0x80)) {
        c->closing = 1;
        return 0;
    }
    if (len < 6 + n)
        return 0;
    if ((at[0] & 0x0f) == 8) // close
        c->closing = 1;
    else
        served++;
    unsigned char *out = (unsigned char *)c->out + c->out_len;
    out[0] = at[0];
    out[1] = n;
    for (size_t i = 0; i < n; i++)
        out[2 + i] = at[6 + i] ^ at[2 + i % 4];
    c->out_len += 2 + n;
    return 6 + n;
}

// work answers all that c->in holds, and returns -1 when the connection is gone.
static int work(struct conn *c) {
    size_t off = 0;
    while (off < c->in_len && !c->closing && !c->body_len && c->out_len + 1024 < OUT_SIZE) {
        size_t used;
        if (c->websocket) {
            used = frame(c, (unsigned char *)c->in + off, c->in_len - off);
        } else {
            char *end = memmem(c->in + off, c->in_len - off, "\r\n\r\n", 4);
            if (!end)
                break;
            used = end + 4 - (c->in + off);
            answer(c, c->in + off, end + 2);
        }
        if (!used)
            break;
        off += used;
    }
    memmove(c->in, c->in + off, c->in_len - off);
    c->in_len -= off;
    if (c->in_len == IN_SIZE && !off) { // a head that is too long
        drop(c);
        return -1;
    }
    return c->out_len || c->body_len || c->closing ? flush(c) : 1;
}

static void readable(struct conn *c) {
    ssize_t n = read(c->fd, c->in + c->in_len, IN_SIZE - c->in_len);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN)
            drop(c);
        return;
    }
    c->in_len += n;
    size_t before;
    do { // more than one answer may wait for the same bytes
        before = c->in_len;
    } while (work(c) == 1 && c->in_len && c->in_len < before);
}

static void accept_all(int listener) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct conn *c = fd < MAX_FDS ? calloc(1, sizeof *c) : NULL;
        if (!c) {
            close(fd);
            continue;
        }
        c->fd = fd;
        conns[fd] = c;
        struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
            die("epoll_ctl");
    }
}

int main(int argc, char **argv) {
    if (argc != 2)
        return fprintf(stderr, "usage: upstream PORT\n"), 2;
    signal(SIGPIPE, SIG_IGN);
    fill_body();
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (struct sockaddr *)&a, sizeof a) < 0 || listen(listener, 4096) < 0)
        die("listen");
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = listener}, events[EVENTS];
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &ev) < 0)
        die("epoll_ctl");
    for (;;) {
        int n = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                accept_all(fd);
                continue;
            }
            struct conn *c = conns[fd];
            if (!c)
                continue;
            if (events[i].events & EPOLLOUT) {
                if (flush(c) == 1 && c->in_len)
                    work(c);
            } else {
                readable(c);
            }
        }
    }
}
