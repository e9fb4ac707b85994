// SPDX-License-Identifier: Apache-2.0

package fiojob

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"endio/internal/spell"
)

// An option is one name that a job section may set.
type option struct {
	name    string
	aliases []string

	// onSwitch is true for an option that may stand without a value, which
	// then means 1.
	onSwitch bool

	// set stores value, which is not empty unless emptyOK.
	set     func(d *draft, value string) error
	emptyOK bool
}

// A draft is a job while its section is being read.
type draft struct {
	job    Job
	kbBase int64

	// at holds where each option was set last, under its main name, for checks
	// that look at several options at once.
	at map[string]Pos
}

// clone returns a draft that can be changed without changing d. Setters
// replace slices and never write into them, so the slices may be shared.
func (d *draft) clone() *draft {
	c := *d
	c.at = maps.Clone(d.at)
	return &c
}

// options is the table of all supported options, in the order of fio's manual.
var options = []option{
	text("description", func(j *Job) *string { return &j.Description }),
	{name: "name", set: func(d *draft, v string) error { d.job.Name = v; return nil }},
	flag("stonewall", func(j *Job) *bool { return &j.Stonewall }, "wait_for_previous"),
	flag("new_group", func(j *Job) *bool { return &j.NewGroup }),
	flag("group_reporting", func(j *Job) *bool { return &j.GroupReporting }),
	count("numjobs", func(j *Job) *int { return &j.NumJobs }, 1, MaxClones),
	{name: "thread", onSwitch: true, set: ignoreBool}, // every clone is a thread here
	{name: "kb_base", set: setKBBase},
	{name: "unit_base", set: setUnitBase},

	list("filename", func(j *Job) *[]string { return &j.Filenames }),
	list("directory", func(j *Job) *[]string { return &j.Directories }),
	text("filename_format", func(j *Job) *string { return &j.FilenameFormat }),
	count("nrfiles", func(j *Job) *int { return &j.FileCount }, 1, MaxFiles, "nr_files"),
	{name: "filesize", set: setFileSize},
	amount("size", func(j *Job) *Amount { return &j.Size }),
	amount("io_size", func(j *Job) *Amount { return &j.IOSize }, "io_limit"),
	amount("offset", func(j *Job) *Amount { return &j.Offset }, "fileoffset"),
	amount("offset_increment", func(j *Job) *Amount { return &j.OffsetIncrement }),

	{name: "rw", aliases: []string{"readwrite"}, set: setPattern},
	choice("rw_sequencer", func(j *Job) *Sequencer { return &j.Sequencer },
		names[Sequencer]{"sequential": Sequential, "identical": Identical}),
	count("rwmixread", func(j *Job) *int { return &j.MixReadPercent }, 0, 100),
	{name: "rwmixwrite", set: setMixWrite},
	{name: "bs", aliases: []string{"blocksize"}, set: setBlockSize},
	{name: "bsrange", aliases: []string{"blocksize_range"}, set: setBlockRange},
	{name: "bssplit", set: setBlockSplit},
	{name: "ba", aliases: []string{"blockalign"}, set: setBlockAlign},
	flag("bs_unaligned", func(j *Job) *bool { return &j.Unaligned }, "blocksize_unaligned"),

	{name: "ioengine", set: setEngine},
	boolean("direct", func(j *Job) *bool { return &j.Direct }),
	{name: "buffered", set: setBuffered},
	choice("sync", func(j *Job) *SyncMode { return &j.Sync },
		names[SyncMode]{"none": NoSync, "0": NoSync, "sync": OSync, "1": OSync, "dsync": ODSync}),
	count("iodepth", func(j *Job) *int { return &j.Depth }, 1, maxDepth),
	count("iodepth_batch", func(j *Job) *int { return &j.BatchSubmit }, 0, maxDepth, "iodepth_batch_submit"),
	count("iodepth_batch_complete_min", func(j *Job) *int { return &j.BatchCompleteMin }, 0, maxDepth, "iodepth_batch_complete"),
	count("iodepth_batch_complete_max", func(j *Job) *int { return &j.BatchCompleteMax }, 0, maxDepth),
	// The engine registers buffers and files where it can, and never spreads a
	// block over several buffers: what these two ask for is always on.
	{name: "fixedbufs", onSwitch: true, set: ignoreBool},
	{name: "registerfiles", onSwitch: true, set: ignoreBool},
	{name: "nonvectored", onSwitch: true, set: ignoreBool},

	duration("startdelay", func(j *Job) *time.Duration { return &j.StartDelay }, time.Second),
	duration("runtime", func(j *Job) *time.Duration { return &j.Runtime }, time.Second, "timeout"),
	flag("time_based", func(j *Job) *bool { return &j.TimeBased }),
	duration("ramp_time", func(j *Job) *time.Duration { return &j.RampTime }, time.Second),
	{name: "loops", set: setLoops},
	count("number_ios", func(j *Job) *int64 { return &j.NumberIOs }, 0, maxCount),

	count("fsync", func(j *Job) *int { return &j.Fsync }, 0, maxCount),
	count("fdatasync", func(j *Job) *int { return &j.Fdatasync }, 0, maxCount),
	boolean("end_fsync", func(j *Job) *bool { return &j.EndFsync }),
	boolean("fsync_on_close", func(j *Job) *bool { return &j.FsyncOnClose }),
	choice("fallocate", func(j *Job) *Prealloc { return &j.Fallocate }, names[Prealloc]{
		"none": PreallocNone, "0": PreallocNone, "native": PreallocNative, "posix": PreallocPosix,
		"1": PreallocPosix, "keep": PreallocKeep, "truncate": PreallocTruncate}),
	boolean("overwrite", func(j *Job) *bool { return &j.Overwrite }),
	boolean("unlink", func(j *Job) *bool { return &j.Unlink }),
	boolean("invalidate", func(j *Job) *bool { return &j.Invalidate }),

	{name: "randseed", set: setSeed},
	boolean("randrepeat", func(j *Job) *bool { return &j.RandRepeat }),
	boolean("allrandrepeat", func(j *Job) *bool { return &j.RandRepeat }),
	flag("norandommap", func(j *Job) *bool { return &j.NoRandomMap }),
	{name: "random_distribution", set: setDistribution},

	{name: "rate", set: setRate(func(j *Job) *[Dirs]int64 { return &j.Rate })},
	{name: "rate_iops", set: setRate(func(j *Job) *[Dirs]int64 { return &j.RateIOPS })},
	duration("thinktime", func(j *Job) *time.Duration { return &j.Thinktime }, time.Microsecond),
	duration("thinktime_spin", func(j *Job) *time.Duration { return &j.ThinktimeSpin }, time.Microsecond),
	count("thinktime_blocks", func(j *Job) *int { return &j.ThinktimeBlocks }, 1, maxCount),

	choice("verify", func(j *Job) *Checksum { return &j.Verify }, names[Checksum]{
		"0": NoChecksum, "crc32c": CRC32C, "crc32c-intel": CRC32C, "xxhash": XXHash, "sha256": SHA256}),
	boolean("do_verify", func(j *Job) *bool { return &j.DoVerify }),
	boolean("verify_fatal", func(j *Job) *bool { return &j.VerifyFatal }),
	flag("verify_only", func(j *Job) *bool { return &j.VerifyOnly }),
	{name: "verify_state_save", set: setVerifyState},

	flag("zero_buffers", func(j *Job) *bool { return &j.ZeroBuffers }),
	flag("refill_buffers", func(j *Job) *bool { return &j.RefillBuffers }),
	flag("exitall_on_error", func(j *Job) *bool { return &j.ExitAllOnError }),
	{name: "percentile_list", set: setPercentiles},
}

