package socketlb

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/lintel-dev/lintel/bpf"
)

// Feature is the name under which lintel bpf knows this one, and of its folder of pins.
const Feature = "socket-lb"

// Sizes are how many entries the maps have room for. What is not used of the first two
// takes 16 bytes, the others take about 130 bytes each at once.
type Sizes struct {
	Addresses int // of Services: an IP address, a port, a protocol
	Endpoints int // of all ports of Services; a quarter of them with session affinity
	Clients   int // that stay with an endpoint; those that were idle longest are forgotten
	Sockets   int // that send without being connected, to one endpoint each; likewise
	// Connected is how many connected sockets are remembered in 56 bytes each, a power of 2.
	// A socket whose place another one has takes 0.4 µs more to connect.
	Connected int
}

// Needs are those of the programs.
func Needs() bpf.Needs {
	return bpf.Needs{
		Programs: []bpf.Program{{Type: ebpf.CGroupSockAddr, Since: "4.17"}, {Type: ebpf.CGroupSock, Since: "4.10"}},
		Maps:     []ebpf.MapType{ebpf.Hash, ebpf.LRUHash, ebpf.Array, ebpf.SkStorage},
		Helpers: []bpf.Helper{
			{Program: ebpf.CGroupSockAddr, Function: asm.FnGetSocketCookie, Since: "4.17"},
			{Program: ebpf.CGroupSockAddr, Function: asm.FnSkStorageGet, Since: "5.8"},
			{Program: ebpf.CGroupSockAddr, Function: asm.FnGetNetnsCookie, Since: "5.7"},
			{Program: ebpf.CGroupSock, Function: asm.FnGetSocketCookie, Since: "5.7"},
		},
	}
}

// attachment is a program and what it is called for.
type attachment struct {
	program string
	at      ebpf.AttachType
}

// attachments are in the order in which programs are attached: no socket may take a cell
// that is not given back when it is closed.
func attachments() []attachment {
	return []attachment{
		{lbProgLbRelease, ebpf.AttachCgroupInetSockRelease},
		{lbProgLbGetpeername4, ebpf.AttachCgroupInet4GetPeername}, {lbProgLbGetpeername6, ebpf.AttachCgroupInet6GetPeername},
		{lbProgLbRecvmsg4, ebpf.AttachCGroupUDP4Recvmsg}, {lbProgLbRecvmsg6, ebpf.AttachCGroupUDP6Recvmsg},
		{lbProgLbConnect4, ebpf.AttachCGroupInet4Connect}, {lbProgLbConnect6, ebpf.AttachCGroupInet6Connect},
		{lbProgLbSendmsg4, ebpf.AttachCGroupUDP4Sendmsg}, {lbProgLbSendmsg6, ebpf.AttachCGroupUDP6Sendmsg},
	}
}

// programs are what is loaded into the kernel, and attached once there is something to do.
type programs struct {
	pins       bpf.Pins // without a folder nothing outlives the process
	collection *ebpf.Collection
	fresh      []string // maps that were made, and take the place of pinned ones when all is attached
	links      map[string]link.Link
}

// load loads the programs. Maps that are pinned are taken over if they have the layout and
// the sizes that are wanted; otherwise new ones are made.
func load(pins bpf.Pins, sizes Sizes) (*programs, error) {
	spec, err := loadLb()
	if err != nil {
		return nil, err
	}
	for name, size := range map[string]int{
		lbMapLbServices: sizes.Addresses, lbMapLbEndpoints: sizes.Endpoints,
		lbMapLbPlaces: sizes.Endpoints / 4, lbMapLbAffinity: sizes.Clients, lbMapLbOrigins: sizes.Sockets,
		lbMapLbCells: sizes.Connected,
	} {
		spec.Maps[name].MaxEntries = uint32(size)
	}
	if err := spec.Variables[lbVarLastCell].Set(uint32(sizes.Connected - 1)); err != nil {
		return nil, err
	}
	if features.HaveProgramHelper(ebpf.CGroupSockAddr, asm.FnSetRetval) == nil {
		if err := spec.Variables[lbVarHasSetRetval].Set(uint8(1)); err != nil {
			return nil, err
		}
	}
	bpf.LiftLockedMemory()
	p := &programs{pins: pins, links: make(map[string]link.Link)}
	kept, err := p.keptMaps(spec)
	if err != nil {
		return nil, err
	}
	defer closeMaps(kept) // the collection has descriptors of its own
	p.collection, err = ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: kept})
	if err != nil {
		return nil, refused(err)
	}
	return p, nil
}

