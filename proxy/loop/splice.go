//go:build linux

package loop

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
)

const (
	// minSplice is the rest of a body from which on splice(2) pays.
	minSplice = 64 << 10
	// pipeSize is what a pipe may hold: a few reads' worth of a fast connection.
	pipeSize = 256 << 10
	// keptPipes bounds the free pipes of a loop, which have two descriptors each.
	keptPipes = 16
)

// pipe is where bytes are inside the kernel between two sockets. The zero pipe is
// none.
type pipe struct{ r, w int }

// takePipe returns an empty pipe, or the zero one when there is none to be had.
func (l *loop) takePipe() pipe {
	if last := len(l.pipes) - 1; last >= 0 {
		p := l.pipes[last]
		l.pipes = l.pipes[:last]
		return p
	}
	var fds [2]int
	if unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK) != nil {
		return pipe{}
	}
	// Where the kernel gives less, it is less.
	_, _ = unix.FcntlInt(uintptr(fds[1]), unix.F_SETPIPE_SZ, pipeSize)
	return pipe{fds[0], fds[1]}
}

// putPipe takes a pipe back, with so many bytes in it.
func (l *loop) putPipe(p pipe, bytes int) {
	if bytes == 0 && len(l.pipes) < keptPipes {
		l.pipes = append(l.pipes, p)
	} else {
		p.close()
	}
}

func (l *loop) closePipes() {
	for _, p := range l.pipes {
		p.close()
	}
	l.pipes = nil
}

func (p pipe) close() {
	closeDescriptor(p.r)
	closeDescriptor(p.w)
}

// dropPipe gives the flight's pipe back, or closes it when something is left in it.
func (f *flight) dropPipe() {
	if f.pipe == (pipe{}) {
		return
	}
	f.loop.putPipe(f.pipe, f.piped)
	f.pipe, f.piped, f.spliced = pipe{}, 0, nil
}

// move splices up to n bytes.
func move(from, to, n int) (int, unix.Errno) {
	moved, _, errno := unix.RawSyscall6(unix.SYS_SPLICE, uintptr(from), uintptr(unsafe.Pointer(nil)),
		uintptr(to), uintptr(unsafe.Pointer(nil)), uintptr(n), unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
	return int(moved), errno
}

// spliceable decides whether the rest of the response goes from socket to socket
// inside the kernel, which costs less than half. What was read of it has been sent.
func (f *flight) spliceable(up *upstream) bool {
	if f.wire == nil || f.wire.secure != nil || f.response.Framing != h1.Length || f.response.Length-f.Report.Sent < minSplice {
		return false
	}
	f.wire.push() // the head
	if f.pipe = f.loop.takePipe(); f.pipe == (pipe{}) {
		return false
	}
	f.stage, f.spliced = splicing, up
	return true
}

// splice moves what can be moved of the rest of the response.
func (f *flight) splice() {
	for range 2 * piecesPerTurn {
		if f.piped == 0 && !f.spliceIn() {
			return
		}
		if !f.spliceOut() {
			return
		}
		if f.Report.Sent == f.response.Length {
			f.dropPipe()
			f.payload.Reset(h1.NoBody, 0, f.Settings.Limits) // it is done
			f.delivered()
			return
		}
	}
	f.down.resume()
}

// spliceIn fills the pipe, and reports whether something is in it.
func (f *flight) spliceIn() bool {
	if !f.spliced.readable || f.down.pending() > 0 {
		return false
	}
	left := f.response.Length - f.Report.Sent
	n, errno := move(f.spliced.fd, f.pipe.w, int(min(left, pipeSize)))
	switch {
	case errno == unix.EAGAIN:
		f.spliced.readable = false
		return false
	case errno == unix.EINTR:
		return f.spliceIn()
	case errno != 0, n == 0:
		f.attemptFails(exchange.CauseUpstreamReset)
		return false
	}
	f.piped = n
	f.progress, f.wire.moved = f.loop.now, f.loop.now
	return true
}

// spliceOut empties the pipe, and reports whether nothing is left in it.
func (f *flight) spliceOut() bool {
	d := f.wire
	for f.piped > 0 {
		if !d.writable {
			return false
		}
		n, errno := move(f.pipe.r, d.fd, f.piped)
		switch {
		case errno == unix.EAGAIN:
			d.writable = false
			return false
		case errno == unix.EINTR:
			continue
		case errno != 0:
			f.attemptFails(exchange.CauseClientGone)
			return false
		}
		f.piped -= n
		f.Report.Sent += int64(n)
		d.moved = f.loop.now
	}
	return true
}