// directives is the table of what a #endio: comment may set.
var directives = []option{
	choice("complete", func(j *Job) *Completion { return &j.Completion }, names[Completion]{
		"caller": CompleteCaller, "task": CompleteTask, "inline": CompleteInline}),
	count("fallocate_every", func(j *Job) *int64 { return &j.FallocateEvery }, 0, maxCount),
	count("truncate_every", func(j *Job) *int64 { return &j.TruncateEvery }, 0, maxCount),
	flag("uncached", func(j *Job) *bool { return &j.Uncached }),
	text("journal", func(j *Job) *string { return &j.Journal }),
}

// Limits of counts. They bound what a slip of the pen can ask of the machine,
// and are far above what any machine does.
const (
	MaxClones = 4096    // of all jobs of a file: fio's own limit
	MaxFiles  = 1 << 20 // of all clones that run at the same time: each is an open file
	maxDepth  = 1 << 15 // operations in flight of one job; a ring's own limit
	maxCount  = 1<<31 - 1
)

// index maps names and aliases to the options of a table.
func index(table []option) map[string]*option {
	m := make(map[string]*option, len(table))
	for i := range table {
		o := &table[i]
		for _, name := range append(slices.Clone(o.aliases), o.name) {
			if m[name] != nil {
				panic("fiojob: two options are named " + name)
			}
			m[name] = o
		}
	}
	return m
}

