package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

// What this program does in Pods.
const (
	serveCommand = "serve"
	askCommand   = "ask"
	loadCommand  = "load"
	idleCommand  = "idle"
)

const (
	timeout  = 2 * time.Second
	lastFor  = 5 * time.Second // that a server goes on for after it was told to end
	loadRate = 1000            // connections a second
	loadTime = 25 * time.Second
	loaders  = 8
)

// serve says who it is by TCP and UDP, and answers for the one name that is asked.
func serve(ctx context.Context) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	names, err := net.Listen("tcp", ":8080")
	if err != nil {
		return err
	}
	echo, err := net.ListenPacket("udp", ":9090")
	if err != nil {
		return err
	}
	go func() {
		for {
			if conn, err := names.Accept(); err == nil {
				_, _ = io.WriteString(conn, host)
				conn.Close()
			}
		}
	}()
	go func() {
		for buffer := make([]byte, 64); ; {
			if _, from, err := echo.ReadFrom(buffer); err == nil {
				_, _ = echo.WriteTo([]byte(host), from)
			}
		}
	}()
	server := &dns.Server{Addr: ":5353", Net: "udp", Handler: dns.HandlerFunc(answer)}
	go func() { _ = server.ListenAndServe() }()
	<-ctx.Done()
	time.Sleep(lastFor) // others have to hear of it first
	return nil
}

func answer(w dns.ResponseWriter, question *dns.Msg) {
	reply := new(dns.Msg).SetReply(question)
	switch q := question.Question[0]; {
	case q.Name != "kubernetes.default.svc.cluster.local.":
		reply.Rcode = dns.RcodeNameError
	case q.Qtype == dns.TypeA:
		reply.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 5}, A: net.ParseIP(kubernetesAddress)}}
	}
	_ = w.WriteMsg(reply)
}

// ask reaches each Service once.
func ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for _, at := range []string{webAddress + ":80", externalAddress + ":80", nodeAddress + ":" + nodePort} {
		name, peer, err := connect(at)
		if err != nil {
			return err
		}
		if peer != at {
			return fmt.Errorf("the peer of a connection to %s is %s", at, peer)
		}
		fmt.Printf("TCP to %s: %s\n", at, name)
	}
	if err := askEcho(webAddress + ":90"); err != nil {
		return err
	}
	if _, _, err := connect(emptyAddress + ":80"); !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.EPERM) {
		return fmt.Errorf("a Service without endpoints: %w", err)
	}
	return askKubernetes(ctx)
}

// connect returns who serves, and who the peer is as the socket says.
func connect(to string) (name, peer string, err error) {
	conn, err := net.DialTimeout("tcp", to, timeout)
	if err != nil {
		return "", "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return "", "", err
	}
	answer, err := io.ReadAll(conn)
	return string(answer), conn.RemoteAddr().String(), err
}

// askEcho sends a datagram from a socket that is not connected.
func askEcho(to string) error {
	conn, err := net.ListenPacket("udp4", ":0")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // it was only asked through
	address, err := net.ResolveUDPAddr("udp", to)
	if err != nil {
		return err
	}
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	if _, err := conn.WriteTo([]byte("?"), address); err != nil {
		return err
	}
	buffer := make([]byte, 64)
	n, from, err := conn.ReadFrom(buffer)
	if err != nil {
		return err
	}
	if from.String() != to {
		return fmt.Errorf("%s answers instead of %s", from, to)
	}
	fmt.Printf("UDP to %s: %s\n", to, buffer[:n])
	return nil
}

// askKubernetes finds the API server as every Pod does: by its name.
func askKubernetes(ctx context.Context) error {
	authority, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/ca.crt")
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://kubernetes.default.svc/version", nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	fmt.Println("https://kubernetes.default.svc/version:", response.Status)
	if response.StatusCode != http.StatusOK {
		return errors.New("the API server does not answer")
	}
	return nil
}

// loadReport is what became of the connections of a load.
type loadReport struct {
	Connections, Failed, OtherPeer int
	Fault                          string               // the first one
	Last                           map[string]time.Time // when a connection to each endpoint began last
}

// load makes connections at a rate, and writes its report.
func load(ctx context.Context) error {
	const at = webAddress + ":80"
	ctx, cancel := context.WithTimeout(ctx, loadTime)
	defer cancel()
	report := loadReport{Last: make(map[string]time.Time)}
	var mu sync.Mutex // guards report
	var group sync.WaitGroup
	for range loaders {
		group.Go(func() {
			ticks := time.NewTicker(loaders * time.Second / loadRate)
			defer ticks.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-ticks.C:
				}
				start := time.Now()
				name, peer, err := connect(at)
				mu.Lock()
				report.note(start, name, peer, err)
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return json.NewEncoder(os.Stdout).Encode(&report)
}

func (r *loadReport) note(start time.Time, name, peer string, err error) {
	r.Connections++
	switch {
	case err != nil:
		r.Failed++
	case peer != webAddress+":80":
		r.OtherPeer++
		err = errors.New("another peer")
	}
	if err != nil && r.Fault == "" {
		r.Fault = fmt.Sprint(start.Format(time.RFC3339Nano), " ", err)
	}
	if name != "" && start.After(r.Last[name]) {
		r.Last[name] = start
	}
}
