package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lintel-dev/lintel/bpf/bpftest"
	"github.com/lintel-dev/lintel/bpf/socketlb"
)

const balancedService = `apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {clusterIP: 198.18.0.10, externalIPs: [192.0.2.10], ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8080}]
endpoints: [{addresses: [%s]}]
`

// TestSocketsOfOurOwnCgroup runs Lintel in a cgroup in which others are, too.
func TestSocketsOfOurOwnCgroup(t *testing.T) {
	if testing.Short() || !inNamespace(t) {
		return
	}
	bpftest.Require(t, socketlb.Needs().Probe())
	bpftest.NothingLeft(t, "lb_")
	bpftest.Enter(t, bpftest.Cgroup(t))
	for _, at := range []string{"127.0.0.2:8080", "127.0.0.3:8080"} {
		answerWithAddress(t, at)
	}
	manifests := filepath.Join(t.TempDir(), "service.yaml")
	write := func(endpoint string) {
		t.Helper()
		if err := os.WriteFile(manifests, fmt.Appendf(nil, balancedService, endpoint), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(to, want string) {
		t.Helper()
		untilNil(t, to+" is "+want, func() error {
			answer, err := dialAndRead(to)
			if err == nil && answer != want {
				err = fmt.Errorf("%s answers", answer)
			}
			return err
		})
	}
	write("127.0.0.2")
	stop := startRun(t, "--manifests="+manifests, "--admin-address=", "--access-log=off", "--http-port=0", "--https-port=0")
	expect("198.18.0.10:80", "127.0.0.2:8080")
	expect("192.0.2.10:80", "127.0.0.2:8080")
	write("127.0.0.3")
	expect("198.18.0.10:80", "127.0.0.3:8080")

	var status strings.Builder
	if err := writeBPFStatus(&status, bpfFeatures()); err != nil || !strings.Contains(status.String(), "active: programs on our own cgroup") {
		t.Errorf("lintel bpf status: %v\n%s", err, status.String())
	}
	stop()
	if answer, err := dialAndRead("198.18.0.10:80"); !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("after the end: %q, %v, want a network that is unreachable", answer, err)
	}
}

// answerWithAddress serves connections with its own address.
func answerWithAddress(t *testing.T, at string) {
	t.Helper()
	listener, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, at)
			conn.Close()
		}
	}()
}

func dialAndRead(to string) (string, error) {
	conn, err := net.DialTimeout("tcp", to, 5*time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	answer, err := io.ReadAll(conn)
	return string(answer), err
}
