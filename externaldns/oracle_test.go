package externaldns

import (
	"os"
	"os/exec"
	"testing"
)

// The comparison with ExternalDNS itself is a module of its own, which go test ./...
// does not see; a first run builds its part of ExternalDNS, which takes minutes.
func TestAgreesWithExternalDNS(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "test", ".")
	cmd.Dir = "oracle"
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off", "GOTOOLCHAIN=auto")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// ExternalDNS v0.14 wrote two marks, one without the type; later versions leave that
// behind.
func TestBothMarksOfOldVersionsAreAdoptedAndGoWithTheirRecord(t *testing.T) {
	record := a("www.example.com", "192.0.2.1")
	there := append(marked(t, "lintel", record), Record{Name: "www.example.com", Type: TXT, Targets: []string{
		"v=spf1 -all", claim{"lintel", record.Resource}.text(),
	}})
	w := newWorld(there...)
	rules := Rules{Registry: registry(t, RegistryOptions{})}
	if plan := Calculate([]Record{record}, w.read(), rules); !plan.Empty() {
		t.Errorf("to take over takes %v", plan.Zones())
	}
	w.apply(t, Calculate(nil, w.read(), rules))
	if left := w.records[Key{"www.example.com", TXT}]; len(w.records) != 1 || len(left.Targets) != 1 || left.Targets[0] != "v=spf1 -all" {
		t.Errorf("left: %v", w.records)
	}
	old := newWorld(there[0], there[2]) // from before v0.12
	if plan := Calculate([]Record{record}, old.read(), rules); !plan.Empty() || plan.Owned != 1 {
		t.Errorf("to take over the oldest format takes %v", plan.Zones())
	}
}
