package acme_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/lintel-dev/lintel/tls/acme"
)

// A zone and everything below it come into one certificate by one order, and nothing
// is left behind but the certificate and the account.
func TestWildcardAndApexByCloudflare(t *testing.T) {
	t.Parallel()
	zone, storage := shared.zone(t), directory(t, t.TempDir())
	want := acme.Certificate{Name: acme.Name{Namespace: "shop", Name: "wildcard"}, Names: []string{"*." + zone, zone}, Issuer: "main"}
	begun := time.Now()
	r := start(t, options(t, storage, shared.issuer("main")), want)
	state := r.untilReady(t, want.Name)
	t.Logf("took %v, stages %v", time.Since(begun), r.history())
	leaf, stored := load(t, storage, want.Name)
	verify(t, stored, shared.roots, zone, "any."+zone)
	if !slices.Equal(leaf.DNSNames, []string{"*." + zone, zone}) && !slices.Equal(leaf.DNSNames, []string{zone, "*." + zone}) {
		t.Errorf("names %v", leaf.DNSNames)
	}
	third := leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) * 6 / 10)
	if !state.NotAfter.Equal(leaf.NotAfter) || state.Renews.Before(third) || state.Renews.After(leaf.NotAfter) || state.Message != "" {
		t.Errorf("state %+v", state)
	}
	if n := len(shared.orders(zone)); n != 1 {
		t.Errorf("%d orders", n)
	}
	if left := shared.leftovers(zone); len(left) > 0 {
		t.Errorf("records left: %v", left)
	}
	if stored.Annotations[acme.AnnotationIssuer] != "main" || !stored.Owned {
		t.Errorf("stored %+v", stored.Annotations)
	}
}

func TestHTTPAndTLSChallenges(t *testing.T) {
	t.Parallel()
	for name, solver := range map[string]acme.Solver{"http": acme.HTTP01{}, "tls": acme.TLSALPN01{}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			zone, storage := shared.zone(t), directory(t, t.TempDir())
			issuer := shared.issuer("main")
			issuer.Solver = solver
			want := acme.Certificate{Name: acme.Name{Namespace: "a", Name: "b"}, Names: []string{"one." + zone, "two." + zone}, Issuer: "main"}
			r := start(t, options(t, storage, issuer), want)
			r.untilReady(t, want.Name)
			_, stored := load(t, storage, want.Name)
			verify(t, stored, shared.roots, want.Names...)
			wild := want
			wild.Names = []string{"*." + zone}
			r.Apply([]acme.Certificate{wild})
			r.untilFailed(t, want.Name, `a CA gives *.`+zone+` only by dns-01, but issuer "main" proves names by `+name+`-`)
		})
	}
}

func TestFilesAreForTheirOwnerAlone(t *testing.T) {
	t.Parallel()
	zone, path := shared.zone(t), t.TempDir()
	storage := directory(t, path)
	want := acme.Certificate{Name: acme.Name{Namespace: "a", Name: "b"}, Names: []string{zone}, Issuer: "main"}
	r := start(t, options(t, storage, shared.issuer("main")), want)
	r.untilReady(t, want.Name)
	err := filepath.WalkDir(path, func(file string, entry os.DirEntry, err error) error {
		if err != nil || file == path {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if perm := info.Mode().Perm(); info.Mode()&os.ModeSymlink == 0 && perm&0o077 != 0 {
			t.Errorf("%s: %v", file, perm)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	names, err := storage.Names()
	if err != nil || !slices.Equal(names, []acme.Name{want.Name}) {
		t.Errorf("names %v, %v", names, err)
	}
}
