package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	processes "github.com/lintel-dev/lintel/conformance/process"
)

const (
	// idleTime is how long connections are idle before memory is measured: runtimes
	// give back slowly what making them needed.
	idleTime = 12 * time.Second
	// settledAge is how old a proxy has to be when the connections come. Lintel gives
	// back what starting needed, pages of its program too, 5 s after its start: if
	// that came later, memory would look lower than it stays.
	settledAge = 7 * time.Second
	// again is how many of the idle connections make another request.
	again = 200
	// headTimeout is how long a head may take: Lintel's default, given to all.
	headTimeout = 10 * time.Second
	// otherFiles is how many files more than one a connection a proxy gets, for
	// those to the upstream and its own.
	otherFiles = 1024
	// fewest is which part of the slow connections has to be open at all times: the
	// proxy ends a tenth of them each second, and they take a moment to come back.
	fewest = 0.97
	// latest is how much later than due a byte of a slow client may be sent.
	latest = 500 * time.Millisecond
)

// openFiles returns how many files a proxy may need to have open in a case.
func openFiles(c Case) int { return c.Connections() + otherFiles }

// allowFiles reports unsupported when the system lets nobody open enough files.
// Programs raise their own limits up to that.
func allowFiles(c Case) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read limit of open files: %w", err)
	}
	if need := openFiles(c); limit.Max < uint64(need) {
		return unsupported(fmt.Sprintf("needs %d open files, and the limit (ulimit -Hn) is %d", need, limit.Max))
	}
	return nil
}

// crowd is a program with many connections, until it is told to end.
type crowd struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	stderr *bytes.Buffer
}

// startCrowd starts a program on a core, and waits until it says that it is ready.
func startCrowd(ctx context.Context, core int, command []string) (*crowd, error) {
	cmd := exec.CommandContext(ctx, "taskset", append([]string{"-c", strconv.Itoa(core)}, command...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	c := &crowd{cmd: cmd, stderr: new(bytes.Buffer)}
	cmd.Stderr = c.stderr
	var err error
	if c.in, err = cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(command[0]), err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(command[0]), err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(command[0]), err)
	}
	c.out = bufio.NewReader(out)
	if line, err := c.out.ReadString('\n'); err != nil || line != "ready\n" {
		c.kill()
		return nil, fmt.Errorf("%s was not ready: %w: %s", filepath.Base(command[0]), errBadAnswers, strings.TrimSpace(c.stderr.String()))
	}
	return c, nil
}

// end tells the program something, and returns its summary when it has ended.
func (c *crowd) end(last string) ([]byte, error) {
	_, _ = io.WriteString(c.in, last) // a program that has ended says why
	_ = c.in.Close()
	out, readErr := io.ReadAll(c.out)
	if err := c.cmd.Wait(); err != nil {
		return nil, fmt.Errorf("%w: %w: %s", errBadAnswers, err, strings.TrimSpace(c.stderr.String()))
	}
	return out, readErr
}

// kill ends the program, if it runs.
func (c *crowd) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

// held is the idle connections of a proxy.
type held struct {
	*contestant
	*crowd
	since time.Time // when they became idle
}

// idle has each proxy hold connections, and measures its memory when they have been
// idle for a while. Proxies wait at the same time, each as long as the others. It
// returns those that were right.
func (b *bench) idle(ctx context.Context, c Case, all []*contestant, up *upstream) ([]*contestant, error) {
	var holding []*held
	defer func() {
		for _, h := range holding {
			h.kill()
		}
	}()
	for _, p := range all {
		if err := sleepUntil(ctx, p.started.Add(settledAge)); err != nil {
			return nil, err
		}
		fmt.Fprintf(b.log, "%s: %d connections: %s\n", c.Name, c.Conns, p.name)
		h, err := b.hold(ctx, p, up)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			b.reject(c, p.name, err)
		default:
			holding = append(holding, h)
		}
	}
	var right []*contestant
	for _, h := range holding {
		if err := sleepUntil(ctx, h.since.Add(idleTime)); err != nil {
			return nil, err
		}
		if err := b.askAgain(ctx, h, up); err != nil {
			b.reject(c, h.name, err)
			continue
		}
		right = append(right, h.contestant)
	}
	return right, nil
}

func sleepUntil(ctx context.Context, t time.Time) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Until(t)):
		return nil
	}
}

