// Package flows tells of TCP connections when they end, as the kernel saw them: every one of
// a cgroup, whatever program it belongs to.
//
// A program of type sockops (flows.c) is called when a connection is asked for or
// established, notes when, and asks to be called when it changes its state. At its end it
// puts a record into a ring that the kernel and we share, which [Recorder.Run] reads several
// times a second. Nothing runs for a packet, and nothing is kept of a connection but in the
// socket itself. When the ring is full, records are lost, and counted.
package flows

//go:generate go tool bpf2go -output-stem flows -type lt_flow -target bpfel -cflags "-O2 -g -Wall -Werror -mcpu=v3 -nostdinc -I../headers" program flows.c
