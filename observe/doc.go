// Package observe tells what Lintel does: [Metrics] for Prometheus, the [AccessLog], and a
// [Stream] that others follow. They read an [Exchange], which the data plane fills for every
// request that ended; none of them ever holds a request up.
package observe
