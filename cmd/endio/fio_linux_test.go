// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// fioJobs are options of jobs whose operations fio counts the same, whatever its
// random numbers. Sections of one case follow each other.
//
// Left out is what differs, and why: trims (fio's trim is BLKDISCARD, which fails
// on files; here it punches holes); io_size beyond size with verify (fio counts
// the reads of its verify phase against io_size); mixes and bssplit with shares
// between 0 and 100 (which operation is which is a matter of random numbers).
var fioJobs = []string{
	// rw in all its forms.
	"rw=read size=1m", "rw=write size=1m", "rw=randread size=1m", "rw=randwrite size=1m", "readwrite=read size=1m",
	"rw=rw rwmixread=100 size=1m", "rw=readwrite rwmixread=0 size=1m", "rw=randrw rwmixwrite=0 size=1m", "rw=randrw rwmixwrite=100 size=1m",
	"rw=write:4k size=1m", "rw=read:12k size=1m", "rw=write:-8k size=1m", "rw=read:-8k size=1m",
	"rw=randwrite:8 size=1m", "rw=randread:8 rw_sequencer=identical size=1m", "rw=randread:8 rw_sequencer=sequential size=1m",

	// Numbers.
	"rw=write size=${SIZE}", "rw=write size=1m bs=512", "rw=write size=1mb bs=1ki", "rw=write size=1mib bs=4kib", "rw=write size=1M bs=4K", "rw=write size=0x100000",
	"rw=write kb_base=1000 size=1mb bs=4k", "rw=write kb_base=1000 size=1mib bs=4kib", "rw=write kb_base=1000 size=1m bs=1k",

	// What part of which file.
	"rw=write filesize=1m size=50%", "rw=write filesize=1m size=33%", "rw=read filesize=1m size=33%", "rw=write filesize=1m size=50% offset=25%",
	"rw=write filesize=1m offset=256k", "rw=read filesize=1m offset=256k size=256k", "rw=write size=1m offset=256k", "rw=read size=1m offset=512",
	"rw=write size=1m nrfiles=4 bs=64k", "rw=write size=1000k nrfiles=4 bs=64k", "rw=write filesize=64k nrfiles=4", "rw=write filesize=64k nrfiles=4 size=128k",
	"rw=write filesize=64k nrfiles=4 size=512k", "rw=write filesize=64k size=1m", "rw=read filesize=64k size=1m", "rw=randread filesize=1m size=256k",
	"rw=write filename=x1:y1 size=1m", "rw=randread filename=x2:y2 size=1m", "rw=write filename=x3 size=1m numjobs=2",
	"rw=write size=256k numjobs=3 group_reporting", "rw=write filename=x4 size=256k numjobs=3 offset_increment=256k",
	"rw=write filename=x5 filesize=1m size=25% numjobs=3 offset_increment=25%", "rw=write size=64k nrfiles=2 filename_format=f.$jobname.$filenum",
	"rw=write size=64k filename=z [] rw=read filename=z", "rw=write size=64k directory=.",

	// How much.
	"rw=write size=1m io_size=2m", "rw=write size=1m io_size=256k", "rw=randwrite size=1m io_size=2m", "rw=randread size=1m io_size=50%", "rw=randread size=1m io_size=100%",
	"rw=write size=1m io_size=512k loops=2", "rw=write size=1m loops=3", "rw=randwrite size=1m number_ios=17", "rw=write size=64k number_ios=100",
	"rw=write size=64k number_ios=10 loops=2", "rw=write filesize=128k io_size=64k", "rw=write size=128k io_size=64k offset=64k", "rw=write size=1t io_size=64k fallocate=none",
	"rw=write size=100k bs=64k", "rw=write size=100k bs=1000", "rw=randread size=100k bs=64k", "rw=randread size=100k bs=3k", "rw=read size=100k bs=3k",

	// Blocks.
	"rw=write size=1m bssplit=4k/100", "rw=write size=1m bssplit=8k/100,4k/100", "rw=read size=1m bssplit=8k/100,4k/100", "rw=write size=1m bs=4k,8k", "rw=read size=1m bs=,8k",
	"rw=write size=1m bsrange=4k-4k", "rw=write size=1m blocksize=16k", "rw=randwrite size=64k ba=8k", "rw=randread size=64k ba=8k", "rw=randread size=64k ba=512",

	// Durability. The number of syncs is compared where fio counts them.
	"rw=write size=1m fsync=10", "rw=write size=1m fsync=16", "rw=write size=1m fdatasync=7", "rw=write size=1m fsync=32 fdatasync=7", "rw=write size=1m fsync=100 end_fsync=1",
	"rw=write size=1m fsync_on_close=1", "rw=write size=64k sync=1", "rw=write size=64k sync=dsync",
	"rw=write size=256k fallocate=none io_size=64k", "rw=write size=256k fallocate=native io_size=64k", "rw=write size=256k fallocate=keep io_size=64k",
	"rw=write size=256k fallocate=truncate io_size=64k", "rw=write size=256k fallocate=posix io_size=64k", "rw=write size=256k overwrite=1 io_size=64k",

	// Verification: the reads of the verify phase count.
	"rw=write size=1m verify=crc32c", "rw=write size=1m verify=xxhash do_verify=0", "rw=randwrite size=1m verify=sha256", "rw=randwrite size=256k verify=crc32c loops=2",
	"rw=write size=64k verify=crc32c verify_fatal=1",

	// Random numbers and times, of which only the counts are compared.
	"rw=randwrite size=1m randseed=7 norandommap", "rw=randwrite size=1m random_distribution=zipf:1.2", "rw=randwrite size=1m random_distribution=zipf",
	"rw=randread size=1m random_distribution=pareto:0.9", "rw=randread size=1m random_distribution=pareto io_size=2m", "rw=randread size=1m random_distribution=random",
	"rw=write size=64k rate=10m", "rw=write size=64k rate=1m,10m", "rw=write size=64k rate_iops=1600", "rw=write size=64k rate_iops=,1600",
	"rw=write size=64k thinktime=1ms", "rw=write size=64k thinktime=1000us thinktime_blocks=4", "rw=write size=64k startdelay=10ms",
}

