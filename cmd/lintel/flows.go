package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/lintel-dev/lintel/bpf"
	"github.com/lintel-dev/lintel/bpf/flows"
	"github.com/lintel-dev/lintel/observe"
)

// Choices of flow-records: whose connections are recorded.
const (
	flowsOff  = "off"
	flowsSelf = "self"
	flowsNode = "node"
)

// recordFlows records connections, if that is wanted, from now on: sockets that are open
// already have none. Where it can't be done, Lintel serves without.
func (p *process) recordFlows() error {
	if p.settings.FlowRecords == flowsOff {
		return nil
	}
	recorder, cgroup, err := attachFlows(p.settings.FlowRecords)
	if errors.Is(err, bpf.ErrUnavailable) {
		p.log.Warn("connections are not recorded; requests are", "setting", "flow-records", "error", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("record connections: %w", err)
	}
	p.log.Info("recording connections", "cgroup", cgroup)
	to := &flowReceiver{stream: p.records, metrics: p.metrics.ObserveFlows()}
	p.late = append(p.late, func(ctx context.Context) error { return recorder.Run(ctx, to) })
	return nil
}

// attachFlows begins to record the connections of the cgroup that it returns.
func attachFlows(choice string) (*flows.Recorder, string, error) {
	if err := flows.Needs().Probe(); err != nil {
		return nil, "", err
	}
	cgroup, err := flowCgroup(choice)
	if err != nil {
		return nil, "", err
	}
	recorder, err := flows.Attach(flows.Options{Cgroup: cgroup})
	return recorder, cgroup, err
}

// flowCgroup finds the cgroup whose connections are recorded.
func flowCgroup(choice string) (string, error) {
	if choice == flowsNode {
		return bpf.NodeCgroup()
	}
	return bpf.OwnCgroup()
}

// flowReceiver converts what the kernel tells to what is observed.
type flowReceiver struct {
	stream  *observe.Stream
	metrics *observe.FlowMetrics
}

// Flow implements [flows.Receiver].
func (r *flowReceiver) Flow(f *flows.Flow) {
	flow := observe.Flow{
		Local: f.Local, Remote: f.Remote, Outgoing: f.Outgoing, Before: f.Before, Verdict: flowVerdict(f.Verdict),
		Received: f.Received, Sent: f.Sent, RTT: f.RTT, MinRTT: f.MinRTT, Retransmits: f.Retransmits,
		Duration: f.Duration, Ended: f.Ended,
	}
	r.stream.ObserveFlow(&flow)
	r.metrics.Flow(&flow)
}

// Lost implements [flows.Receiver].
func (r *flowReceiver) Lost(connections uint64) {
	r.stream.ObserveLoss(connections, time.Now())
	r.metrics.Lost(connections)
}

func flowVerdict(v flows.Verdict) observe.Verdict {
	return map[flows.Verdict]observe.Verdict{
		flows.Closed: observe.VerdictClosed, flows.Reset: observe.VerdictReset, flows.Timeout: observe.VerdictTimeout,
		flows.Refused: observe.VerdictRefused, flows.Aborted: observe.VerdictAborted,
	}[v]
}

// flowsActive says what is recorded, as far as that can be seen here.
func flowsActive() (string, error) {
	for _, choice := range []string{flowsSelf, flowsNode} {
		cgroup, err := flowCgroup(choice)
		if errors.Is(err, bpf.ErrUnavailable) {
			continue
		}
		if err != nil {
			return "", err
		}
		attached, err := flows.Attached(cgroup)
		switch {
		case errors.Is(err, fs.ErrPermission):
			return "something is attached to " + cgroup + "; CAP_SYS_ADMIN would tell what", nil
		case err != nil:
			return "", err
		case attached:
			return "connections of " + cgroup + " are recorded", nil
		}
	}
	return "", nil
}
