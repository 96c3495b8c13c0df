// The upstream of the gRPC case: HTTP/2 in the clear, one thread over epoll.
//
//   upstream_h2 PORT
//
// A unary call to /bench.Echo/Unary is answered with its own message, the field
// X-Request repeated, and grpc-status 0 in the trailers. GET /count says how many
// calls there were. Anything else is answered with 400.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_MESSAGE = 1024, ID_SIZE = 64, OUT_SIZE = 256 << 10, IN_SIZE = 64 << 10, EVENTS = 256, STREAMS = 1000 };

struct stream {
    int post, path, content_type, te, count; // what its head had
    size_t id_len, len, off;
    char id[ID_SIZE], message[MAX_MESSAGE];
};

struct conn {
    int fd, want_write;
    nghttp2_session *session;
    size_t out_len, out_off;
    uint8_t out[OUT_SIZE];
};

static int epoll_fd;
static uint64_t served;
static uint8_t in[IN_SIZE];

static void die(const char *what) {
    perror(what);
    exit(1);
}

static int is(const char *text, const uint8_t *at, size_t n) { return strlen(text) == n && !memcmp(text, at, n); }

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
    (void)user;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, calloc(1, sizeof(struct stream)));
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t n, const uint8_t *value, size_t len,
    uint8_t flags, void *user) {
    (void)flags, (void)user;
    struct stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!s)
        return 0;
    if (is(":method", name, n))
        s->post = is("POST", value, len);
    else if (is(":path", name, n))
        s->path = is("/bench.Echo/Unary", value, len), s->count = is("/count", value, len);
    else if (is("content-type", name, n))
        s->content_type = is("application/grpc", value, len);
    else if (is("te", name, n))
        s->te = is("trailers", value, len);
    else if (is("x-request", name, n) && len <= ID_SIZE)
        memcpy(s->id, value, len), s->id_len = len;
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t len, void *user) {
    (void)flags, (void)user;
    struct stream *s = nghttp2_session_get_stream_user_data(session, id);
    if (s && s->len + len <= MAX_MESSAGE)
        memcpy(s->message + s->len, data, len), s->len += len;
    else if (s)
        s->path = 0;
    return 0;
}

#define FIELD(name, value, len) {(uint8_t *)(name), (uint8_t *)(value), sizeof(name) - 1, (len), NGHTTP2_NV_FLAG_NONE}

static ssize_t read_message(nghttp2_session *session, int32_t id, uint8_t *out, size_t room, uint32_t *flags, nghttp2_data_source *source, void *user) {
    (void)user;
    struct stream *s = source->ptr;
    size_t n = s->len - s->off < room ? s->len - s->off : room;
    memcpy(out, s->message + s->off, n);
    s->off += n;
    if (s->off == s->len) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (!s->count) {
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            nghttp2_nv trailer = FIELD("grpc-status", "0", 1);
            nghttp2_submit_trailer(session, id, &trailer, 1);
        }
    }
    return n;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
    (void)user;
    if ((frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS) || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return 0;
    int32_t id = frame->hd.stream_id;
    struct stream *s = nghttp2_session_get_stream_user_data(session, id);
    if (!s)
        return 0;
    nghttp2_data_provider body = {.source.ptr = s, .read_callback = read_message};
    if (s->count) {
        s->len = snprintf(s->message, MAX_MESSAGE, "%llu", (unsigned long long)served);
        nghttp2_nv head[] = {FIELD(":status", "200", 3)};
        return nghttp2_submit_response(session, id, head, 1, &body);
    }
    if (!s->post || !s->path || !s->content_type || !s->te || !s->len) {
        nghttp2_nv head[] = {FIELD(":status", "400", 3)};
        return nghttp2_submit_response(session, id, head, 1, NULL);
    }
    served++;
    nghttp2_nv head[] = {FIELD(":status", "200", 3), FIELD("content-type", "application/grpc", 16), FIELD("x-request", s->id, s->id_len)};
    return nghttp2_submit_response(session, id, head, 3, &body);
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t code, void *user) {
    (void)code, (void)user;
    free(nghttp2_session_get_stream_user_data(session, id));
    return 0;
}

static void drop(struct conn *c) {
    nghttp2_session_del(c->session); // closes its streams without on_close: what they hold is lost, which is little
    close(c->fd);
    free(c);
}

// flush sends all that the session has to say. It returns -1 when the connection is
// gone.
static int flush(struct conn *c) {
    for (;;) {
        const uint8_t *data;
        ssize_t n;
        // A piece has at most a frame's 16 KiB.
        while (c->out_len + 32768 < OUT_SIZE && (n = nghttp2_session_mem_send(c->session, &data)) > 0)
            memcpy(c->out + c->out_len, data, n), c->out_len += n;
        if (c->out_off == c->out_len)
            break;
        n = send(c->fd, c->out + c->out_off, c->out_len - c->out_off, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0) {
            drop(c);
            return -1;
        }
        c->out_off += n;
        if (c->out_off == c->out_len)
            c->out_off = c->out_len = 0;
    }
    int want_write = c->out_off < c->out_len;
    if (want_write != c->want_write) {
        c->want_write = want_write;
        struct epoll_event ev = {.events = EPOLLIN | (want_write ? EPOLLOUT : 0), .data.ptr = c};
        epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &ev);
    }
    if (!want_write && !nghttp2_session_want_read(c->session) && !nghttp2_session_want_write(c->session)) {
        drop(c);
        return -1;
    }
    return 0;
}

static void handle(struct conn *c) {
    ssize_t n = recv(c->fd, in, IN_SIZE, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN) || (n > 0 && nghttp2_session_mem_recv(c->session, in, n) < 0)) {
        drop(c);
        return;
    }
    flush(c);
}

static void accept_all(int listener, nghttp2_session_callbacks *callbacks) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct conn *c = calloc(1, sizeof *c);
        c->fd = fd;
        nghttp2_session_server_new(&c->session, callbacks, c);
        nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS}};
        nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, 1);
        struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
            die("epoll_ctl");
        flush(c);
    }
}

int main(int argc, char **argv) {
    if (argc != 2)
        return fprintf(stderr, "usage: upstream_h2 PORT\n"), 2;
    signal(SIGPIPE, SIG_IGN);
    nghttp2_session_callbacks *callbacks;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (struct sockaddr *)&a, sizeof a) < 0 || listen(listener, 4096) < 0)
        die("listen");
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL}, events[EVENTS];
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &ev) < 0)
        die("epoll_ctl");
    for (;;) {
        int n = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (!c)
                accept_all(listener, callbacks);
            else if (events[i].events & EPOLLOUT)
                flush(c); // what came in is read at the next turn: level-triggered
            else
                handle(c);
        }
    }
}
