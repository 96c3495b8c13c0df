// Package hostports opens listening sockets that are not bound to the addresses they
// listen to: a program at the lookup of sockets (sk_lookup) gives them what comes for an
// address and port of their network namespace. That takes no port from anybody, needs no
// right to ports below 1024 for TCP, and hides nothing: an accepted connection's local
// address is the one that the client connected to.
//
// A socket of this kind is an inner socket: it is bound to an address that nobody has, of
// 240.0.0.0/4, which says what it listens to; so it can be reached in no other way. A UDP
// socket has the port that it receives for, as its answers have to come from there: below
// 1024 that takes CAP_NET_BIND_SERVICE.
//
// Nothing is pinned. The attachment is the process's and ends with it, however it ends; a
// socket is in the map for as long as a process has it open. Processes that hand a socket
// on have it in the program of each, so that it is received for until the last one ends.
package hostports

//go:generate go tool bpf2go -target bpfel -cflags "-O2 -g -Wall -Werror -mcpu=v3 -I../headers" program hostports.c
