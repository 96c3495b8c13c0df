// Package kube is all of client-go: informers fill a [Store], which is a source of
// Snapshots, and a [StatusWriter] writes statuses back.
package kube
