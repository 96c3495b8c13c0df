// Package kube is all of client-go: informers fill a [Store], which is a source of
// Snapshots, and a [StatusWriter] writes statuses back.
//
//	kind.go       the table of what is watched
//	change.go     which changes of an object matter
//	feed.go       one informer: one kind, in one namespace or in all
//	available.go  which CRDs are installed, now and later
//	store.go      the feeds together
//	status.go     wanted statuses → patches
//	merge.go      our part of a status put into the whole
//	client.go     how to reach the API server
//
// Objects that informers hold are read-only everywhere.
package kube