// refused tells what the kernel does not do for us from what it can't do just now.
func refused(err error) error {
	for _, lack := range []error{unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EAGAIN} {
		if errors.Is(err, lack) {
			return fmt.Errorf("load programs: %w", err)
		}
	}
	return bpf.Unavailable("the kernel refuses the programs: %w", err)
}

// keptMaps opens the pinned maps that can be taken over, and notes the others. The
// first three belong together: they are kept all or none.
func (p *programs) keptMaps(spec *ebpf.CollectionSpec) (map[string]*ebpf.Map, error) {
	kept := make(map[string]*ebpf.Map)
	names := []string{lbMapLbServices, lbMapLbEndpoints, lbMapLbPlaces, lbMapLbAffinity, lbMapLbOrigins, lbMapLbCells, lbMapLbPeers}
	if p.pins.Folder() == "" {
		return kept, nil
	}
	for _, name := range names {
		m, err := p.pins.Map(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			closeMaps(kept)
			return nil, fmt.Errorf("open pinned map %s: %w", p.pins.Path(name), err)
		}
		if spec.Maps[name].Compatible(m) == nil {
			kept[name] = m
		} else {
			_ = m.Close() // it was only looked at
		}
	}
	if together := names[:3]; slices.ContainsFunc(together, func(name string) bool { return kept[name] == nil }) {
		for _, name := range together {
			if kept[name] != nil {
				_ = kept[name].Close() // it was only looked at
			}
			delete(kept, name)
		}
	}
	for _, name := range names {
		if kept[name] == nil {
			p.fresh = append(p.fresh, name)
		}
	}
	return kept, nil
}

func closeMaps(all map[string]*ebpf.Map) {
	for _, m := range all {
		_ = m.Close() // who needs it has a descriptor of its own
	}
}

// attach attaches the programs to a cgroup: in the place of those that are pinned, one by
// one, each at once.
func (p *programs) attach(cgroup string) error {
	group, err := os.Stat(cgroup)
	if err != nil {
		return bpf.Unavailable("there is no cgroup: %w", err)
	}
	for _, a := range attachments() {
		if err := p.attachOne(a, cgroup, group.Sys().(*syscall.Stat_t).Ino); err != nil {
			return fmt.Errorf("attach %s to %s: %w", a.program, cgroup, err)
		}
	}
	if p.pins.Folder() == "" {
		return nil
	}
	// From now on the programs look into these maps, and the next process shall.
	for _, name := range p.fresh {
		next := p.pins.Path(name + "_new")
		_ = os.Remove(next) // of a process that ended right here
		if err := p.collection.Maps[name].Pin(next); err != nil {
			return fmt.Errorf("pin map %s: %w", name, err)
		}
		if err := os.Rename(next, p.pins.Path(name)); err != nil {
			return fmt.Errorf("pin map %s: %w", name, err)
		}
	}
	p.fresh = nil
	return nil
}

func (p *programs) attachOne(a attachment, cgroup string, id uint64) error {
	program := p.collection.Programs[a.program]
	if p.pins.Folder() != "" {
		if replaced, err := p.replace(a.program, program, id); replaced || err != nil {
			return err
		}
	}
	l, err := link.AttachCgroup(link.CgroupOptions{Path: cgroup, Attach: a.at, Program: program})
	if err != nil {
		return err
	}
	p.links[a.program] = l
	if p.pins.Folder() == "" {
		return nil
	}
	return l.Pin(p.pins.Path(linkPin(a.program)))
}

// replace puts the program into the link that is pinned, if it is still one of the cgroup.
func (p *programs) replace(name string, program *ebpf.Program, cgroup uint64) (bool, error) {
	l, err := p.pins.Link(linkPin(name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	info, err := l.Info()
	if err == nil && info.Cgroup() != nil && info.Cgroup().CgroupId == cgroup {
		if err := l.Update(program); err == nil {
			p.links[name] = l
			return true, nil
		}
	}
	// The cgroup has gone, or is another one than was told before.
	_ = l.Detach() // it may be detached already
	_ = l.Close()
	return false, os.Remove(p.pins.Path(linkPin(name)))
}

// linkPrefix tells pinned links from pinned maps.
const linkPrefix = "link_"

func linkPin(program string) string { return linkPrefix + strings.TrimPrefix(program, "lb_") }

// close lets go of everything: what is not pinned is detached and gone.
func (p *programs) close() {
	for _, l := range p.links {
		_ = l.Close() // a descriptor
	}
	if p.collection != nil {
		p.collection.Close()
	}
}
