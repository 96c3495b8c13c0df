// Command bench measures Lintel beside other proxies: CPU time per request,
// latency and memory, on one core each and with every answer checked.
//
//	go run ./bench [-case h1-1k,…] [-peers nginx,haproxy,…] [-rounds N] [-seconds S] [-rate N]
//
// docs/performance.md says how it measures. It runs on Linux.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// With these, all cases with five proxies end within 25 minutes.
const (
	defaultRounds  = 5
	defaultSeconds = 2.5
)

// errWrong says that the measurements are worthless because answers were wrong.
var errWrong = errors.New("answers were wrong or missing; see the lines that begin with fail")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	job, args := run, os.Args[1:]
	others := map[string]func(context.Context, []string) error{"tunnel": runTunnel, tlsRelayPeer{}.Name(): runTLSRelay}
	if len(args) > 0 && others[args[0]] != nil {
		job, args = others[args[0]], args[1:]
	}
	if err := job(ctx, args); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("bench", flag.ExitOnError)
	caseNames := flags.String("case", "", "comma-separated `names` of cases; empty: all but the long ones")
	peerNames := flags.String("peers", "", "comma-separated `names` of proxies to compare lintel with; empty: all but relay and tlsrelay")
	lintelPath := flags.String("lintel", "bin/lintel", "the `program` to measure")
	rounds := flags.Int("rounds", defaultRounds, "how often each proxy is measured in each case")
	seconds := flags.Float64("seconds", defaultSeconds, "how long one measurement takes")
	rate := flags.Float64("rate", 0, "requests per `second` of h1-rate, to compare runs; 0: a quarter of what lintel or nginx can do")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *rounds < 1 || *seconds <= 0 || *rate < 0 {
		return errors.New("-rounds and -seconds have to be positive, -rate at least 0")
	}
	if runtime.NumCPU() <= loadCore {
		return errors.New("two cores are needed: one for the proxy, one for what feeds it")
	}
	cases := usualCases()
	if names := splitNames(*caseNames); len(names) > 0 {
		var err error
		if cases, err = choose("case", names, allCases(), func(c Case) string { return c.Name }); err != nil {
			return err
		}
	}
	peers := usualPeers(*lintelPath)
	if names := splitNames(*peerNames); len(names) > 0 {
		var err error
		if peers, err = choose("proxy", names, allPeers(*lintelPath), Peer.Name); err != nil {
			return err
		}
	}
	if _, named := find(peers, lintelName); !named {
		peers = append([]Peer{lintel{program: *lintelPath}}, peers...)
	}
	b := &bench{
		rounds: *rounds, duration: time.Duration(*seconds * float64(time.Second)), rate: *rate, out: os.Stdout, log: os.Stderr,
	}
	return b.run(ctx, cases, peers)
}

// splitNames returns the names of a list; an empty list has none.
func splitNames(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

// choose returns the elements with the wanted names in the order of all; all of
// them when nothing is wanted.
func choose[T any](kind string, wanted []string, all []T, name func(T) string) ([]T, error) {
	if len(wanted) == 0 {
		return all, nil
	}
	want := map[string]bool{}
	for _, w := range wanted {
		want[w] = true
	}
	var chosen []T
	var known []string
	for _, element := range all {
		n := name(element)
		known = append(known, n)
		if want[n] {
			chosen = append(chosen, element)
			delete(want, n)
		}
	}
	for w := range want {
		return nil, fmt.Errorf("no %s is called %s; there are %s", kind, w, strings.Join(known, ", "))
	}
	return chosen, nil
}

func find(peers []Peer, name string) (Peer, bool) {
	for _, p := range peers {
		if p.Name() == name {
			return p, true
		}
	}
	return nil, false
}