// hold opens the connections of the case, each of which makes a request.
func (b *bench) hold(ctx context.Context, p *contestant, up *upstream) (*held, error) {
	if err := p.checker.all(ctx); err != nil {
		return nil, fmt.Errorf("before the load: %w", err)
	}
	before, err := up.served(ctx)
	if err != nil {
		return nil, err
	}
	command := append([]string{b.tools.load, "hold=1"}, loadArguments(loadRun{Case: p.site.Case, port: p.site.Port})...)
	c, err := startCrowd(ctx, loadCore, command)
	if err != nil {
		return nil, err
	}
	h := &held{contestant: p, crowd: c, since: time.Now()}
	after, err := up.served(ctx)
	if err != nil {
		c.kill()
		return nil, err
	}
	if came := after - before; came != p.site.Conns {
		c.kill()
		return nil, fmt.Errorf("%w: %d connections asked, but the upstream served %d", errBadAnswers, p.site.Conns, came)
	}
	return h, nil
}

// askAgain measures memory and has some connections make another request.
func (b *bench) askAgain(ctx context.Context, h *held, up *upstream) error {
	pids, err := h.process.tree()
	if err != nil {
		return err
	}
	if h.rss, err = residentKiB(h.peer.Serving(pids)); err != nil {
		return err
	}
	before, err := up.served(ctx)
	if err != nil {
		return err
	}
	out, err := h.end(strconv.Itoa(again) + "\n")
	if err != nil {
		return err
	}
	after, err := up.served(ctx)
	if err != nil {
		return err
	}
	s, err := parseLoad(out, h.site.Size)
	switch {
	case err != nil:
		return err
	case s.connects != h.site.Conns:
		return fmt.Errorf("%w: %d connections were opened instead of %d: some were not kept", errBadAnswers, s.connects, h.site.Conns)
	case s.measured != again || after-before != again:
		return fmt.Errorf("%w: %d of the idle connections asked, %d were answered, the upstream served %d", errBadAnswers, again, s.measured, after-before)
	}
	return nil
}

// amongSlow measures as load does: alone, while the slow clients of the case are at a program
// on the proxy's core that does nothing else, and while they are at the proxy. The first two
// are put down for the round.
func (b *bench) amongSlow(ctx context.Context, p *contestant, up *upstream, rate float64) (sample, error) {
	s, err := b.load(ctx, p, up, rate)
	if err != nil {
		return s, fmt.Errorf("without slow clients: %w", err)
	}
	p.alone = append(p.alone, s)
	ports, err := processes.FreePorts(ctx, 1)
	if err != nil {
		return s, err
	}
	taker, err := startCrowd(ctx, proxyCore, []string{b.tools.taker, strconv.Itoa(int(ports[0])), inSeconds(headTimeout)})
	if err != nil {
		return s, err
	}
	s, err = b.besideSlow(ctx, p, up, slowClients{port: int(ports[0]), rate: rate})
	taker.kill()
	if err != nil {
		return s, fmt.Errorf("with the slow clients elsewhere: %w", err)
	}
	p.elsewhere = append(p.elsewhere, s)
	return b.besideSlow(ctx, p, up, slowClients{port: p.site.Port, rate: rate})
}

// inSeconds is a time as the programs in C take it.
func inSeconds(t time.Duration) string { return strconv.FormatFloat(t.Seconds(), 'f', -1, 64) }

// slowClients says where they are, and what requests are made meanwhile.
type slowClients struct {
	port int
	rate float64
}

// besideSlow measures as load does while there are slow clients.
func (b *bench) besideSlow(ctx context.Context, p *contestant, up *upstream, slow slowClients) (sample, error) {
	c, err := startCrowd(ctx, loadCore, []string{b.tools.slow, strconv.Itoa(slow.port), strconv.Itoa(p.site.Slow), inSeconds(headTimeout)})
	if err != nil {
		return sample{}, err
	}
	s, err := b.load(ctx, p, up, slow.rate)
	if err != nil {
		c.kill()
		return sample{}, fmt.Errorf("beside slow clients: %w", err)
	}
	out, err := c.end("")
	if err != nil {
		return sample{}, fmt.Errorf("slow clients: %w", err)
	}
	return s, checkSlow(out, p.site.Slow)
}

// checkSlow makes sure that there were as many slow clients as there should be.
func checkSlow(out []byte, conns int) error {
	values, err := parseSummary(out, "failed", "lowest", "wrong", "late")
	switch {
	case err != nil:
		return fmt.Errorf("read summary of slow: %w", err)
	case values["wrong"] > 0:
		return fmt.Errorf("%w: %.0f heads that never ended", errBadAnswers, values["wrong"])
	case values["lowest"] < fewest*float64(conns):
		return fmt.Errorf("only %.0f of %d slow clients were connected (%.0f connections failed)", values["lowest"], conns, values["failed"])
	case values["late"] > latest.Seconds():
		return fmt.Errorf("slow clients were late by %.1f s: their core was busy with other things", values["late"])
	}
	return nil
}