// atOnce is how many cases run at the same time: fio takes a moment to end each
// group of jobs.
const atOnce = 16

// TestCountsOfFio runs the same job file under fio and here, and compares how many
// operations and bytes each direction of each job has.
func TestCountsOfFio(t *testing.T) {
	fio, err := exec.LookPath("fio")
	if err != nil {
		t.Skip("fio is not installed")
	}
	if version, err := exec.Command(fio, "--version").Output(); err != nil || strings.TrimSpace(string(version)) != "fio-3.33" {
		t.Skipf("the cases are those of fio-3.33, and %s is %q, %v", fio, version, err)
	}
	for _, engine := range []string{"psync", "libaio\niodepth=8\niodepth_batch=4"} {
		name, _, _ := strings.Cut(engine, "\n")
		t.Run(name, func(t *testing.T) {
			var file strings.Builder
			fmt.Fprintf(&file, "[global]\nioengine=%s\nthread\n", engine)
			options, afterGroup := map[string]string{}, false // options by job name
			for i, job := range fioJobs {
				for j, section := range strings.Split(job, "[]") {
					name := fmt.Sprintf("job%d.%d", i, j)
					options[name] = section
					fmt.Fprintf(&file, "[%s]\n%s\n", name, strings.Join(strings.Fields(section), "\n"))
					// A stonewall also begins a reporting group.
					grouped := strings.Contains(job, "group_reporting")
					if j > 0 || i%atOnce == 0 || grouped || afterGroup {
						file.WriteString("stonewall\n")
					}
					afterGroup = grouped
				}
			}
			t.Setenv("SIZE", "1m")
			theirs := countsOf(t, file.String(), func() ([]byte, error) { return exec.Command(fio, "--output-format=json", "x.fio").Output() })
			ours := countsOf(t, file.String(), func() ([]byte, error) {
				code, out, errs := runEndio("run", "--json", "x.fio")
				if code != exitOK {
					return nil, fmt.Errorf("exit %d: %s", code, errs)
				}
				return []byte(out), nil
			})
			if len(theirs) != len(ours) || len(ours) < len(fioJobs) {
				t.Fatalf("fio reports %d jobs, endio %d", len(theirs), len(ours))
			}
			for i, got := range ours {
				want := theirs[i]
				if o := options[got.Name]; strings.Contains(o, "fdatasync") || strings.Contains(o, "end_fsync") || strings.Contains(o, "fsync_on_close") {
					got.Sync, want.Sync = ioCount{}, ioCount{} // fio does not count these
				}
				if got != want {
					t.Errorf("%s: %+v, fio has %+v", options[got.Name], got, want)
				}
			}
		})
	}
}

type ioCount struct {
	IOs   int64 `json:"total_ios"`
	Bytes int64 `json:"io_bytes"`
}

type jobCounts struct {
	Name                    string `json:"jobname"`
	Error                   int
	Read, Write, Trim, Sync ioCount
}

// countsOf returns what run reports of the job file x.fio in an empty directory.
func countsOf(t *testing.T, file string, run func() ([]byte, error)) []jobCounts {
	t.Helper()
	t.Chdir(t.TempDir())
	check(t, os.WriteFile("x.fio", []byte(file), 0o666))
	out, err := run()
	if err != nil {
		t.Fatal(err)
	}
	// fio may say something before the report.
	if i := strings.IndexByte(string(out), '{'); i > 0 {
		out = out[i:]
	}
	var report struct{ Jobs []jobCounts }
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return report.Jobs
}