var (
	optionByName    = index(options)
	directiveByName = index(directives)
)

// names maps the spellings of a choice to their values.
type names[T any] map[string]T

// The constructors below make an option that stores one field of the job.

func text(name string, field func(*Job) *string) option {
	return option{name: name, emptyOK: name == "description", set: func(d *draft, v string) error {
		*field(&d.job) = v
		return nil
	}}
}

func list(name string, field func(*Job) *[]string) option {
	return option{name: name, set: func(d *draft, v string) error {
		parts := splitEscaped(v, ':')
		if slices.Contains(parts, "") {
			return fmt.Errorf("%q has an empty name in it: names are separated by one colon, and \\: is a colon in a name", v)
		}
		*field(&d.job) = parts
		return nil
	}}
}

func boolean(name string, field func(*Job) *bool, aliases ...string) option {
	return option{name: name, aliases: aliases, set: func(d *draft, v string) error {
		b, err := parseBool(v)
		*field(&d.job) = b
		return err
	}}
}

func flag(name string, field func(*Job) *bool, aliases ...string) option {
	o := boolean(name, field, aliases...)
	o.onSwitch = true
	return o
}

func count[T int | int64](name string, field func(*Job) *T, low, high int64, aliases ...string) option {
	return option{name: name, aliases: aliases, set: func(d *draft, v string) error {
		n, err := parseCount(v, d.kbBase)
		if err != nil {
			return err
		}
		if n < low || n > high {
			return fmt.Errorf("%s is out of range: it is between %d and %d", v, low, high)
		}
		*field(&d.job) = T(n)
		return nil
	}}
}

func amount(name string, field func(*Job) *Amount, aliases ...string) option {
	return option{name: name, aliases: aliases, set: func(d *draft, v string) error {
		a, err := parseAmount(v, d.kbBase)
		*field(&d.job) = a
		return err
	}}
}

func duration(name string, field func(*Job) *time.Duration, unit time.Duration, aliases ...string) option {
	return option{name: name, aliases: aliases, set: func(d *draft, v string) error {
		t, err := parseTime(v, unit)
		*field(&d.job) = t
		return err
	}}
}

func choice[T any](name string, field func(*Job) *T, values names[T]) option {
	return option{name: name, set: func(d *draft, v string) error {
		value, ok := values[v]
		if !ok {
			return badChoice(v, slices.Collect(maps.Keys(values)))
		}
		*field(&d.job) = value
		return nil
	}}
}

// badChoice says that value is none of those that are supported.
func badChoice(value string, supported []string) error {
	slices.Sort(supported)
	return fmt.Errorf("%q is not supported: the nearest is %q, and all are %s",
		value, spell.Nearest(value, supported), strings.Join(supported, ", "))
}
