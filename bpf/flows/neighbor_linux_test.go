package flows

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
)

// Of linux/bpf.h.
const (
	opTimeoutInit        = 1
	opActiveEstablished  = 4
	opPassiveEstablished = 5
	opRTT                = 12
	flagRTT              = 1 << 3
	timeoutReply         = 7 // jiffies
)

// neighbor is a sockops program of somebody else: it asks for a call with every measurement
// of a round trip, counts them, and says how long to wait for an answer to a SYN.
func neighbor(w *world) (calls func() uint64) {
	w.Helper()
	counts, err := ebpf.NewMap(&ebpf.MapSpec{Name: "lt_flow_other", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		w.Fatal(err)
	}
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "lt_flow_other", Type: ebpf.SockOps, License: "Apache-2.0",
		Instructions: asm.Instructions{
			asm.Mov.Reg(asm.R6, asm.R1),
			asm.LoadMem(asm.R7, asm.R6, 0, asm.Word), // op
			asm.JEq.Imm(asm.R7, opActiveEstablished, "ask"),
			asm.JEq.Imm(asm.R7, opPassiveEstablished, "ask"),
			asm.JEq.Imm(asm.R7, opRTT, "count"),
			asm.JNE.Imm(asm.R7, opTimeoutInit, "end"),
			asm.StoreImm(asm.R6, 4, timeoutReply, asm.Word),
			asm.Ja.Label("end"),
			asm.LoadMem(asm.R2, asm.R6, 84, asm.Word).WithSymbol("ask"), // bpf_sock_ops_cb_flags
			asm.Or.Imm(asm.R2, flagRTT),
			asm.Mov.Reg(asm.R1, asm.R6),
			asm.FnSockOpsCbFlagsSet.Call(),
			asm.Ja.Label("end"),
			asm.StoreImm(asm.RFP, -4, 0, asm.Word).WithSymbol("count"),
			asm.LoadMapPtr(asm.R1, counts.FD()),
			asm.Mov.Reg(asm.R2, asm.RFP),
			asm.Add.Imm(asm.R2, -4),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "end"),
			asm.Mov.Imm(asm.R1, 1),
			asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
			asm.Mov.Imm(asm.R0, 1).WithSymbol("end"),
			asm.Return(),
		},
	})
	if err != nil {
		w.Fatal(err)
	}
	attached, err := link.AttachCgroup(link.CgroupOptions{Path: w.cgroup, Attach: ebpf.AttachCGroupSockOps, Program: program})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		for _, c := range []interface{ Close() error }{attached, program, counts} {
			if err := c.Close(); err != nil {
				w.Error(err)
			}
		}
	})
	return func() uint64 {
		var value [8]byte
		if err := counts.Lookup(uint32(0), &value); err != nil {
			w.Fatal(err)
		}
		return binary.NativeEndian.Uint64(value[:])
	}
}

// Programs of others get the calls that they asked for, whoever came first, and we get ours.
func TestOtherProgramsGoOn(t *testing.T) {
	w := newWorld(t)
	before := neighbor(w)
	r := w.attach(0)
	after := neighbor(w)
	client, server := w.connect()
	w.send(client, server, 5)
	w.send(server, client, 7)
	w.close(client, server)
	if before() == 0 || after() == 0 {
		t.Errorf("others were called %d and %d times", before(), after())
	}
	if l := w.finish(r); len(l.flows) != 2 {
		t.Errorf("%d records", len(l.flows))
	}
	was := before()
	client, server = w.connect()
	w.send(client, server, 5)
	w.close(client, server)
	if before() == was {
		t.Error("after the end of the recording others are not called")
	}
}

// BenchmarkConnection measures the processor time of both ends of a connection, with 100
// bytes each way, and what recording them takes of it: medians of rounds that take turns, so
// that all meet the same machine.
func BenchmarkConnection(b *testing.B) {
	w := newWorld(b)
	const each = 200
	timed := func(do func()) float64 {
		start := processor(b)
		do()
		return float64((processor(b) - start).Nanoseconds()) / 1e3 / each
	}
	connections := func() {
		for range each {
			client, server := w.connect()
			w.send(client, server, 100)
			w.send(server, client, 100)
			w.close(client, server)
		}
	}
	var without, with, read []float64
	for b.Loop() {
		r := w.attach(0)
		with = append(with, timed(connections))
		read = append(read, timed(func() {
			if err := r.read(&ledger{}); err != nil {
				b.Fatal(err)
			}
		}))
		w.finish(r)
		without = append(without, timed(connections))
	}
	median := func(of []float64) float64 { slices.Sort(of); return of[len(of)/2] }
	b.ReportMetric(median(without), "µs/without")
	b.ReportMetric(median(with), "µs/with")
	b.ReportMetric(median(read), "µs/reading")
	b.ReportMetric(0, "ns/op")
}
