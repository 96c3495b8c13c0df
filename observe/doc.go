// Package observe tells what Lintel does: [Metrics] for Prometheus, and the
// [AccessLog]. Both read an [Exchange], which the data plane fills for every
// request that ended; neither ever holds a request up.
package observe
