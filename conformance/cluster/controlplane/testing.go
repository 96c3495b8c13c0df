package controlplane

import (
	"log/slog"
	"testing"
)

// ForTest starts a ControlPlane with all CRDs, which stops when the test ends. It
// fails the test when that is not possible. A package with several tests starts
// one in its TestMain instead, with Start and InstallCRDs.
func ForTest(t testing.TB) *ControlPlane {
	t.Helper()
	c, err := Start(t.Context(), Options{Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := c.InstallCRDs(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}
