package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lintel-dev/lintel/manifest"
)

// A Lintel that gets SIGUSR2 starts what is at its own path by then, with its own arguments
// and variables, and drains as soon as that one is ready. Sockets, addresses of pools and
// the admin address go to it as they do to any replica (share-sockets).

const (
	// predecessorVariable holds the descriptor that the one who started us reads whether we
	// are ready from. It is no setting.
	predecessorVariable = "PREDECESSOR_OF_LINTEL"
	// upgradePatience is how long the new one may take to get ready: it may have to wait
	// for an API server.
	upgradePatience = time.Minute
)

// awaitUpgrade follows SIGUSR2 until ctx ends, and calls drain when another Lintel serves.
func (p *process) awaitUpgrade(ctx context.Context, drain func()) error {
	path, err := ownPath()
	if err != nil {
		p.log.Warn("this program can't upgrade itself", "error", err)
		return nil
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR2)
	defer signal.Stop(asked)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-asked:
		}
		if err := p.mayUpgrade(); err != nil {
			p.log.Error("no upgrade", "error", err)
			continue
		}
		p.log.Info("upgrade: starting the new program", "path", path)
		pid, err := startSuccessor(ctx, path)
		if err != nil {
			p.log.Error("no upgrade", "error", err)
			continue
		}
		p.log.Info("upgrade: the new program serves", "pid", pid)
		p.notify("MAINPID=" + strconv.Itoa(pid))
		drain()
	}
}

// mayUpgrade says why another program can't take our place.
func (p *process) mayUpgrade() error {
	switch {
	case !p.settings.ShareSockets:
		return errors.New("it needs share-sockets=on, so that the new program gets the sockets of this one")
	case p.settings.Manifests == manifest.Stdin:
		return errors.New("the manifests came by standard input, which the new program does not have")
	case os.Getpid() == 1:
		return errors.New("this program is the first of its container, which would end with it: replace the container")
	}
	return nil
}

// ownPath is where this program was started from: another one may be there by now.
func ownPath() (string, error) {
	if path, err := exec.LookPath(os.Args[0]); err == nil {
		return filepath.Abs(path)
	}
	return os.Executable()
}

// startSuccessor starts a program, and returns when it is ready. Otherwise it has ended.
func startSuccessor(ctx context.Context, path string) (pid int, err error) {
	hears, says, err := os.Pipe()
	if err != nil {
		return 0, fmt.Errorf("make pipe: %w", err)
	}
	defer hears.Close()
	cmd := exec.Command(path, os.Args[1:]...) //nolint:gosec // It is ourselves.
	cmd.Args[0] = os.Args[0]
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{says} // descriptor 3
	cmd.Env = append(os.Environ(), predecessorVariable+"=3")
	err = cmd.Start()
	_ = says.Close() // so that the other end hears the program's end
	if err != nil {
		return 0, fmt.Errorf("start program: %w", err)
	}
	_ = hears.SetReadDeadline(time.Now().Add(upgradePatience))
	defer context.AfterFunc(ctx, func() { _ = hears.SetReadDeadline(time.Now()) })()
	_, err = hears.Read(make([]byte, 1))
	if err == nil {
		pid = cmd.Process.Pid
		return pid, cmd.Process.Release()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		err = fmt.Errorf("the new program was not ready within %v", upgradePatience)
	} else {
		err = errors.New("the new program has ended; its log says why")
	}
	_ = cmd.Wait() // how it ended is not the point
	return 0, err
}

// predecessor returns what to tell that we are ready, nil if nobody waits for it.
func predecessor() *os.File {
	text := os.Getenv(predecessorVariable)
	_ = os.Unsetenv(predecessorVariable)
	fd, err := strconv.Atoi(text)
	if err != nil || fd < 3 {
		return nil
	}
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "predecessor")
}
