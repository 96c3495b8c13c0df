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
	first, err := Take(name, func(conn *net.UnixConn) error { _, err := conn.Write([]byte("hello,")); return err })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Take(name, nil); !errors.Is(err, ErrTaken) {
		t.Fatalf("take a seat that is held: %v", err)
	}
	if first.AwaitQueue(time.Millisecond) {
		t.Error("somebody queues before anybody came")
	}
	queued := make(chan bool, 1)
	go func() { queued <- first.AwaitQueue(10 * time.Second) }()
	waits, err := Queue(name)
	if err != nil {
		t.Fatal(err)
	}
	defer waits.Close()
	if !<-queued {
		t.Error("nobody queues")
	}
	gone, err := Queue(name)
	if err != nil {
		t.Fatal(err)
	}
	await(t, "both queue", func() bool { return first.Queued() == 2 })
	gone.Close()
	await(t, "one queues", func() bool { return first.Queued() == 1 })
	first.Leave([]byte("farewell"))
	first.Leave([]byte("again"))
	if got, err := io.ReadAll(waits); err != nil || string(got) != "hello,farewell" {
		t.Errorf("heard %q, %v", got, err)
	}
	second, err := Take(name, nil)
	if err != nil {
		t.Fatalf("take a seat that was left: %v", err)
	}
	second.Leave(nil)
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
	seat.Leave(nil)
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
	if _, err := Queue(name); err == nil || errors.Is(err, ErrFree) {
		t.Errorf("queued for the seat of another user: %v", err)
	}
}
