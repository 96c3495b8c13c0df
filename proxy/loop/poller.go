//go:build linux

package loop

import (
	"fmt"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// batch is how many events one system call may bring: enough that its cost vanishes,
// few enough that the timers do not have to wait.
const batch = 256

// allEvents is what a connection is registered for, once.
const allEvents = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET

// poller asks the kernel which descriptors are ready.
type poller struct {
	epoll  int
	event  int    // eventfd(2), to wake the loop
	asked  uint64 // how often the kernel has told what is ready
	full   bool   // it told as much as fits: there may be events that we do not know of
	events [batch]unix.EpollEvent
}

func newPoller() (*poller, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create epoll: %w", err)
	}
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		closeDescriptor(epoll)
		return nil, fmt.Errorf("create eventfd: %w", err)
	}
	p := &poller{epoll: epoll, event: event}
	// Edge-triggered: it need not be read before the counter is full.
	err = unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, event, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(event)})
	if err != nil {
		p.close()
		return nil, fmt.Errorf("watch eventfd: %w", err)
	}
	return p, nil
}

func (p *poller) close() {
	closeDescriptor(p.event)
	closeDescriptor(p.epoll)
}

// wake makes wait return. Any goroutine may call it.
func (p *poller) wake() {
	one := uint64(1)
	_, _, _ = unix.RawSyscall(unix.SYS_WRITE, uintptr(p.event), uintptr(unsafe.Pointer(&one)), unsafe.Sizeof(one))
}

// add registers a descriptor. epoch comes back with its events.
func (p *poller) add(fd int, epoch uint32) error {
	event := unix.EpollEvent{Events: allEvents, Fd: int32(fd), Pad: int32(epoch)}
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(p.epoll), unix.EPOLL_CTL_ADD, uintptr(fd), uintptr(unsafe.Pointer(&event)), 0, 0)
	if errno != 0 {
		return fmt.Errorf("watch descriptor: %w", errno)
	}
	return nil
}

// remove makes the poller forget a descriptor that stays open.
func (p *poller) remove(fd int) {
	_, _, _ = unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(p.epoll), unix.EPOLL_CTL_DEL, uintptr(fd), 0, 0, 0)
}

// poll returns the events that are there.
func (p *poller) poll() []unix.EpollEvent { return p.pause(0) }

// pause waits for events, at most as many milliseconds, without telling the
// scheduler. Telling it costs more than an exchange: its monitor wakes every 20 µs, takes
// the processor away, and we get it back. So the processor is not free for others
// meanwhile. A signal ends the wait: the monitor sends one every 10 ms, and who has to stop
// all goroutines, as the garbage collector, at once, and another one every 100 µs if that
// came too soon.
func (p *poller) pause(milliseconds int) []unix.EpollEvent {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.epoll), uintptr(unsafe.Pointer(&p.events)), batch, uintptr(milliseconds), 0, 0)
	if errno != 0 {
		return nil // EINTR
	}
	return p.told(int(n))
}

// rest lets events gather for d if none is there yet, without telling the scheduler, and returns
// those that are there. A signal ends it.
func (p *poller) rest(d time.Duration) []unix.EpollEvent {
	if events := p.poll(); len(events) > 0 {
		return events
	}
	limit := unix.NsecToTimespec(int64(d))
	_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&limit)), 0, 0)
	return p.poll()
}

// wait waits for events, at most as many milliseconds; without end if negative. The
// scheduler gives our processor to others meanwhile.
func (p *poller) wait(milliseconds int) []unix.EpollEvent {
	n, _, errno := syscall.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.epoll), uintptr(unsafe.Pointer(&p.events)), batch, uintptr(milliseconds), 0, 0)
	if errno != 0 {
		return nil // EINTR
	}
	return p.told(int(n))
}

// told takes note of n events.
func (p *poller) told(n int) []unix.EpollEvent {
	p.asked++
	p.full = n == batch
	return p.events[:n]
}
