package proxy

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/lintel-dev/lintel/internal/succession"
)

// Processes of one machine that have the same [Settings.Share] have their listening sockets
// between them, so that one can end without a client's noticing while another serves. Who
// wants a socket that another has open gets that very socket: there is one queue of
// connections, which all of them accept from, and none is lost when one of them closes
// it. SO_REUSEPORT would give each a queue of its own, whose connections are reset with it
// (net.ipv4.tcp_migrate_req is off by default and belongs to the network namespace), and would
// let any process of the same user in.
//
// Of the processes that have a socket one keeps it: it has the seat (package succession) of
// the socket's name, and gives the socket to who comes to queue. Only the keeper reads from
// a UDP socket, as sessions and connections are known to one process.

const (
	// shareAttempts and sharePause are for sockets that change hands just now: another
	// process closes one, or is about to take its seat.
	shareAttempts = 4
	sharePause    = 3 * time.Millisecond
	// sharePatience bounds the wait for a process that was stopped.
	sharePatience = 500 * time.Millisecond
	// shareSlowest is the longest pause while a socket changes hands: something is wrong
	// then, such as too few file descriptors, here or where it is kept.
	shareSlowest = time.Second
)

// shared is our part in a listening socket.
type shared struct {
	name  string // of the seat; "" shares with nobody
	log   *slog.Logger
	inner bool          // it is not bound to what it listens to
	keeps chan struct{} // closed when this process keeps the socket
	gone  chan struct{} // closed with left

	mu     sync.Mutex // guards what follows
	socket syscall.RawConn
	seat   *succession.Seat // nil unless we keep it
	queue  *net.UnixConn    // nil unless another does
	left   bool

	following sync.WaitGroup
}

// openShared opens a socket that the processes of a share have between them; without a
// share it is ours alone. The name is that of the socket. What it returns is left before
// the socket is closed.
func openShared[S listening](s *Settings, name string, from origin[S]) (S, *shared, error) {
	h := &shared{keeps: make(chan struct{}), gone: make(chan struct{}), log: s.Log}
	if s.Share == "" {
		socket, inner, err := from.open()
		h.inner = inner
		close(h.keeps)
		return socket, h, err
	}
	h.name = "lintel/socket/" + s.Share + "/" + name
	var none S
	var failure error
	for attempt := range shareAttempts {
		time.Sleep(time.Duration(attempt) * sharePause)
		socket, err := bindShared(h, from)
		if errors.Is(err, succession.ErrTaken) {
			socket, err = askFor(h, from)
		}
		if err == nil {
			return socket, h, nil
		}
		failure = err
		if !changesHands(err) {
			break
		}
	}
	return none, nil, failure
}

// changesHands reports whether a socket may be had in a moment that could not be had now.
func changesHands(err error) bool {
	return errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, succession.ErrFree) || errors.Is(err, succession.ErrTaken) ||
		errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
}

// bindShared opens the socket for all, and keeps it.
func bindShared[S listening](h *shared, from origin[S]) (S, error) {
	var none S
	bound := make(chan struct{})
	seat, err := succession.Take(h.name, func(conn *net.UnixConn) error {
		<-bound
		return h.give(conn)
	})
	if err != nil {
		close(bound)
		return none, err
	}
	socket, inner, err := from.open()
	if err == nil {
		h.inner = inner
		err = h.isConn(socket)
	}
	close(bound)
	if err != nil {
		seat.Leave()
		return none, err
	}
	h.seat = seat
	close(h.keeps)
	return socket, nil
}

// askFor gets the socket from the process that keeps it.
func askFor[S listening](h *shared, from origin[S]) (S, error) {
	var none S
	queue, err := succession.Queue(h.name)
	if err != nil {
		return none, err
	}
	_ = queue.SetReadDeadline(time.Now().Add(sharePatience))
	file, inner, err := receiveFile(queue)
	if err != nil {
		_ = queue.Close()
		return none, fmt.Errorf("get socket from another replica on this machine: %w", err)
	}
	defer file.Close()
	_ = queue.SetReadDeadline(time.Time{})
	socket, inner, err := from.take(file, inner)
	if err == nil {
		h.inner = inner
		err = h.isConn(socket)
	}
	if err != nil {
		_ = queue.Close()
		return none, fmt.Errorf("take over socket: %w", err)
	}
	h.queue = queue
	h.following.Go(h.follow)
	return socket, nil
}

// isConn says what the socket is.
func (h *shared) isConn(socket syscall.Conn) error {
	wire, err := socket.SyscallConn()
	if err == nil {
		h.is(wire)
	}
	return err
}

// is says that the socket is another object now.
func (h *shared) is(socket syscall.RawConn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.socket = socket
}

// give sends the socket to another process.
func (h *shared) give(conn *net.UnixConn) error {
	h.mu.Lock()
	socket := h.socket
	h.mu.Unlock()
	if socket == nil {
		return net.ErrClosed // it could not be opened
	}
	var sendErr error
	err := socket.Control(func(fd uintptr) { sendErr = sendFile(conn, int(fd), h.inner) })
	return errors.Join(err, sendErr)
}

// follow waits for the socket's keeper to leave, and then keeps it, or waits for the next.
func (h *shared) follow() {
	for pause := sharePause; ; pause = min(2*pause, shareSlowest) {
		begun := time.Now()
		h.mu.Lock()
		queue := h.queue
		h.mu.Unlock()
		_, _ = io.Copy(io.Discard, queue)
		_ = queue.Close()
		if time.Since(begun) >= shareSlowest {
			pause = sharePause
		}
		over, err := h.trySucceed()
		if over {
			return
		}
		if pause < shareSlowest && 2*pause >= shareSlowest { // once
			h.log.Warn("socket is served, but it is not known who keeps it next", "seat", h.name, "err", err)
		}
		select {
		case <-time.After(pause): // it changes hands
		case <-h.gone:
		}
	}
}

// trySucceed keeps the socket, or queues for it again; over says that there is nothing more
// to wait for. An error says why neither could be.
func (h *shared) trySucceed() (over bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.left {
		return true, nil
	}
	seat, err := succession.Take(h.name, h.give)
	if err == nil {
		h.seat, h.queue = seat, nil
		close(h.keeps)
		return true, nil
	}
	queue, queueErr := succession.Queue(h.name)
	if queueErr != nil {
		return false, errors.Join(err, queueErr)
	}
	h.queue = queue // the socket that comes is the one that we have
	return false, nil
}

// wanted reports whether another process goes on with the socket when we leave it.
func (h *shared) wanted() bool {
	if h.name == "" {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.queue != nil || h.seat != nil && h.seat.Queued() > 0
}

// leave gives the socket up to the others.
func (h *shared) leave() {
	if h == nil || h.name == "" {
		return
	}
	h.mu.Lock()
	if !h.left {
		h.left = true
		close(h.gone)
	}
	seat, queue := h.seat, h.queue
	h.mu.Unlock()
	if seat != nil {
		seat.Leave()
	}
	if queue != nil {
		_ = queue.Close()
	}
	h.following.Wait()
}
