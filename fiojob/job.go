// SPDX-License-Identifier: Apache-2.0

package fiojob

import (
	"fmt"
	"time"
)

// A Dir is a direction of data. Arrays indexed by Dir have one entry each for
// reads, writes and trims, in fio's order.
type Dir int

// The directions.
const (
	Read Dir = iota
	Write
	Trim
)

// Dirs is the number of directions.
const Dirs = 3

func (d Dir) String() string {
	if d < 0 || d >= Dirs {
		return fmt.Sprintf("Dir(%d)", int(d))
	}
	return [Dirs]string{"read", "write", "trim"}[d]
}

// A Pattern is what rw= says: which directions, in what order.
type Pattern struct {
	// Uses tells which directions the job issues.
	Uses [Dirs]bool

	// Random is true for randread and its kin.
	Random bool

	// TrimFirst is true for trimwrite and randtrimwrite: each block is
	// trimmed, then written.
	TrimFirst bool

	// Run is the number after rw=rand...:N, at least 1: a new offset is drawn
	// for every Run-th operation, and rw_sequencer says where those between go.
	Run int

	// SkipBytes is the number after a sequential rw=...:N: what is added to the
	// offset after each operation, besides its length.
	SkipBytes int64
}

// String returns the pattern as rw= spells it.
func (p Pattern) String() string {
	for name, q := range patterns {
		if q.Uses == p.Uses && q.Random == p.Random && q.TrimFirst == p.TrimFirst && name != "readwrite" {
			switch {
			case p.Random && p.Run > 1:
				return fmt.Sprintf("%s:%d", name, p.Run)
			case p.SkipBytes != 0:
				return fmt.Sprintf("%s:%d", name, p.SkipBytes)
			}
			return name
		}
	}
	return "none"
}

// A BlockSize is the size of a job's operations in one direction.
type BlockSize struct {
	// MinBytes and MaxBytes bound the size, both included. They are equal for
	// a fixed size.
	MinBytes, MaxBytes int64

	// Split, if not empty, lists the sizes to choose from and how often, as
	// bssplit= gives them; MinBytes and MaxBytes are then its extremes.
	Split []SplitPart
}

// A SplitPart is one size of a [BlockSize.Split] with its share. The shares of
// a split add up to 100.
type SplitPart struct {
	Bytes   int64
	Percent float64
}

// A Sequencer says where the operations of rw=rand...:N go that do not draw a
// new offset.
type Sequencer int

// The sequencers.
const (
	Sequential Sequencer = iota // one behind the other
	Identical                   // at the same offset again
)

// A SyncMode is the way in which each write is made durable before it
// completes.
type SyncMode int

// The sync modes, after the open flags that they stand for.
const (
	NoSync SyncMode = iota
	OSync           // O_SYNC: data and metadata
	ODSync          // O_DSYNC: data and what is needed to read it
)

// A Prealloc says how the space of a file is allocated before the job writes.
type Prealloc int

// The ways to preallocate, named as fallocate= names them.
const (
	PreallocNative   Prealloc = iota // fallocate(2); where it is not supported, nothing
	PreallocNone                     // nothing
	PreallocPosix                    // as native, and an error where it is not supported
	PreallocKeep                     // fallocate(2) with FALLOC_FL_KEEP_SIZE
	PreallocTruncate                 // ftruncate(2) to the size
)

// A Distribution says how random offsets are drawn.
type Distribution struct {
	Kind DistributionKind

	// Theta is the exponent of Zipf, or the power (0 to 1) of Pareto.
	Theta float64
}

// A DistributionKind names a random distribution.
type DistributionKind int

// The random distributions.
const (
	Uniform DistributionKind = iota
	Zipf
	Pareto
)

func (k DistributionKind) String() string { return [...]string{"random", "zipf", "pareto"}[k] }

// An Engine is one of fio's I/O engines, reduced to what it means to endio.
type Engine int

// The engines.
const (
	Blocking Engine = iota // sync, psync, pvsync, pvsync2: each operation is waited for
	Ring                   // io_uring, libaio: up to iodepth operations in flight
)

// A Completion is the context in which a job's completions run.
type Completion int

