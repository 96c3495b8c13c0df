package main

import (
	"bufio"
	"bytes"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// programFile is what the process has mapped of its program: text and constants.
type programFile struct {
	statm *os.File // nil until it was read
	tried bool     // onePageAtATime was done
	dense error    // why pages still come back with their neighbours; nil if they don't
}

// unmap lets go of the pages. They stay in the kernel's page cache, which can drop them
// when memory is short, and those that are used come back, at a microsecond each. Starting
// touches ten times as many as serving does. Failing costs nothing but memory.
func (f *programFile) unmap() {
	parts := f.parts()
	if !f.tried {
		f.tried, f.dense = true, onePageAtATime(parts)
	}
	for _, part := range parts {
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, part.start, part.size, unix.MADV_DONTNEED)
	}
}

// resident returns how much of it is in memory, in bytes; 0 is not known. It counts what else
// is mapped of files, which is next to nothing.
func (f *programFile) resident() uint64 {
	if f.statm == nil {
		statm, err := os.Open("/proc/self/statm")
		if err != nil {
			return 0
		}
		f.statm = statm // for as long as the process lives
	}
	var text [128]byte
	// Without telling the scheduler, whose monitor would wake for it each time.
	n, _, failed := unix.RawSyscall6(unix.SYS_PREAD64, f.statm.Fd(), uintptr(unsafe.Pointer(&text)), unsafe.Sizeof(text), 0, 0, 0)
	if failed != 0 {
		return 0
	}
	fields := bytes.Fields(text[:n])
	if len(fields) < 3 {
		return 0
	}
	pages, err := strconv.ParseUint(string(fields[2]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * uint64(os.Getpagesize()) //nolint:gosec // More than 0.
}

// pages are some that follow each other; both are in bytes.
type pages struct{ start, size uintptr }

func (f *programFile) parts() []pages {
	program, err := os.Executable()
	if err != nil {
		return nil
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return nil
	}
	defer maps.Close()
	var parts []pages
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		if part, ok := programPages(lines.Text(), program); ok {
			parts = append(parts, part)
		}
	}
	return parts
}

// Of <linux/userfaultfd.h>, which [unix] has not.
const (
	uffdVersion      = 0xaa
	uffdUserModeOnly = 1
	uffdWPAsync      = 1 << 15
	uffdModeWP       = 1 << 1
	uffdAPI          = 0xc018aa3f // _IOWR(0xaa, 0x3f, struct uffdio_api)
	uffdRegister     = 0xc020aa00 // _IOWR(0xaa, 0x00, struct uffdio_register)
)

// onePageAtATime has these pages come back one by one. The kernel maps a page's neighbours
// with it, sixteen or a whole folio of the page cache, which saves faults while starting;
// but what serving uses lies scattered over a large program, so that it would keep five
// times as much resident as it uses. The kernel leaves neighbours alone where userfaultfd
// may be told of faults. We ask to be told of writes, of which there are none in such
// pages, and in the mode in which the kernel settles those by itself: nobody has to listen.
//
// It needs Linux 6.7, and leave to call userfaultfd, which the usual seccomp profile of
// containers does not give. After an error neighbours come along as before.
func onePageAtATime(parts []pages) error {
	fd, _, failed := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|uffdUserModeOnly, 0, 0)
	if failed != 0 {
		return failed
	}
	api := struct{ version, features, ioctls uint64 }{version: uffdVersion, features: uffdWPAsync}
	if _, _, failed := unix.Syscall(unix.SYS_IOCTL, fd, uffdAPI, uintptr(unsafe.Pointer(&api))); failed != 0 {
		_ = unix.Close(int(fd)) // nothing was written to it
		return failed
	}
	for _, part := range parts {
		register := struct{ start, size, mode, ioctls uint64 }{start: uint64(part.start), size: uint64(part.size), mode: uffdModeWP}
		if _, _, failed := unix.Syscall(unix.SYS_IOCTL, fd, uffdRegister, uintptr(unsafe.Pointer(&register))); failed != 0 {
			_ = unix.Close(int(fd)) // likewise; the parts that were registered are not any more
			return failed
		}
	}
	return nil // fd stays open for as long as the process lives: closing it would undo this
}

// programPages reads a line of /proc/self/maps, and reports whether it is of pages
// that only mirror the program's file. Written ones are lost when they are let go.
func programPages(line, program string) (pages, bool) {
	fields := strings.Fields(line)
	if len(fields) != 6 || fields[5] != program || strings.Contains(fields[1], "w") {
		return pages{}, false
	}
	from, to, _ := strings.Cut(fields[0], "-")
	first, err := strconv.ParseUint(from, 16, 64)
	if err != nil {
		return pages{}, false
	}
	end, err := strconv.ParseUint(to, 16, 64)
	if err != nil || end <= first {
		return pages{}, false
	}
	return pages{start: uintptr(first), size: uintptr(end - first)}, true
}
