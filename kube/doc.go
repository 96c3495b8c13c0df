// Package kube is all of client-go: informers fill a [Store], which is a source of
// Snapshots, and a [StatusWriter] writes statuses back.
//
//	client.go      how to reach the API server
//	kind.go        the table of what is watched
//	change.go      which changes of an object matter
//	feed.go        one informer: one kind, in one namespace or in all
//	available.go   which CRDs are installed, now and later
//	changes.go     what changed until somebody asks
//	outage.go      one line when the API server is away, one when it is back
//	store.go       the feeds together
//	status.go      which statuses are written, when, and again
//	statuskind.go  how the status of each kind is written
//	merge.go       our part of a status put into the whole
//	lease.go       which of several replicas writes
//	infrastructure.go        when Services that stand for Gateways are written
//	infrastructureobject.go  what they are, and what of them is ours
//
// Objects that informers hold are read-only everywhere.
package kube