// The completion contexts (complete=).
const (
	CompleteCaller Completion = iota
	CompleteTask
	CompleteInline
)

func (c Completion) String() string { return [...]string{"caller", "task", "inline"}[c] }

// A Checksum is the way in which written data is verified.
type Checksum int

// The checksums (verify=).
const (
	NoChecksum Checksum = iota
	CRC32C
	XXHash
	SHA256
)

func (c Checksum) String() string { return [...]string{"none", "crc32c", "xxhash", "sha256"}[c] }

// A Setting is an option as the file spells it, under its main name.
type Setting struct {
	Name  string
	Value string // "" for a switch given by its name alone
	Pos   Pos
}

// A File is a job file, read and checked.
type File struct {
	Name string

	// Jobs are the job sections, in the order of the file.
	Jobs []Job

	// Global lists the options of the [global] sections, for reports.
	Global []Setting

	// Warnings say what is understood but probably not meant.
	Warnings []*Error
}

// A Job is one job section with all that applies to it. Fields are named after
// the fio option that sets them, in the manual's order.
type Job struct {
	Name        string
	Pos         Pos
	Settings    []Setting // the section's own options, for reports
	Description string

	// Group is the reporting group, from 0. A job with Stonewall or NewGroup
	// opens a new one.
	Group          int
	Stonewall      bool // starts when all jobs before it have ended
	NewGroup       bool
	GroupReporting bool
	NumJobs        int // clones, at least 1

	// Files. If Filenames is empty, each clone has FileCount files of its own,
	// named by FilenameFormat; otherwise clones share the files named.
	Filenames      []string
	Directories    []string // file i is in Directories[i % len]; empty: as named
	FilenameFormat string   // "" stands for $jobname.$jobnum.$filenum
	FileCount      int

	Size            Amount // all files of a clone together
	FileSizeMin     int64  // one file; 0: from Size
	FileSizeMax     int64
	IOSize          Amount // bytes to move; not given: Size
	Offset          Amount // where each file's region starts
	OffsetIncrement Amount // added to Offset for each further clone

	Pattern        Pattern
	Sequencer      Sequencer
	MixReadPercent int
	BlockSizes     [Dirs]BlockSize
	BlockAlign     [Dirs]int64 // offsets of random operations; 0: MinBytes
	Unaligned      bool        // bs_unaligned: sizes of a range need not be multiples of MinBytes

	Engine           Engine
	EngineName       string // as the file spells it
	Direct           bool
	Sync             SyncMode
	Depth            int
	BatchSubmit      int // operations submitted together
	BatchCompleteMin int // operations waited for together; 0: do not wait
	BatchCompleteMax int // 0: no limit

	StartDelay time.Duration
	Runtime    time.Duration // 0: no limit
	TimeBased  bool
	RampTime   time.Duration
	Loops      int   // at least 1
	NumberIOs  int64 // 0: no limit

	Fsync        int // fsync after this many writes; 0: never
	Fdatasync    int
	EndFsync     bool
	FsyncOnClose bool
	Fallocate    Prealloc
	Overwrite    bool // write the file once before the job, so that the job overwrites
	Unlink       bool
	Invalidate   bool // drop the file's page cache before the job

	Seed         uint64
	RandRepeat   bool
	NoRandomMap  bool
	Distribution Distribution

	Rate            [Dirs]int64 // bytes per second; 0: no limit
	RateIOPS        [Dirs]int64
	Thinktime       time.Duration
	ThinktimeSpin   time.Duration // the part of Thinktime that is spent spinning
	ThinktimeBlocks int           // operations between two pauses

	Verify      Checksum
	DoVerify    bool
	VerifyFatal bool
	VerifyOnly  bool

	ZeroBuffers   bool
	RefillBuffers bool

	ExitAllOnError bool
	Percentiles    []float64 // for reports; sorted

	// What #endio: directives set.
	Completion      Completion
	CompletionGiven bool
	FallocateEvery  int64 // operations between two blocking fallocates on the file in use; 0: never
	TruncateEvery   int64
	Uncached        bool
	Journal         string // file in which acknowledged writes are recorded; "": none
}
