package flows

// Options say what a Recorder records.
type Options struct {
	// Cgroup is a folder of cgroup v2. Sockets that were made in it, or below it, are
	// recorded, and so is what they accept.
	Cgroup string
	// Ring is how many bytes records may wait in, a power of two and a page or more; 0
	// stands for 1 MiB, which is 7,000 records.
	Ring int
}

// Receiver is told of connections, on one goroutine. Its methods must not block.
type Receiver interface {
	// Flow tells of a connection. It belongs to the caller again when the call ends.
	Flow(f *Flow)
	// Lost tells of so many that there is no record of, more than the last time.
	Lost(connections uint64)
}
