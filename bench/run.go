package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	processes "github.com/lintel-dev/lintel/conformance/process"
)

// bench runs cases and prints what they found.
type bench struct {
	rounds   int
	duration time.Duration // of a measurement
	rate     float64       // of cases with a fixed one; 0: found by a measurement
	out      io.Writer     // the results
	log      io.Writer     // progress
	tools    tools
	cert     certificate
	dir      string // removed at the end
	wrong    int    // proxies that failed a case
}

// contestant is a proxy that runs for a case.
type contestant struct {
	name    string
	peer    Peer
	site    Site
	checker *checker
	process *process
	started time.Time // when it served
	samples []sample
	// alone are without slow clients, and elsewhere while those were at another program.
	alone, elsewhere []sample
	rss              int // KiB
}

func (b *bench) run(ctx context.Context, cases []Case, peers []Peer) error {
	dir, err := os.MkdirTemp("", "lintel-bench-")
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // the system clears its temporary files too
	// nginx's worker has another user.
	if err := os.Chmod(dir, 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	b.dir = dir
	if b.tools, err = buildTools(ctx, dir); err != nil {
		return err
	}
	if b.cert, err = makeCertificate(dir); err != nil {
		return err
	}
	programs := b.programs(ctx, cases, peers)
	release, err := alone(ctx, b.log)
	if err != nil {
		return err
	}
	defer release()
	describe(ctx, b.out, programs)
	var all []caseResult
	for _, c := range cases {
		result, err := b.runCase(ctx, c, programs)
		if err != nil {
			return fmt.Errorf("case %s: %w", c.Name, err)
		}
		result.print(b.out)
		all = append(all, result)
	}
	printTable(b.out, all)
	if b.wrong > 0 {
		return errWrong
	}
	return nil
}

// installed is a Peer with its program.
type installed struct {
	Peer
	program string // path
}

// programs finds the program of each Peer, and says which have none.
func (b *bench) programs(ctx context.Context, cases []Case, peers []Peer) []installed {
	var found []installed
	for _, p := range peers {
		path, err := p.Program(ctx, b.tools)
		if err == nil {
			found = append(found, installed{p, path})
			continue
		}
		if p.Name() == lintelName {
			b.wrong++
		}
		for _, c := range cases {
			fmt.Fprintf(b.out, "skip %s %s %s\n", c.Name, p.Name(), oneLine(err))
		}
	}
	return found
}

// runCase measures all proxies in turn, so that whatever else the machine does
// hits each of them alike.
func (b *bench) runCase(ctx context.Context, c Case, peers []installed) (caseResult, error) {
	result := caseResult{Case: c}
	dir := filepath.Join(b.dir, c.Name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return result, fmt.Errorf("make folder: %w", err)
	}
	up, err := startUpstream(ctx, b.tools, dir, c.Protocol)
	if err != nil {
		return result, err
	}
	defer up.stop()
	var all []*contestant
	var started []*process
	defer func() {
		for _, p := range started {
			p.stop()
		}
	}()
	for _, p := range peers {
		contestant, err := b.start(ctx, c, p, up)
		switch {
		case err == nil:
			all, started = append(all, contestant), append(started, contestant.process)
		case ctx.Err() != nil:
			return result, ctx.Err()
		default:
			b.reject(c, p.Name(), err)
		}
	}
	if c.Fraction > 0 {
		if result.rate, err = b.targetRate(ctx, all, up); err != nil {
			return result, err
		}
		fmt.Fprintf(b.out, "rate %s %.0f requests/s for each\n", c.Name, result.rate)
	}
	if c.Idle {
		all, err = b.idle(ctx, c, all, up)
	} else {
		all, err = b.measureAll(ctx, c, all, up, result.rate)
	}
	if err != nil {
		return result, err
	}
	for _, p := range all {
		result.proxies = append(result.proxies, proxyResult{name: p.name, samples: p.samples, alone: p.alone, elsewhere: p.elsewhere, rss: p.rss})
	}
	return result, nil
}

// measureAll makes the rounds, and returns those that were right in each.
func (b *bench) measureAll(ctx context.Context, c Case, all []*contestant, up *upstream, rate float64) ([]*contestant, error) {
	for round := range b.rounds {
		for i := 0; i < len(all); i++ {
			p := all[i]
			fmt.Fprintf(b.log, "%s: round %d of %d: %s\n", c.Name, round+1, b.rounds, p.name)
			err := b.measure(ctx, p, up, rate)
			switch {
			case ctx.Err() != nil:
				return nil, ctx.Err()
			case err != nil:
				b.reject(c, p.name, err)
				p.process.stop()
				all = append(all[:i], all[i+1:]...)
				i--
			}
		}
	}
	return all, nil
}

// reject says why a proxy is out of a case. Only what it can't do by nature is
// forgiven.
func (b *bench) reject(c Case, name string, err error) {
	var cant unsupported
	if errors.As(err, &cant) {
		fmt.Fprintf(b.out, "skip %s %s %s\n", c.Name, name, oneLine(err))
		return
	}
	b.wrong++
	fmt.Fprintf(b.out, "fail %s %s %s\n", c.Name, name, oneLine(err))
}

// start starts a proxy and waits until it serves.
func (b *bench) start(ctx context.Context, c Case, p installed, up *upstream) (*contestant, error) {
	if err := allowFiles(c); err != nil {
		return nil, err
	}
	ports, err := processes.FreePorts(ctx, 2)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(b.dir, c.Name, p.Name())
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	site := Site{Case: c, Dir: dir, Port: int(ports[0]), AdminPort: int(ports[1]), Upstream: up.address, Certificate: b.cert}
	args, err := p.Configure(site)
	if err != nil {
		return nil, err
	}
	process, err := startProcess(p.Name(), dir, proxyCore, append([]string{p.program}, args...))
	if err != nil {
		return nil, err
	}
	started := &contestant{name: p.Name(), peer: p.Peer, site: site, checker: newChecker(site), process: process}
	if err := process.await(ctx, started.checker.first); err != nil {
		process.stop()
		return nil, err
	}
	started.started = time.Now()
	if err := process.settle(ctx); err != nil {
		process.stop()
		return nil, err
	}
	return started, nil
}

// targetRate measures what lintel and nginx can do, and returns the part of the
// lesser that the case asks for, unless a rate was given. With neither, all proxies
// count.
func (b *bench) targetRate(ctx context.Context, all []*contestant, up *upstream) (float64, error) {
	if b.rate > 0 {
		return b.rate, nil
	}
	var least float64
	for _, onlyReferences := range []bool{true, false} {
		for _, p := range all {
			if onlyReferences && p.name != lintelName && p.name != (nginx{}).Name() {
				continue
			}
			s, err := b.load(ctx, p, up, 0)
			if err != nil {
				return 0, fmt.Errorf("find rate of %s: %w", p.name, err)
			}
			if least == 0 || s.rate() < least {
				least = s.rate()
			}
		}
		if least > 0 {
			return least * all[0].site.Fraction, nil
		}
	}
	return 0, errors.New("no proxy is left to find the rate of")
}

// measure makes a measurement between two checks.
func (b *bench) measure(ctx context.Context, p *contestant, up *upstream, rate float64) error {
	if err := p.checker.all(ctx); err != nil {
		return fmt.Errorf("before the load: %w", err)
	}
	load := b.load
	if p.site.Slow > 0 {
		load = b.amongSlow
	}
	s, err := load(ctx, p, up, rate)
	if err != nil {
		return fmt.Errorf("under load: %w", err)
	}
	if err := p.checker.all(ctx); err != nil {
		return fmt.Errorf("after the load: %w", err)
	}
	p.samples = append(p.samples, s)
	return nil
}

// load runs the load and holds the number of answers to what the upstream counted.
func (b *bench) load(ctx context.Context, p *contestant, up *upstream, rate float64) (sample, error) {
	pids, err := p.process.tree()
	if err != nil {
		return sample{}, err
	}
	before, err := up.served(ctx)
	if err != nil {
		return sample{}, err
	}
	s, err := runLoad(ctx, b.tools, loadRun{
		Case: p.site.Case, port: p.site.Port, pids: pids, warmup: usualWarmup, duration: b.duration, rate: rate, scratch: p.site.Dir,
	})
	if err != nil {
		return sample{}, err
	}
	after, err := up.served(ctx)
	if err != nil {
		return sample{}, err
	}
	if after-before != s.requests {
		return sample{}, fmt.Errorf("%w: %d came, but the upstream served %d", errBadAnswers, s.requests, after-before)
	}
	if p.rss, err = residentKiB(p.peer.Serving(pids)); err != nil {
		return sample{}, err
	}
	return s, nil
}
