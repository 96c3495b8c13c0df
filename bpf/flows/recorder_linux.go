package flows

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/lintel-dev/lintel/bpf"
)

// pause is how long a record may wait. Reading costs nothing while there is none, and half
// a million connections a second would fill the ring in ten pauses of this.
const pause = 100 * time.Millisecond

// Needs are those of the program.
func Needs() bpf.Needs {
	return bpf.Needs{
		Programs: []bpf.Program{{Type: ebpf.SockOps, Since: "4.13"}},
		Maps:     []ebpf.MapType{ebpf.SkStorage, ebpf.RingBuf},
		Helpers: []bpf.Helper{
			{Program: ebpf.SockOps, Function: asm.FnSkStorageGet, Since: "5.8"},
			{Program: ebpf.SockOps, Function: asm.FnRingbufReserve, Since: "5.8"},
		},
	}
}

// Recorder records the connections of a cgroup until it is closed.
type Recorder struct {
	objects  programObjects
	attached link.Link
	reader   *ringbuf.Reader
	lost     uint64 // that were told of
	once     sync.Once
}

// Attach begins to record. The error wraps bpf.ErrUnavailable if it can't be done here, which
// the probe of Needs tells better.
func Attach(o Options) (*Recorder, error) {
	if _, err := os.Stat(o.Cgroup); err != nil {
		return nil, bpf.Unavailable("there is no such cgroup: %w", err)
	}
	spec, err := loadProgram()
	if err != nil {
		return nil, fmt.Errorf("read flow program: %w", err)
	}
	if o.Ring > 0 {
		spec.Maps[programMapLtFlowRing].MaxEntries = uint32(o.Ring) //nolint:gosec // The kernel refuses what is too large.
	}
	bpf.LiftLockedMemory()
	r := &Recorder{}
	if err := spec.LoadAndAssign(&r.objects, nil); err != nil {
		return nil, fmt.Errorf("load flow program: %w", refused(err))
	}
	r.reader, err = ringbuf.NewReader(r.objects.LtFlowRing)
	if err != nil {
		_ = r.objects.Close() // that of the reader says more
		return nil, fmt.Errorf("read ring of flows: %w", err)
	}
	r.attached, err = link.AttachCgroup(link.CgroupOptions{Path: o.Cgroup, Attach: ebpf.AttachCGroupSockOps, Program: r.objects.LtFlows})
	if err != nil {
		_ = r.release() // likewise
		return nil, fmt.Errorf("attach flow program to %s: %w", o.Cgroup, refused(err))
	}
	return r, nil
}

// refused says that what the kernel does not permit is not available.
func refused(err error) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, ebpf.ErrNotSupported) {
		return bpf.Unavailable("the kernel refuses: %w", err)
	}
	return err
}

// Run tells of connections that ended, several times a second, until ctx ends, and then of
// those that ended before. It closes the Recorder.
func (r *Recorder) Run(ctx context.Context, to Receiver) error {
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if err := r.read(to); err != nil {
				return errors.Join(err, r.Close())
			}
		case <-ctx.Done():
			err := r.attached.Close() // nothing is added any more
			return errors.Join(err, r.read(to), r.Close())
		}
	}
}

// read tells of what there is.
func (r *Recorder) read(to Receiver) error {
	if r.reader.AvailableBytes() > 0 {
		now := clock{now: time.Now(), monotonic: monotonic()}
		var raw ringbuf.Record
		r.reader.SetDeadline(now.now) // what is there, and no more
		for {
			err := r.reader.ReadInto(&raw)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return fmt.Errorf("read ring of flows: %w", err)
			}
			if len(raw.RawSample) < recordSize {
				return fmt.Errorf("read ring of flows: a record has %d bytes, not %d", len(raw.RawSample), recordSize)
			}
			f := (*programLtFlow)(unsafe.Pointer(unsafe.SliceData(raw.RawSample))).flow(now) //nolint:gosec // Its size was checked.
			to.Flow(&f)
		}
	}
	lost, err := r.Lost()
	if err != nil {
		return err
	}
	if lost > r.lost {
		to.Lost(lost - r.lost)
		r.lost = lost
	}
	return nil
}

// Lost is how many connections have no record since the Recorder was attached: the ring was
// full, or the kernel had no memory.
func (r *Recorder) Lost() (uint64, error) {
	var value [8]byte
	if err := r.objects.LtFlowsLost.Lookup(uint32(0), &value); err != nil {
		return 0, fmt.Errorf("read lost flows: %w", err)
	}
	return binary.NativeEndian.Uint64(value[:]), nil
}

// Close ends the recording. Calls after the first do nothing.
func (r *Recorder) Close() (err error) {
	r.once.Do(func() {
		err = errors.Join(r.attached.Close(), r.release())
	})
	return err
}

func (r *Recorder) release() error { return errors.Join(r.reader.Close(), r.objects.Close()) }

// monotonic is the clock that programs read.
func monotonic() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err) // every Linux has it
	}
	return t.Nano()
}

// Attached says of a cgroup that some process records its connections. Without
// CAP_SYS_ADMIN it can't be told whose a program is: then the error is EPERM.
func Attached(cgroup string) (bool, error) {
	folder, err := os.Open(cgroup)
	if err != nil {
		return false, err
	}
	defer folder.Close()
	result, err := link.QueryPrograms(link.QueryOptions{Target: int(folder.Fd()), Attach: ebpf.AttachCGroupSockOps})
	if err != nil {
		return false, fmt.Errorf("list programs of %s: %w", cgroup, err)
	}
	for _, p := range result.Programs {
		program, err := ebpf.NewProgramFromID(p.ID)
		if errors.Is(err, syscall.ENOENT) {
			continue // it has gone
		}
		if err != nil {
			return false, err
		}
		info, err := program.Info()
		_ = program.Close() // it was only looked at
		if err != nil {
			return false, err
		}
		if info.Name == programProgLtFlows {
			return true, nil
		}
	}
	return false, nil
}
