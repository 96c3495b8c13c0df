// Package externaldns keeps DNS records as they are wanted.
//
// What is wanted and what there is become a Plan, by a pure function (Calculate); a
// Reconciler reads the one from a Provider and carries out the other there. Beside each
// record that it makes stands a TXT record, the mark, which says whose it is, in
// the format of ExternalDNS v0.14 to v0.23 (Registry): either program can take over the
// records of the other, and neither touches a record that is not its own.
package externaldns
