// SPDX-License-Identifier: Apache-2.0

package fscheck

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"endio/lockdep"
)

// children are the parts of tests that run in a process of their own, by name.
var children = map[string]func() error{}

const childEnv = "ENDIO_FSCHECK_CHILD"

func TestMain(m *testing.M) {
	if name := os.Getenv(childEnv); name != "" {
		lockdep.Panic() // a report ends the child, which its parent sees
		if err := children[name](); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(lockdep.RunTests(m))
}

// child returns a command that runs the child of that name, with env beside it.
func child(name string, env ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), childEnv+"="+name), env...)
	return cmd
}

// runChild runs a child to its end.
func runChild(t *testing.T, name string, env ...string) {
	t.Helper()
	out, err := child(name, env...).CombinedOutput()
	if strings.HasPrefix(string(out), "skip: ") {
		t.Skip(string(out))
	}
	if err != nil {
		t.Errorf("%v: %s", err, out)
	} else if len(out) > 0 {
		t.Logf("%s", out)
	}
}
