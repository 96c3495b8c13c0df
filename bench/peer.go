package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Peer is a proxy that is measured.
type Peer interface {
	Name() string
	// Program returns the path of its program, and an error that says why there is none.
	Program(ctx context.Context, built tools) (string, error)
	// Version says which version the program is.
	Version(ctx context.Context, program string) string
	// Configure writes its configuration and returns the arguments that start it in
	// the foreground. errUnsupported says that it can't do the case.
	Configure(s Site) ([]string, error)
	// Serving picks those of its processes, its first one and its descendants, that serve.
	Serving(pids []int) []int
}

// unsupported is why a Peer can't do a case.
type unsupported string

func (u unsupported) Error() string { return string(u) }

// Site is what a Peer has to serve.
type Site struct {
	Case
	Dir         string // for its files
	Port        int    // to listen on, on 127.0.0.1 at least
	AdminPort   int    // for whatever else it listens on
	Upstream    string // host:port; HTTP/1.1, or HTTP/2 in the clear with GRPC
	Certificate certificate
}

// write puts a file into the folder of the Site and returns its path.
func (s Site) write(name, text string) (string, error) {
	path := filepath.Join(s.Dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return "", fmt.Errorf("write configuration: %w", err)
	}
	return path, nil
}

// usualPeers returns those that run when none is named.
func usualPeers(lintelPath string) []Peer {
	return []Peer{lintel{program: lintelPath}, nginx{}, haproxy{}, traefik{}, caddy{}}
}

func allPeers(lintelPath string) []Peer {
	return append(usualPeers(lintelPath), relay{}, tlsRelayPeer{})
}

// firstProcess is how most Peers serve: in a single process.
type firstProcess struct{}

// Serving returns all processes.
func (firstProcess) Serving(pids []int) []int { return slices.Clone(pids) }
