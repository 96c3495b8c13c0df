package exchange

import "testing"

// Pressure is high as soon as what is counted leaves no room for an exchange, whether that
// was asked for or taken, and no longer.
func TestPressureByCounting(t *testing.T) {
	var p Pressure
	p.Hold(1 << 40)
	if p.High() || !p.Reserve(1<<40) {
		t.Error("there is pressure without a limit")
	}
	p = Pressure{}
	p.Limit(4 * leastMemory)
	if !p.Reserve(3 * leastMemory) {
		t.Error("there is no room for three exchanges of four")
	}
	if p.High() {
		t.Error("the fourth exchange would not be asked for")
	}
	if p.Reserve(leastMemory + 1) {
		t.Error("there is room for more than the limit")
	}
	p.Hold(1)
	if !p.High() || p.Reserve(leastMemory) {
		t.Error("what is held is not counted")
	}
	p.Return(1)
	if p.High() {
		t.Error("the pressure outlasts its cause")
	}
	if (*Pressure)(nil).High() {
		t.Error("there is pressure where nothing is counted")
	}
}
