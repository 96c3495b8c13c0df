// Package succession lets processes of one machine follow each other. A [Seat] is a name
// that one process holds at a time. Others queue for it, and hear when it is free: at
// once, however its holder ended, as the kernel tells them. A holder may give something to
// those who queue when they come, and when it leaves.
//
// Seats are abstract Unix sockets (unix(7)): processes meet that are in one network
// namespace, as Pods with hostNetwork on one node are. Those of other users are nobody.
package succession

import (
	"errors"
	"net"
	"sync"
	"time"
)

var (
	// ErrTaken says that another process holds the seat.
	ErrTaken = errors.New("another process of this machine has the seat")
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
	s := &Seat{listener: listener, greet: greet, joined: make(chan struct{}, 1), queue: map[*net.UnixConn]struct{}{}}
	s.done.Go(s.accept)
	return s, nil
}

// Queued is how many processes wait for the seat.
func (s *Seat) Queued() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue)
}

// AwaitQueue waits for at most d until a process waits for the seat, and tells whether one
// does.
func (s *Seat) AwaitQueue(d time.Duration) bool {
	patience := time.NewTimer(d)
	defer patience.Stop()
	for s.Queued() == 0 {
		select {
		case <-s.joined: // and it may be gone again
		case <-patience.C:
			return s.Queued() > 0
		}
	}
	return true
}

// Leave frees the seat, and then says the words to those who wait for it. Calls after the
// first do nothing.
func (s *Seat) Leave(words []byte) {
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
		_ = conn.SetWriteDeadline(time.Now().Add(patience))
		_, _ = conn.Write(words) // who is gone needs none
		_ = conn.Close()
	}
	s.mu.Unlock()
	s.done.Wait()
}

func (s *Seat) accept() {
	for {
		conn, err := s.listener.AcceptUnix()
		switch {
		case err == nil:
			s.welcome(conn)
		case errors.Is(err, net.ErrClosed):
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
// the connection is what the holder gives; at its end the seat is free. Closing it leaves
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
