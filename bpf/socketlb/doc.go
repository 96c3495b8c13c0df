// Package socketlb turns the addresses of Services into addresses of their endpoints inside
// the system call that names one: connect(), and sendmsg() of UDP. No packet is rewritten,
// there is no connection tracking, and the cost does not depend on how many Services there
// are. getpeername() and recvmsg() show the Service again.
//
// A Balancer serves the sockets of one cgroup, and of those below it, in all network
// namespaces; others never notice. It is told what Services there are by Apply, and owns
// two maps: a Service names a list of endpoints by a number, which is never used twice.
// An update writes a new list, then the Service, then removes the old list; programs read
// the Service again after they read the list. So none ever sees half an update.
//
// With Pins, programs and maps outlive the process: they go on with what was last written,
// and the next process takes the maps over, writes what differs, and replaces the programs
// one by one, each at once. One process at a time has the folder; others wait for it.
//
// What it does not do: packets that come from outside of the machine are not socket calls,
// so a NodePort is served to clients in the cgroup alone. Sockets that are connected keep
// their endpoint when it goes away.
package socketlb

//go:generate go tool bpf2go -output-stem socketlb -target bpfel -cflags "-O2 -g -mllvm -no-stack-slot-sharing -Wall -Werror -mcpu=v3 -nostdinc -I../headers" lb socketlb.c
