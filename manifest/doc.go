// Package manifest reads API objects from YAML files, as an API server would take
// them: Lintel without a cluster, and the checks of lintel check.
//
// A [Source] goes from bytes to a [gateway.Snapshot] in four steps. A file is split
// into documents, and a document whose bytes are known is not read again. A
// checker turns a document into items: YAML nodes, which know their lines, then
// plain values, then, past the schema of its CRD with defaults and CEL rules or past
// the Go type and the checks written out here, a typed object. A catalog compares
// the items of all files with what serves: an object that did not change keeps its
// pointer, one that was refused leaves the last good one in place, and a second
// declaration is turned down. What changed is then published under a lock for the
// readers of the Source.
//
// The schemas are those of the Gateway API module in go.mod, copied by
// internal/crdgen. They and their compiled rules are the larger part of the memory
// that a load takes, so they are made when first needed and dropped afterwards.
package manifest
