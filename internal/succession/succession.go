// Package succession lets processes of one machine follow each other. A [Seat] is a name
// that one process holds at a time. Others queue for it, and hear when it is free: at
// once, however its holder ended, as the kernel tells them. A holder may give something to
// those who come to queue.
//
// Seats are abstract Unix sockets (unix(7)): processes meet that are in one network
// namespace, as Pods with hostNetwork on one node are. Those of other users are nobody.
package succession

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

var (
	// ErrTaken says that another process holds the seat.
	ErrTaken = errors.New("another process of this machine has the seat")
	// ErrOtherUser says that a process of another user holds the seat, who gives us nothing.
	ErrOtherUser = errors.New("it is kept, until it ends, by a process of another user")
	// ErrFree says that nobody holds the seat.
	ErrFree = errors.New("no process of this machine has the seat")
)

const (
	// patience bounds what takes microseconds, for the case that a process was stopped.
	patience = 500 * time.Millisecond
	// acceptPause is waited after a failing accept, such as one without file descriptors.
	acceptPause = 10 * time.Millisecond
)

// Seat is held until Leave. Its methods are safe for concurrent use.
type Seat struct {
	listener *net.UnixListener
	greet    func(*net.UnixConn) error // or nil
	joined   chan struct{}             // holds a token when a process came to queue
	accepted chan struct{}             // closed when accept ended
	done     sync.WaitGroup            // our goroutines

	mu    sync.Mutex // guards what follows
	queue map[*net.UnixConn]struct{}
	left  bool
}

// Take takes the seat of a name, or returns [ErrTaken]. Greet, which may be nil, is called
// with each process that comes to queue, one after the other; an error sends it away.
func Take(name string, greet func(*net.UnixConn) error) (*Seat, error) {
	listener, err := listen(name)
	if err != nil {
		return nil, err
	}
	s := &Seat{listener: listener, greet: greet, joined: make(chan struct{}, 1), accepted: make(chan struct{}), queue: map[*net.UnixConn]struct{}{}}
	s.done.Go(s.accept)
	return s, nil
}

// Queued is how many processes wait for the seat.
func (s *Seat) Queued() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue)
}

// LastCall waits for at most d until a process waits for the seat. Then it lets nobody
// queue any more, and reports whether one waits: those who came before are known by then.
// Who comes until Leave finds the seat neither free nor taken ([ErrTaken] and [ErrFree]),
// and has to try again.
func (s *Seat) LastCall(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for waiting := true; waiting && s.Queued() == 0; {
		select {
		case <-s.joined: // and it may be gone again
		case <-timer.C:
			waiting = false
		}
	}
	err := errors.Join(shut(s.listener), s.listener.SetDeadline(time.Now()))
	select {
	case <-s.accepted:
	case <-time.After(patience):
		return true // who knows
	}
	came, restErr := rest(s.listener)
	for _, conn := range came {
		s.welcome(conn)
	}
	return errors.Join(err, restErr) != nil || s.Queued() > 0
}

// Leave frees the seat, which those hear who wait for it. Calls after the first do nothing.
func (s *Seat) Leave() {
	s.mu.Lock()
	left := s.left
	s.left = true
	s.mu.Unlock()
	if left {
		return
	}
	_ = s.listener.Close() // nothing is buffered
	s.mu.Lock()
	for conn := range s.queue {
		_ = conn.Close()
	}
	s.mu.Unlock()
	s.done.Wait()
}

// accept lets processes queue until the listener is closed, or the last call was made.
func (s *Seat) accept() {
	defer close(s.accepted)
	for {
		conn, err := s.listener.AcceptUnix()
		switch {
		case err == nil:
			s.welcome(conn)
		case errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded):
			return
		default:
			time.Sleep(acceptPause)
		}
	}
}

// welcome lets a process queue.
func (s *Seat) welcome(conn *net.UnixConn) {
	if err := checkUser(conn); err != nil {
		_ = conn.Close()
		return
	}
	if s.greet != nil {
		_ = conn.SetWriteDeadline(time.Now().Add(patience))
		if err := s.greet(conn); err != nil {
			_ = conn.Close()
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left {
		_ = conn.Close()
		return
	}
	s.queue[conn] = struct{}{}
	select {
	case s.joined <- struct{}{}:
	default:
	}
	s.done.Go(func() {
		_, _ = conn.Read(make([]byte, 1)) // it says nothing, and then it is gone, or we are
		_ = conn.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.queue, conn)
	})
}

// Queue joins those who wait for the seat of a name, or returns [ErrFree]. What is read from
// the connection is what the holder gives; at its end the seat is, or will be in a moment, free. Closing it leaves
// the queue.
func Queue(name string) (*net.UnixConn, error) {
	conn, err := dial(name)
	if err != nil {
		return nil, err
	}
	if err := checkUser(conn); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}
