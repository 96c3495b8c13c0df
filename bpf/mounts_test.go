package bpf

import (
	"strings"
	"testing"
)

const (
	hybrid = `31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
`
	container = `600 590 0:26 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw
601 590 0:26 /../../.. /host/sys/fs\040cgroup rw,nosuid - cgroup2 cgroup2 rw
`
	shared = `41 31 0:26 /kubepods/pod1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw
`
)

func cgroup2(t *testing.T, mountinfo string) []mount {
	t.Helper()
	all, err := parseMounts(strings.NewReader(mountinfo))
	if err != nil {
		t.Fatal(err)
	}
	var mounts []mount
	for _, m := range all {
		if m.filesystem == "cgroup2" {
			mounts = append(mounts, m)
		}
	}
	return mounts
}

func TestCgroupsAreFoundWhereTheyAreMounted(t *testing.T) {
	tests := []struct{ name, mountinfo, cgroups, node, own string }{
		{"beside cgroup v1", hybrid, "9:memory:/a\n0::/system.slice/lintel.service\n", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified/system.slice/lintel.service"},
		{"a container that sees the node's", container, "0::/\n", "/host/sys/fs cgroup", "/sys/fs/cgroup"},
		{"a container without a cgroup namespace", shared, "0::/kubepods/pod1/lintel\n", "/sys/fs/cgroup", "/sys/fs/cgroup/lintel"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			mounts := cgroup2(t, test.mountinfo)
			if got := outermost(mounts).point; got != test.node {
				t.Errorf("the node's is %q, want %q", got, test.node)
			}
			if got, err := ownFolder(mounts, test.cgroups); got != test.own || err != nil {
				t.Errorf("our own is %q, %v, want %q", got, err, test.own)
			}
		})
	}
}

func TestCgroupsOutOfSightAreUnavailable(t *testing.T) {
	for _, cgroups := range []string{"9:memory:/a\n", "0::/other\n"} {
		if got, err := ownFolder(cgroup2(t, shared), cgroups); err == nil {
			t.Errorf("%q is in %q", cgroups, got)
		}
	}
}
