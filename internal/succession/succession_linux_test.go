package succession

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

const nameVariable = "LINTEL_TEST_SEAT"

func TestMain(m *testing.M) {
	if name := os.Getenv(nameVariable); name != "" {
		if _, err := Take(name, nil); err != nil {
			panic(err)
		}
		_, _ = os.Stdout.WriteString("held\n")
		select {} // until it is killed
	}
	os.Exit(m.Run())
}

func seatName(t *testing.T) string {
	return "lintel-test/" + t.Name() + "/" + time.Now().Format("150405.000000000")
}

// await waits for what another goroutine does.
func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 10 s", what)
		}
	}
}

func TestASeatHasOneHolderAndAQueue(t *testing.T) {
	name := seatName(t)
	if _, err := Queue(name); !errors.Is(err, ErrFree) {
		t.Fatalf("queue for a seat that nobody holds: %v", err)
	}
	first, err := Take(name, func(conn *net.UnixConn) error { _, err := conn.Write([]byte("hello")); return err })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Take(name, nil); !errors.Is(err, ErrTaken) {
		t.Fatalf("take a seat that is held: %v", err)
	}
	waits, err := Queue(name)
	if err != nil {
		t.Fatal(err)
	}
	defer waits.Close()
	gone, err := Queue(name)
	if err != nil {
		t.Fatal(err)
	}
	await(t, "both queue", func() bool { return first.Queued() == 2 })
	gone.Close()
	await(t, "one queues", func() bool { return first.Queued() == 1 })
	first.Leave()
	first.Leave()
	if got, err := io.ReadAll(waits); err != nil || string(got) != "hello" {
		t.Errorf("heard %q, %v", got, err)
	}
	second, err := Take(name, nil)
	if err != nil {
		t.Fatalf("take a seat that was left: %v", err)
	}
	second.Leave()
}

func queue(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	conn, err := Queue(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// The last call knows of everybody who queued before, though the holder was not told yet.
// Who comes later is told to try again.
func TestLastCall(t *testing.T) {
	name := seatName(t)
	greeting, busy := make(chan struct{}, 100), make(chan struct{})
	seat, err := Take(name, func(*net.UnixConn) error {
		greeting <- struct{}{}
		<-busy
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer seat.Leave()
	first := queue(t, name)
	<-greeting
	second := queue(t, name) // the holder is busy with the first
	called := make(chan bool, 1)
	go func() { called <- seat.LastCall(-time.Second) }()
	await(t, "nobody can queue", func() bool {
		late, err := Queue(name)
		if err == nil {
			late.Close()
		}
		return errors.Is(err, ErrFree)
	})
	if _, err := Take(name, nil); !errors.Is(err, ErrTaken) {
		t.Errorf("take a seat before it is left: %v", err)
	}
	first.Close()
	close(busy)
	if !<-called {
		t.Error("nobody waits, though one came before the last call")
	}
	seat.Leave()
	if _, err := io.ReadAll(second); err != nil {
		t.Error(err)
	}
}

// The last call waits for those who are about to come, and not for those who are gone.
func TestLastCallWaits(t *testing.T) {
	name := seatName(t)
	seat, err := Take(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer seat.Leave()
	gone := queue(t, name)
	await(t, "one queues", func() bool { return seat.Queued() == 1 })
	gone.Close()
	await(t, "nobody queues", func() bool { return seat.Queued() == 0 })
	called := make(chan bool, 1)
	go func() { called <- seat.LastCall(10 * time.Second) }()
	queue(t, name)
	if !<-called {
		t.Error("nobody waits, though one came")
	}
}

func TestLastCallForNobody(t *testing.T) {
	seat, err := Take(seatName(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer seat.Leave()
	if seat.LastCall(time.Millisecond) {
		t.Error("somebody waits, and nobody came")
	}
}

// Those who queue hear that the holder was killed.
func TestASeatIsFreeWhenItsHolderIsKilled(t *testing.T) {
	name := seatName(t)
	holder := exec.CommandContext(t.Context(), os.Args[0])
	holder.Env = append(os.Environ(), nameVariable+"="+name)
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	waits, err := Queue(name)
	if err != nil {
		t.Fatal(err)
	}
	defer waits.Close()
	if err := holder.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if words, _ := io.ReadAll(waits); len(words) != 0 {
		t.Errorf("heard %q of a holder that was killed", words)
	}
	_ = holder.Wait()
	seat, err := Take(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	seat.Leave()
}

// What another user's process says is not heard, and it gets nothing.
func TestAnotherUserIsNobody(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to be another user")
	}
	name := seatName(t)
	holder := exec.CommandContext(t.Context(), "/proc/self/exe")
	holder.Env = append(os.Environ(), nameVariable+"="+name)
	holder.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65533, Gid: 65533}, Pdeathsig: syscall.SIGKILL}
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Process.Kill(); _ = holder.Wait() }()
	if _, err := out.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	if _, err := Queue(name); !errors.Is(err, ErrOtherUser) {
		t.Errorf("queued for the seat of another user: %v", err)
	}
}
