// SPDX-License-Identifier: Apache-2.0

package fiojob

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// TestParse runs testdata/parse/*. Commands:
//
//	parse [NAME=VALUE...]   parse the input with these environment variables
//	file name=NAME          store the input as a file for include
//
// parse prints the warnings, then for each job what differs from a job with
// nothing set, or the errors.
func TestParse(t *testing.T) {
	datadriven.Walk(t, "testdata/parse", func(t *testing.T, path string) {
		files := map[string]string{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd == "file" {
				var name string
				d.ScanArgs(t, "name", &name)
				files[name] = d.Input + "\n"
				return ""
			}
			env := Env{
				LookupEnv: func(name string) (string, bool) {
					for _, arg := range d.CmdArgs {
						if arg.Key == name && len(arg.Vals) == 1 {
							return arg.Vals[0], true
						}
					}
					return "", false
				},
				ReadFile: func(path string) ([]byte, error) {
					if text, ok := files[path]; ok {
						return []byte(text), nil
					}
					return nil, fmt.Errorf("open %s: %w", path, os.ErrNotExist)
				},
			}
			file, err := Parse("x.fio", []byte(d.Input), env)
			if err != nil {
				return err.Error() + "\n"
			}
			return dump(file)
		})
	})
}

// dump prints a file's warnings and the fields of its jobs that are not at
// their default.
func dump(f *File) string {
	var out strings.Builder
	for _, w := range f.Warnings {
		fmt.Fprintf(&out, "warning: %v\n", w)
	}
	plain := reflect.ValueOf(newDraft().job)
	for _, j := range f.Jobs {
		fmt.Fprintf(&out, "[%s] line %d\n", j.Name, j.Pos.Line)
		v := reflect.ValueOf(j)
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			if name == "Name" || name == "Pos" || name == "Settings" ||
				reflect.DeepEqual(v.Field(i).Interface(), plain.Field(i).Interface()) {
				continue
			}
			fmt.Fprintf(&out, "  %s %+v\n", name, v.Field(i).Interface())
		}
	}
	return out.String()
}

