// Package externaldns keeps DNS records as they are wanted.
//
// What is wanted and what there is become a Plan, by a pure function (Calculate); a
// Reconciler reads the one from a Provider and carries out the other there. Beside each
// record that it makes stands a TXT record, the mark, which says whose it is, in
// the format of ExternalDNS v0.14 to v0.23 (Registry): either program can take over the
// records of the other, and neither touches a record that is not its own.
//
// # Another provider
//
// A Provider has four methods, and does no planning, marking or waiting of its own; one with
// an API that lists a zone's records, and makes and deletes them one by one, takes about a
// hundred lines, as the one in onebyone_test.go:
//
//   - Zones lists what the credential sees, with the provider's own IDs.
//   - Records gathers what is listed by name and type, marks included, as they are: a mark
//     is a TXT record like others, whose text TextOf and TextStrings put together and take
//     apart. Where there is a page after the first, all are read.
//   - Adjust refuses what can't be made there, in words for people, and returns everything
//     else as Records will show it: with the least TTL that is taken, without what the
//     provider has no words for. A record that Adjust and Records tell differently would be
//     changed in each round.
//   - Apply makes the Edits of each Change in their order, and goes on to the next Change
//     after one that failed; it returns Failures by index. Where the provider takes several
//     edits at once, as a whole or not at all, a Change is to be among them as a whole.
//
// An error that says when to come again is a WaitError. Any other is tried again after a
// time that grows; nothing is lost by that, since a round begins with reading. Credentials are
// read for each request. The tests in providers_test.go are for every provider: it is added
// to everywhere there. In cmd/lintel, dnsProvider makes it, and the setting dns-provider
// lets it be chosen.
package externaldns
