// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"testing"
	"testing/fstest"
)

// mountinfo lines as the kernel writes them.
const (
	v2      = "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
	v1cpu   = "33 32 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:15 - cgroup cgroup rw,cpu,cpuacct\n"
	v1pids  = "39 32 0:36 / /sys/fs/cgroup/pids rw,nosuid shared:21 - cgroup cgroup rw,pids\n"
	hybrid2 = "31 32 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:5 - cgroup2 cgroup2 rw\n"
	others  = "22 27 0:21 / /proc rw,relatime - proc proc rw\n" +
		"27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n" +
		"34 32 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n" +
		"40 32 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n"
)

// TestLimits reads the limits of made-up systems.
func TestLimits(t *testing.T) {
	for _, c := range []struct {
		name          string
		cgroup        string // /proc/self/cgroup
		mounts        string
		files         map[string]string
		cpus, threads int
	}{
		{name: "no proc"},
		{name: "no mounts", cgroup: "0::/\n", files: map[string]string{"sys/fs/cgroup/cpu.max": "50000 100000\n"}},
		{
			name: "version 2, own cgroup", cgroup: "0::/user.slice/app\n", mounts: others + v2,
			files: map[string]string{
				"sys/fs/cgroup/user.slice/app/cpu.max": "150000 100000\n", "sys/fs/cgroup/user.slice/cpu.max": "max 100000\n",
				"sys/fs/cgroup/user.slice/app/pids.max": "100\n", "sys/fs/cgroup/user.slice/pids.max": "max\n",
			},
			cpus: 2, threads: 100,
		},
		{
			name: "version 2, a parent has the least", cgroup: "0::/a/b/c\n", mounts: v2,
			files: map[string]string{
				"sys/fs/cgroup/a/b/c/cpu.max": "400000 100000\n", "sys/fs/cgroup/a/b/cpu.max": "max 100000\n", "sys/fs/cgroup/a/cpu.max": "100000 100000\n",
				"sys/fs/cgroup/a/b/c/pids.max": "max\n", "sys/fs/cgroup/a/b/pids.max": "64\n", "sys/fs/cgroup/a/pids.max": "1000\n",
			},
			cpus: 1, threads: 64,
		},
		{
			name: "version 2, max in the parent", cgroup: "0::/a/b\n", mounts: v2,
			files: map[string]string{"sys/fs/cgroup/a/b/cpu.max": "300000 100000\n", "sys/fs/cgroup/a/cpu.max": "max 100000\n"},
			cpus:  3,
		},
		{
			name: "version 2, only a grandparent has the controller", cgroup: "0::/a/b/c\n", mounts: v2,
			files: map[string]string{"sys/fs/cgroup/a/cpu.max": "250000 100000\n"},
			cpus:  3,
		},
		{
			// In a cgroup namespace with cgroups mounted in it, as container runtimes do: the
			// limit of the container is that of the namespace's root.
			name: "version 2, namespace", cgroup: "0::/\n", mounts: v2,
			files: map[string]string{"sys/fs/cgroup/cpu.max": "200000 100000\n", "sys/fs/cgroup/pids.max": "77\n"},
			cpus:  2, threads: 77,
		},
		{
			// The mounts of outside seen from within: nothing says which directory is the
			// process's own, and any other's limits would be wrong.
			name: "version 2, namespace without mounts of its own", cgroup: "0::/\n",
			mounts: "30 23 0:26 /../.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
			files:  map[string]string{"sys/fs/cgroup/cpu.max": "100000 100000\n"},
		},
		{
			name: "version 2, process outside of the namespace", cgroup: "0::/../other\n", mounts: v2,
			files: map[string]string{"sys/fs/cgroup/other/cpu.max": "100000 100000\n", "sys/fs/cgroup/cpu.max": "100000 100000\n"},
		},
		{
			// Without a namespace, but with its own part mounted only: Docker on version 1.
			name: "version 1, part mounted", cgroup: "4:cpu,cpuacct:/docker/0123/app\n2:pids:/docker/0123/app\n",
			mounts: "33 32 0:30 /docker/0123 /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n" +
				"39 32 0:36 /docker/0123 /sys/fs/cgroup/pids ro - cgroup cgroup rw,pids\n",
			files: map[string]string{
				"sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_period_us": "100000\n",
				"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000\n", "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
				"sys/fs/cgroup/pids/pids.max": "30\n",
			},
			cpus: 1, threads: 30,
		},
		{
			name: "version 1, another's part mounted", cgroup: "4:cpu,cpuacct:/docker/0123abc\n",
			mounts: "33 32 0:30 /docker/0123 /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n",
			files:  map[string]string{"sys/fs/cgroup/cpu,cpuacct/cpu.max": "50000 100000\n"},
		},
		{
			name: "version 1, nested", cgroup: "9:name=systemd:/\n4:cpu,cpuacct:/a/b\n2:pids:/a\n0::/\n", mounts: others + v1cpu + v1pids + hybrid2,
			files: map[string]string{
				"sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us": "300000\n", "sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_period_us": "100000\n",
				"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "150000\n", "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000\n",
				"sys/fs/cgroup/pids/a/pids.max": "55\n", "sys/fs/cgroup/pids/pids.max": "max\n",
			},
			cpus: 2, threads: 55,
		},
		{
			name: "version 1, cpuset is not cpu", cgroup: "4:cpuset:/a\n", mounts: others,
			files: map[string]string{"sys/fs/cgroup/cpuset/a/cpu.max": "1 1\n"},
		},
		{
			name: "both versions: the least", cgroup: "3:cpu,cpuacct:/a\n0::/b\n", mounts: v1cpu + hybrid2,
			files: map[string]string{
				"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "400000\n", "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000\n",
				"sys/fs/cgroup/unified/b/cpu.max": "300000 100000\n",
			},
			cpus: 3,
		},
		{
			name: "mounted elsewhere, and escaped", cgroup: "0::/a b\n", mounts: "30 23 0:26 / /my\\040groups\\134 rw - cgroup2 none rw\n",
			files: map[string]string{"my groups\\/a b/cpu.max": "100000 100000\n"},
			cpus:  1,
		},
		{
			name: "a path with a colon", cgroup: "0::/a:b\n", mounts: v2,
			files: map[string]string{"sys/fs/cgroup/a:b/cpu.max": "100000 100000\n"},
			cpus:  1,
		},
		{
			name: "what is no limit", cgroup: "garbage\n0::/a/b/c/d/e\n", mounts: "garbage\n- - -\n" + v2,
			files: map[string]string{
				"sys/fs/cgroup/a/b/c/d/e/cpu.max": "100000\n", "sys/fs/cgroup/a/b/c/d/cpu.max": "", "sys/fs/cgroup/a/b/c/cpu.max": "100000 0\n",
				"sys/fs/cgroup/a/b/cpu.max": "-5 100000\n", "sys/fs/cgroup/a/cpu.max": "x y\n", "sys/fs/cgroup/a/pids.max": "many\n", "sys/fs/cgroup/a/b/pids.max": "0\n",
			},
		},
		{
			name: "rounded up", cgroup: "0::/\n", mounts: v2,
			files: map[string]string{"sys/fs/cgroup/cpu.max": "100001 100000\n"},
			cpus:  2,
		},
		{
			name: "a huge one", cgroup: "0::/\n", mounts: v2,
			files: map[string]string{"sys/fs/cgroup/cpu.max": "9223372036854775807 1\n"},
			cpus:  1 << 20,
		},
	} {
		root := fstest.MapFS{}
		for name, text := range c.files {
			root[name] = &fstest.MapFile{Data: []byte(text)}
		}
		if c.cgroup != "" {
			root["proc/self/cgroup"] = &fstest.MapFile{Data: []byte(c.cgroup)}
		}
		if c.mounts != "" {
			root["proc/self/mountinfo"] = &fstest.MapFile{Data: []byte(c.mounts)}
		}
		r := New(root)
		if cpus, threads := r.CPUs(), r.Threads(); cpus != c.cpus || threads != c.threads {
			t.Errorf("%s: %d processors and %d threads, want %d and %d", c.name, cpus, threads, c.cpus, c.threads)
		}
	}
}

// TestChanges has limits and the process's cgroup change under a reader.
func TestChanges(t *testing.T) {
	root := fstest.MapFS{
		"proc/self/mountinfo":     {Data: []byte(v2)},
		"proc/self/cgroup":        {Data: []byte("0::/a\n")},
		"sys/fs/cgroup/a/cpu.max": {Data: []byte("max 100000\n")},
		"sys/fs/cgroup/b/cpu.max": {Data: []byte("300000 100000\n")},
	}
	r := New(root)
	for _, step := range []struct {
		file, text string
		want       int
	}{
		{"sys/fs/cgroup/a/cpu.max", "70000 100000\n", 1},
		{"proc/self/cgroup", "0::/b\n", 3},
		{"sys/fs/cgroup/cpu.max", "200000 100000\n", 2},
		{"proc/self/cgroup", "0::/gone\n", 2},
	} {
		root[step.file] = &fstest.MapFile{Data: []byte(step.text)}
		if got := r.CPUs(); got != step.want {
			t.Errorf("%s = %q: %d processors, want %d", step.file, step.text, got, step.want)
		}
	}
}