// numbers reads testdata/numbers.tsv: option, value, kb_base, and what fio 3.33
// makes of it (its debug=parse output), or "-" where fio says that it is wrong,
// then "same" or "refused": what this package does.
func numbers(t *testing.T) [][]string {
	t.Helper()
	src, err := os.ReadFile("testdata/numbers.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]string
	for line := range strings.Lines(string(src)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		row := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(row) != 5 {
			t.Fatalf("numbers.tsv: %q has %d columns, want 5", line, len(row))
		}
		rows = append(rows, row)
	}
	return rows
}

// TestNumbers checks that each number is what fio reads, or refused.
func TestNumbers(t *testing.T) {
	for _, row := range numbers(t) {
		name, value, base, fio, want := row[0], row[1], row[2], row[3], row[4]
		text := fmt.Sprintf("[a]\nkb_base=%s\n%s=%s\nioengine=io_uring\nthinktime=1000s\n", base, name, value)
		f, err := Parse("x.fio", []byte(text), Env{})
		if want == "refused" {
			if err == nil {
				t.Errorf("%s=%s kb_base=%s is accepted, want an error", name, value, base)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s=%s kb_base=%s: %v, want %s", name, value, base, err, fio)
			continue
		}
		j := f.Jobs[0]
		got := map[string]string{
			"io_size": j.IOSize.String(), "bs": fmt.Sprint(j.BlockSizes[Read].MinBytes), "iodepth": fmt.Sprint(j.Depth),
			"number_ios": fmt.Sprint(j.NumberIOs), "rate": fmt.Sprint(j.Rate[Read]),
			"runtime":        fmt.Sprint(j.Runtime.Microseconds()),
			"thinktime_spin": fmt.Sprint(j.ThinktimeSpin.Microseconds()),
		}[name]
		if got != fio {
			t.Errorf("%s=%s kb_base=%s = %s, want %s (fio)", name, value, base, got, fio)
		}
	}
}

// recordedFio returns the path of fio, if it is the version that the tables are
// recorded from. Others have other options, and may read a number differently.
func recordedFio(t *testing.T) string {
	t.Helper()
	fio, err := exec.LookPath("fio")
	if err != nil {
		t.Skip("fio is not installed")
	}
	version, err := exec.Command(fio, "--version").Output()
	if err != nil || strings.TrimSpace(string(version)) != "fio-3.33" {
		t.Skipf("the tables are of fio-3.33, and %s is %q, %v", fio, version, err)
	}
	return fio
}

// TestNumbersOfFio compares testdata/numbers.tsv with the fio that is installed,
// so that the table is what fio does and not what somebody thinks it does.
func TestNumbersOfFio(t *testing.T) {
	fio := recordedFio(t)
	// One run for all rows that are right, a section each, since a run of fio
	// takes a while; one run for each that is wrong, since fio stops there.
	var text strings.Builder
	var right [][]string
	for _, row := range numbers(t) {
		section := fmt.Sprintf("[a]\nfilename=x\nkb_base=%s\n%s=%s\n", row[2], row[0], row[1])
		if row[3] != "-" {
			text.WriteString(section)
			right = append(right, row)
			continue
		}
		if out, err := parseWithFio(t, fio, section); err == nil {
			t.Errorf("fio accepts %s=%s, numbers.tsv says that it does not: %s", row[0], row[1], out)
		}
	}
	out, err := parseWithFio(t, fio, text.String())
	if err != nil {
		t.Fatalf("fio: %v: %s", err, out)
	}
	sections := strings.Split(out, "__handle_option=kb_base,")[1:]
	if len(sections) != len(right) {
		t.Fatalf("fio reports %d sections, want %d", len(sections), len(right))
	}
	for i, row := range right {
		_, after, _ := strings.Cut(sections[i], "__handle_option="+row[0]+",")
		if m := fioResult.FindStringSubmatch(after); m == nil || m[1] != row[3] {
			t.Errorf("fio reads %s=%s kb_base=%s as %v, numbers.tsv says %s", row[0], row[1], row[2], m, row[3])
		}
	}
}

var fioResult = regexp.MustCompile(`ret=0, out=(\d+)`)

// parseWithFio returns what fio says while it parses text.
func parseWithFio(t *testing.T, fio, text string) (string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.fio")
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(fio, "--debug=parse", "--parse-only", path).CombinedOutput()
	return string(out), err
}

// TestKnown checks that the tables agree: what is supported is known to fio, and
// each hint names a supported option.
func TestKnown(t *testing.T) {
	for name := range optionByName {
		if !known[name] {
			t.Errorf("option %s is supported and not in the list of fio's options", name)
		}
	}
	for name, hint := range instead {
		if optionByName[hint] == nil {
			t.Errorf("instead[%s] = %s, which is not supported", name, hint)
		}
		if optionByName[name] != nil {
			t.Errorf("instead[%s] exists, but %s is supported", name, name)
		}
	}
	for name := range directiveByName {
		if known[name] && name != "uncached" { // an option of two of fio's engines
			t.Errorf("directive %s is also an option of fio", name)
		}
	}
}

// TestDocumented checks that the package comment names each option and directive.
func TestDocumented(t *testing.T) {
	src, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	words := regexp.MustCompile(`[a-z_]+`).FindAllString(string(src), -1)
	for _, o := range append(slices.Clone(options), directives...) {
		if !slices.Contains(words, o.name) {
			t.Errorf("doc.go does not name %s", o.name)
		}
	}
}

// TestKnownToFio checks that the fio that is installed lists each supported
// option that is not an engine's, and has none that the list lacks.
func TestKnownToFio(t *testing.T) {
	fio := recordedFio(t)
	out, err := exec.Command(fio, "--cmdhelp").Output()
	if err != nil {
		t.Fatalf("fio --cmdhelp: %v", err)
	}
	listed := 0
	for line := range strings.Lines(string(out)) {
		name, _, ok := strings.Cut(line, ":")
		name = strings.TrimSpace(name)
		if !ok || strings.Contains(name, " ") {
			continue
		}
		listed++
		if !known[name] {
			t.Errorf("fio has option %s, which is not in the list", name)
		}
	}
	if listed < 200 {
		t.Errorf("fio --cmdhelp lists %d options, want at least 200: has its output changed?", listed)
	}
}

func TestAmountOf(t *testing.T) {
	for _, tt := range []struct {
		a     Amount
		total int64
		want  int64
	}{
		{Amount{Bytes: 7}, 100, 7},
		{Amount{Percent: 50}, 101, 50},
		{Amount{Percent: 100}, 1<<63 - 1, 1<<63 - 1 - 7}, // divided first: less than 100 bytes too small
		{Amount{}, 100, 0},
	} {
		if got := tt.a.Of(tt.total); got != tt.want {
			t.Errorf("%v.Of(%d) = %d, want %d", tt.a, tt.total, got, tt.want)
		}
	}
}

func TestVerifyUnit(t *testing.T) {
	for _, tt := range []struct {
		options string
		want    int64
	}{
		{"rw=write", 4096},
		{"rw=randwrite\nbssplit=4k/50:12k/50", 4096},
		{"rw=randwrite\nbssplit=8k/50:12k/50", 4096},
		{"rw=randrw\nbs=4k,6k", 2048},
		{"rw=write:1k", 1024},
		{"rw=write:-1k", 1024},
		{"rw=randwrite\nba=512", 512},
		{"rw=randwrite\nbsrange=4k-64k", 4096},
	} {
		f, err := Parse("x.fio", []byte("[a]\n"+tt.options+"\n"), Env{})
		if err != nil {
			t.Errorf("%q: %v", tt.options, err)
			continue
		}
		if got := f.Jobs[0].VerifyUnit(); got != tt.want {
			t.Errorf("%q: VerifyUnit() = %d, want %d", tt.options, got, tt.want)
		}
	}
}

func TestErrorList(t *testing.T) {
	_, err := Parse("x.fio", []byte("[a]\nbogus=1\nsize=\n"), Env{})
	var list ErrorList
	if !errors.As(err, &list) || len(list) != 2 {
		t.Fatalf("Parse error = %v, want an ErrorList of 2", err)
	}
	var first *Error
	if !errors.As(err, &first) || first.Pos != (Pos{"x.fio", 2, 1}) {
		t.Errorf("errors.As gives %v, want the error in line 2", first)
	}
	if _, err := Parse("x.fio", []byte("[a]\n"+strings.Repeat("bogus=1\n", 1000)), Env{}); !errors.As(err, &list) || len(list) != MaxErrors {
		t.Errorf("1000 wrong lines give %d errors, want %d", len(list), MaxErrors)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "big.fio")
	if err := os.WriteFile(big, make([]byte, MaxFileBytes+1), 0o666); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none.fio"): "no such file",
		dir:                            "is a directory",
		big:                            "are more than a job file may have",
	} {
		if _, err := Load(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Load(%s) = %v, want an error with %q", path, err, want)
		}
	}
}

// TestMuchAdded has includes of includes, and long variables, many times.
func TestMuchAdded(t *testing.T) {
	const want = "includes and environment variables have more than 4194304 bytes of text in all"
	reads, empty := 0, false
	env := Env{
		LookupEnv: func(string) (string, bool) { return strings.Repeat("x", 100<<10), true },
		ReadFile: func(path string) ([]byte, error) {
			if reads++; reads > 1<<20 {
				t.Fatalf("%d files were read", reads)
			}
			switch {
			case path != "iiii":
				return []byte(strings.Repeat("include "+path+"i\n", 2000)), nil
			case empty:
				return nil, nil
			}
			return []byte("iodepth=1\n"), nil
		},
	}
	for _, tt := range []struct {
		text  string
		empty bool
		errs  int
	}{
		{"[a]\ninclude i\n", false, MaxErrors},
		{"[a]\ninclude i\n", true, MaxErrors},
		{"[a]\ndescription=" + strings.Repeat("${X}", 1000) + "\n", false, 1},
	} {
		reads, empty = 0, tt.empty
		_, err := Parse("x.fio", []byte(tt.text), env)
		var list ErrorList
		if !errors.As(err, &list) || len(list) != tt.errs || !strings.Contains(list[0].Msg, want) {
			t.Errorf("%.40q: %.500v, want %q", tt.text, err, want)
		}
	}
}

// TestManyJobs has as many sections as there may be, and one more.
func TestManyJobs(t *testing.T) {
	text := "[global]\nsize=4k\n" + strings.Repeat("[a]\n", MaxClones)
	file, err := Parse("x.fio", []byte(text), Env{})
	if err != nil || len(file.Jobs) != MaxClones {
		t.Fatalf("%d jobs: %v", MaxClones, err)
	}
	_, err = Parse("x.fio", []byte(text+"[b]\n"), Env{})
	if want := fmt.Sprintf("x.fio:%d:1: there are more than %d jobs in the file", MaxClones+3, MaxClones); err == nil || err.Error() != want {
		t.Errorf("one more: %v, want %q", err, want)
	}
}

// TestLoadEndless loads from a pipe into which somebody writes too much.
func TestLoadEndless(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		_, _ = w.Write(make([]byte, 4*MaxFileBytes)) // whoever reads leaves off
		_ = w.Close()
	}()
	path := fmt.Sprintf("/dev/fd/%d", r.Fd())
	if _, err := os.Stat(path); err != nil {
		t.Skip(err)
	}
	_, err = Load(path)
	if err == nil || !strings.Contains(err.Error(), "there is more than a job file may have") {
		t.Errorf("%v, want that it is too much", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	<-written
}

// FuzzParse checks that no text panics, that errors have a place, and that what
// is accepted keeps the limits that a runner relies on.
func FuzzParse(f *testing.F) {
	examples, err := filepath.Glob("../examples/*.fio")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range examples {
		src, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(src))
	}
	for _, o := range options {
		f.Add("[global]\n" + o.name + "=1\n[a]\nrw=randrw:8\n" + o.name + "=4k-8k,1/2:3%\nverify=xxhash\n#endio: uncached=1")
	}
	env := Env{LookupEnv: func(name string) (string, bool) { return name + "=1", name != "" }}
	f.Fuzz(func(t *testing.T, text string) {
		file, err := Parse("x.fio", []byte(text), env)
		if err != nil {
			var list ErrorList
			if !errors.As(err, &list) || len(list) == 0 {
				t.Fatalf("error %v is no ErrorList", err)
			}
			for _, e := range list {
				if e.Pos.File == "" || e.Msg == "" || len(e.Error()) > maxMessage+100 {
					t.Errorf("error %+v has no place, no text, or too much", e)
				}
			}
			return
		}
		for _, j := range file.Jobs {
			checkLimits(t, &j)
		}
	})
}

// checkLimits fails t unless j keeps what a runner relies on.
func checkLimits(t *testing.T, j *Job) {
	t.Helper()
	ok := j.Name != "" && j.NumJobs >= 1 && j.FileCount >= 1 && j.Depth >= 1 && j.Loops >= 1 &&
		j.BatchSubmit >= 1 && j.BatchSubmit <= j.Depth && j.BatchCompleteMin >= 0 && j.BatchCompleteMin <= j.Depth &&
		j.MixReadPercent >= 0 && j.MixReadPercent <= 100 && j.Pattern.Run >= 1 && j.ThinktimeBlocks >= 1 &&
		(!j.TimeBased || j.Runtime > 0) && j.Runtime >= 0 && j.Size.Bytes >= 0 && j.Offset.Bytes >= 0 &&
		slices.IsSorted(j.Percentiles) && j.ThinktimeSpin <= j.Thinktime && j.RampTime >= 0 && j.StartDelay >= 0
	if !ok {
		t.Errorf("job breaks a limit: %+v", *j)
	}
	for _, b := range j.BlockSizes {
		total := 0.0
		for _, s := range b.Split {
			total += s.Percent
			ok = ok && s.Bytes >= b.MinBytes && s.Bytes <= b.MaxBytes
		}
		if b.MinBytes < 1 || b.MaxBytes < b.MinBytes || b.MaxBytes > MaxBlockBytes ||
			(b.Split != nil && (total < 99.999 || total > 100.001)) || !ok {
			t.Errorf("block size breaks a limit: %+v", b)
		}
	}
	if j.Verify != NoChecksum && j.VerifyUnit() < MinVerifyBytes {
		t.Errorf("verify unit is %d", j.VerifyUnit())
	}
}

// TestTimeOracle checks parseTime against time.ParseDuration where the two
// formats agree.
func TestTimeOracle(t *testing.T) {
	for _, unit := range []string{"h", "m", "s", "ms", "us"} {
		for n := range 200 {
			text := fmt.Sprintf("%d%s", n*37, unit)
			want, err := time.ParseDuration(text)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := parseTime(text, time.Second); err != nil || got != want {
				t.Errorf("parseTime(%s) = %v, %v, want %v", text, got, err, want)
			}
		}
	}
}

// TestLongMessages has values that messages quote, and that are longer than any message.
func TestLongMessages(t *testing.T) {
	long := strings.Repeat("\x06", 1<<16)
	for _, text := range []string{"[a]\nnrfiles=1" + long, "[a]\nbs=" + long, "[a]\n" + long + "=1", "[" + long, long, "[a]\nrw=" + long + "\nsize=4k" + long} {
		_, err := Parse("x.fio", []byte(text), Env{})
		var list ErrorList
		if !errors.As(err, &list) {
			t.Fatalf("%.20q: %v, want errors", text, err)
		}
		for _, e := range list {
			if len(e.Msg) > maxMessage {
				t.Errorf("%.20q: a message of %d bytes, want at most %d", text, len(e.Msg), maxMessage)
			}
		}
	}
}
