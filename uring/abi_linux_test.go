// SPDX-License-Identifier: Apache-2.0

package uring

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestABIHeader compiles a C program against the machine's own header and
// compares what it prints with this package. Names that the header, which may
// be older than the package, does not have are left out and counted.
func TestABIHeader(t *testing.T) {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("no C compiler")
	}
	header, err := exec.Command(gcc, "-E", "-dD", "-include", "linux/io_uring.h", "-include", "asm/unistd.h", "-include", "linux/fs.h", "-xc", os.DevNull).Output()
	if err != nil {
		t.Skip("no kernel headers: ", err)
	}
	program, want, missing := abiProgram(string(header))
	if len(want) < 100 {
		t.Fatalf("only %d of the names are in the header: %v are not", len(want), missing)
	}
	dir := t.TempDir()
	source, binary := filepath.Join(dir, "abi.c"), filepath.Join(dir, "abi")
	if err := os.WriteFile(source, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(gcc, "-o", binary, source).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	out, err := exec.Command(binary).Output()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(got) != len(want) {
		t.Fatalf("the C program printed %d lines, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("C has %q, this package %q", got[i], want[i])
		}
	}
	t.Logf("%d values agree; not in this header: %s", len(want), strings.Join(missing, ", "))
}

// abiProgram returns a C program that prints one line for each size, offset
// and constant that the header has, and the lines that this package expects.
func abiProgram(header string) (program string, want, missing []string) {
	words := map[string]bool{}
	for _, w := range regexp.MustCompile(`\w+`).FindAllString(header, -1) {
		words[w] = true
	}
	var b strings.Builder
	b.WriteString("#include <stdio.h>\n#include <stddef.h>\n#include <sys/uio.h>\n#include <linux/io_uring.h>\n#include <asm/unistd.h>\nint main(void) {\n")
	add := func(label, expr string, value uint64) {
		fmt.Fprintf(&b, "printf(\"%%s %%llu\\n\", %q, (unsigned long long)(%s));\n", label, expr)
		want = append(want, fmt.Sprintf("%s %d", label, value))
	}
	for _, l := range layouts {
		if name := strings.Fields(l.c)[1]; name != "iovec" && !words[name] {
			missing = append(missing, name)
			continue
		}
		size := l.size
		if s, ok := sharedWithTail[l.c]; ok {
			size = s
		}
		add(l.c, "sizeof("+l.c+")", uint64(size))
		for _, f := range l.fields {
			c := f.c
			if l.c == "struct io_uring_getevents_arg" && c == "pad" && words["min_wait_usec"] {
				c = "min_wait_usec" // its name since 6.12
			}
			add(l.c+"."+f.c, "offsetof("+l.c+", "+c+")", uint64(f.offset))
		}
	}
	all := allConstants()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !words[name] {
			missing = append(missing, name)
			continue
		}
		add(name, name, all[name])
	}
	b.WriteString("return 0;\n}\n")
	return b.String(), want, missing
}
