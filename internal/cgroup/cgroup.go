// SPDX-License-Identifier: Apache-2.0

// Package cgroup finds the limits that Linux control groups set to this process: the files
// of its own cgroup and of those above it, wherever they are mounted.
package cgroup

import (
	"bufio"
	"bytes"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// A Reader reads limits. Its mounts are looked up once, the cgroups of the process each time:
// it may be moved.
type Reader struct {
	root   fs.FS
	mounts []mount
}

// A mount is a hierarchy of cgroups, or a part of one, in the file system.
type mount struct {
	controllers []string // of version 1; nil: version 2
	top         string   // what of the hierarchy is mounted
	at          string   // where, without the leading slash
}

// New returns a reader for the process that sees root as the root directory, with /proc: os.DirFS("/").
// If it can't see what is mounted, it finds no limits.
func New(root fs.FS) *Reader {
	r := &Reader{root: root}
	text, err := fs.ReadFile(root, "proc/self/mountinfo")
	if err != nil {
		return r
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if m, ok := parseMount(lines.Text()); ok {
			r.mounts = append(r.mounts, m)
		}
	}
	return r
}

// parseMount reads a line of mountinfo (proc_pid_mountinfo(5)): five fields, options, "-", type, source
// and options of the file system.
func parseMount(line string) (mount, bool) {
	left, right, ok := strings.Cut(line, " - ")
	f, g := strings.Fields(left), strings.Fields(right)
	if !ok || len(f) < 5 || len(g) < 3 {
		return mount{}, false
	}
	m := mount{top: unescape(f[3]), at: strings.TrimPrefix(unescape(f[4]), "/")}
	switch g[0] {
	case "cgroup2":
		return m, true
	case "cgroup":
		m.controllers = strings.Split(g[2], ",") // and options that are no controllers
		return m, true
	}
	return mount{}, false
}

// unescape undoes what the kernel does to spaces and the like in mountinfo: \040.
func unescape(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		if s[0] == '\\' && len(s) >= 4 {
			if n, err := strconv.ParseUint(s[1:4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				s = s[4:]
				continue
			}
		}
		b.WriteByte(s[0])
		s = s[1:]
	}
	return b.String()
}

// Each calls fn for the cgroups of the process that have controller, its own one first and then
// those above it, as far as they are mounted, in each version. read returns the text of a file there.
func (r *Reader) Each(controller string, fn func(read func(file string) (string, error))) {
	text, err := fs.ReadFile(r.root, "proc/self/cgroup")
	if err != nil {
		return
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		// hierarchy:controllers:path, where version 2 has no controllers (cgroups(7)).
		f := strings.SplitN(lines.Text(), ":", 3)
		if len(f) != 3 || f[1] != "" && !slices.Contains(strings.Split(f[1], ","), controller) {
			continue
		}
		for _, m := range r.mounts {
			if (f[1] == "") != (m.controllers == nil) || m.controllers != nil && !slices.Contains(m.controllers, controller) {
				continue
			}
			if below, ok := under(m.top, f[2]); ok {
				r.climb(m.at, below, fn)
				break // mounted elsewhere too, it has the same limits
			}
		}
	}
}

// under returns dir as seen from top. A cgroup namespace shows what is outside of it as "/..":
// a process there is not under top, nor is one whose own cgroup is not mounted.
func under(top, dir string) (string, bool) {
	if top == "/" {
		return dir, !strings.HasPrefix(dir, "/..")
	}
	rest, ok := strings.CutPrefix(dir, top)
	return rest, ok && (rest == "" || rest[0] == '/')
}

// climb calls fn for the directory below the mount point at, and for those between.
func (r *Reader) climb(at, below string, fn func(read func(file string) (string, error))) {
	for dir := path.Join("/", below); ; dir = path.Dir(dir) {
		fn(func(file string) (string, error) {
			text, err := fs.ReadFile(r.root, path.Join(at, dir, file))
			return string(text), err
		})
		if dir == "/" {
			return
		}
	}
}

// CPUs returns how many processors' time the process is allowed, rounded up; 0: no limit is
// known. The Go runtime looks at the same to set GOMAXPROCS, but never goes below 2 for it.
func (r *Reader) CPUs() int { return r.least("cpu", quota) }

// least returns the least limit of the cgroups of the process that have controller; limit returns
// that of one, 0 if it has none.
func (r *Reader) least(controller string, limit func(read func(file string) (string, error)) int) int {
	least := 0
	r.Each(controller, func(read func(string) (string, error)) {
		if n := limit(read); n > 0 && (least == 0 || n < least) {
			least = n
		}
	})
	return least
}

// quota is CPUs for one cgroup: cpu.max has "quota period" or "max period", in µs; version 1 has a
// file for each, and a quota of -1.
func quota(read func(string) (string, error)) int {
	text, err := read("cpu.max")
	if err != nil {
		q, errQ := read("cpu.cfs_quota_us")
		p, errP := read("cpu.cfs_period_us")
		if errQ != nil || errP != nil {
			return 0
		}
		text = q + " " + p
	}
	f := strings.Fields(text)
	if len(f) != 2 {
		return 0
	}
	q, errQ := strconv.ParseInt(f[0], 10, 64)
	p, errP := strconv.ParseInt(f[1], 10, 64)
	if errQ != nil || errP != nil || q <= 0 || p <= 0 {
		return 0
	}
	return int(min((q-1)/p+1, 1<<20))
}

// Threads returns how many threads the cgroups of the process may have (pids.max), those
// of other processes in them included; 0: no limit is known.
func (r *Reader) Threads() int {
	return r.least("pids", func(read func(string) (string, error)) int {
		text, _ := read("pids.max")
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil { // "max"
			return 0
		}
		return n
	})
}
