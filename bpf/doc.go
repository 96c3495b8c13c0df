// Package bpf is the ground that Lintel's eBPF features stand on: what the kernel and our
// capabilities allow (Needs), where cgroups are (Cgroup), and where what outlives a
// process is pinned (Pins). Each feature is a package below this one, with programs of its
// own in C, and is optional: without it Lintel serves all the same.
//
// Programs include nothing but headers/, are built by clang 14 with `make generate`, and
// the objects are committed, so that whoever builds Lintel needs no clang. `make bpf`
// tells whether they are what the sources say.
package bpf
