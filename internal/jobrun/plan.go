// SPDX-License-Identifier: Apache-2.0

package jobrun

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"endio/fiojob"
)

// A Plan is a job file made ready to run: who runs when, on which part of which
// file.
type Plan struct {
	File  *fiojob.File
	Waves []Wave

	targets  map[string]*target // by absolute path
	journals map[string]*target // whose they are, by absolute path
	run      uint64             // identifies this run in verified data
}

// A Wave is the clones that run at the same time.
type Wave struct {
	Clones []*Clone

	takenBytes int64 // of memory, by all clones
	files      int   // that all clones open
}

// count refuses more clones, and more files of them, than any machine has room for.
// clones are those of the jobs before.
func (w *Wave) count(job *fiojob.Job, clones int) error {
	files := len(job.Filenames)
	if files == 0 {
		files = job.FileCount
	}
	w.files += files * job.NumJobs
	switch {
	case clones+job.NumJobs > fiojob.MaxClones:
		return fmt.Errorf("with numjobs=%d there are more than %d jobs in all: lower numjobs", job.NumJobs, fiojob.MaxClones)
	case w.files > fiojob.MaxFiles:
		return fmt.Errorf("%d files each of %d jobs, with those that run at the same time, are more than %d open files: lower nrfiles or numjobs", files, job.NumJobs, fiojob.MaxFiles)
	}
	return nil
}

// reserve counts the buffers and maps of c, and refuses those that can not fit: the system
// may promise more memory than there is, and end the process when it is used.
func (w *Wave) reserve(c *Clone) error {
	buffers, maps := int64(c.Job.Depth)*c.maxBlock(), c.mapBytes()
	w.takenBytes += buffers + maps
	memory := memoryBytes()
	switch {
	case memory <= 0 || w.takenBytes <= memory:
		return nil
	case maps > buffers:
		return fmt.Errorf("to touch each of its random blocks once takes maps of %s, with all that runs at the same time %s, and the machine has %s of memory: set norandommap, or lower size or numjobs",
			Bytes(float64(maps)), Bytes(float64(w.takenBytes)), Bytes(float64(memory)))
	}
	return fmt.Errorf("iodepth=%d with blocks of %d bytes takes buffers of %s, those that run at the same time together %s, and the machine has %s of memory: lower iodepth, bs or numjobs",
		c.Job.Depth, c.maxBlock(), Bytes(float64(buffers)), Bytes(float64(w.takenBytes)), Bytes(float64(memory)))
}

// mapBytes returns what the maps of the clone's random blocks take, or a bound that no machine has.
func (c *Clone) mapBytes() int64 {
	const most = 1 << 60
	total := int64(0)
	for _, s := range c.shares {
		if l := c.layout(s); l.Random && l.Once {
			total = min(total+l.Bytes/l.UnitBytes/8, most)
		}
	}
	return total
}

// A share is the part of one target that one clone works on.
type share struct {
	target       *target
	start, bytes int64
}

// PlanOptions change what a plan does with the jobs of a file.
type PlanOptions struct {
	// VerifyOnly turns all jobs that verify into checks of what is there, and
	// leaves the others out.
	VerifyOnly bool
}

// NewPlan looks at the files that the jobs of file name, without changing any,
// and works out who does what. An error says which job can not run and why.
func NewPlan(file *fiojob.File, options PlanOptions) (*Plan, error) {
	p := &Plan{File: file, targets: map[string]*target{}, journals: map[string]*target{}, run: rand.Uint64()}
	var id uint32
	refuse := func(job *fiojob.Job, err error) error {
		return &fiojob.Error{Pos: job.Pos, Msg: fmt.Sprintf("job %s: %v", job.Name, err)}
	}
	for i := range file.Jobs {
		job := &file.Jobs[i]
		if options.VerifyOnly {
			if job.Verify == fiojob.NoChecksum {
				continue
			}
			check := *job
			check.VerifyOnly = true
			job = &check
		}
		if len(p.Waves) == 0 || job.Stonewall && len(p.Waves[len(p.Waves)-1].Clones) > 0 {
			p.Waves = append(p.Waves, Wave{})
		}
		wave := &p.Waves[len(p.Waves)-1]
		if err := wave.count(job, int(id)); err != nil {
			return nil, refuse(job, err)
		}
		for n := range job.NumJobs {
			clone, err := p.clone(job, n, id)
			if err == nil {
				err = wave.reserve(clone)
			}
			if err != nil {
				return nil, refuse(job, err)
			}
			wave.Clones = append(wave.Clones, clone)
			id++
		}
	}
	if len(p.Waves) == 0 {
		return nil, errors.New("no job in the file verifies: there is nothing to check")
	}
	return p, nil
}

// clone plans copy n of job.
func (p *Plan) clone(job *fiojob.Job, n int, id uint32) (*Clone, error) {
	c := &Clone{Job: job, Number: n, id: id, run: p.run}
	paths := filePaths(job, n)
	c.rng = rand.New(rand.NewPCG(seedOf(job, p.run), uint64(id)))
	for i, path := range paths {
		t, err := p.target(path)
		if err != nil {
			return nil, err
		}
		s, err := c.shareOf(t, len(paths))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if err := errors.Join(t.join(job, s, i), p.keep(t)); err != nil {
			return nil, err
		}
		c.shares = append(c.shares, s)
		c.regionBytes += s.bytes / c.minBlock() * c.minBlock()
	}
	c.totalBytes = c.regionBytes
	if job.FileSizeMax > 0 && job.Size.Bytes > 0 {
		c.totalBytes = min(c.totalBytes, job.Size.Bytes)
	}
	if job.IOSize.Given() {
		c.totalBytes = job.IOSize.Of(c.totalBytes)
	}
	return c, nil
}

// seedOf returns the seed of a job: its own, or with randrepeat=0 a new one for
// each run.
func seedOf(job *fiojob.Job, run uint64) uint64 {
	if job.RandRepeat {
		return job.Seed
	}
	return job.Seed ^ run
}

// filePaths returns the files of copy n of a job.
func filePaths(job *fiojob.Job, n int) []string {
	if len(job.Filenames) > 0 {
		paths := make([]string, len(job.Filenames))
		for i, name := range job.Filenames {
			// Named files are in the first directory, as in fio.
			paths[i] = inDirectory(job, 0, name)
		}
		return paths
	}
	format := job.FilenameFormat
	if format == "" {
		format = "$jobname.$jobnum.$filenum"
	}
	paths := make([]string, job.FileCount)
	for i := range paths {
		name := strings.NewReplacer("$jobname", strings.ReplaceAll(job.Name, "/", "_"), "$jobnum", strconv.Itoa(n), "$filenum", strconv.Itoa(i)).Replace(format)
		paths[i] = inDirectory(job, n, name)
	}
	return paths
}

func inDirectory(job *fiojob.Job, n int, name string) string {
	if len(job.Directories) == 0 || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(job.Directories[n%len(job.Directories)], name)
}

// target returns the target at path, the same for each clone that uses it.
func (p *Plan) target(path string) (*target, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if t := p.targets[abs]; t != nil {
		return t, nil
	}
	if t := p.journals[abs]; t != nil {
		return nil, fmt.Errorf("%s is the journal of %s: keep them apart", path, t.path)
	}
	t := &target{path: path}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if dir, err := os.Stat(filepath.Dir(path)); err != nil || !dir.IsDir() {
			return nil, fmt.Errorf("%s: directory %s does not exist", path, filepath.Dir(path))
		}
		t.created = true
	case err != nil:
		return nil, err
	case info.Mode().IsRegular():
		t.found = info.Size()
	case info.Mode()&os.ModeDevice != 0 && info.Mode()&os.ModeCharDevice == 0:
		t.device = true
		if t.found, err = deviceBytes(path); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("%s is a %s: jobs run on files and block devices", path, kindOf(info.Mode()))
	}
	p.targets[abs] = t
	return t, nil
}

// keep refuses a journal of t that would overwrite another one, or what a job works on.
func (p *Plan) keep(t *target) error {
	if t.journal == "" {
		return nil
	}
	abs, err := filepath.Abs(t.journal)
	if err != nil {
		return err
	}
	switch other := p.journals[abs]; {
	case p.targets[abs] != nil:
		return fmt.Errorf("journal=%s is a file that the jobs work on: keep them apart", t.journal)
	case other != nil && other != t:
		return fmt.Errorf("%s: journal=%s is that of %s: name one for each, or what one of them acknowledged is lost", t.path, t.journal, other.path)
	}
	p.journals[abs] = t
	return nil
}

func kindOf(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "directory"
	case mode&os.ModeCharDevice != 0:
		return "character device"
	case mode&os.ModeNamedPipe != 0:
		return "pipe"
	case mode&os.ModeSocket != 0:
		return "socket"
	}
	return "special file"
}

// deviceBytes returns the size of the block device at path.
func deviceBytes(path string) (int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	size, err := file.Seek(0, io.SeekEnd)
	return size, errors.Join(err, file.Close())
}

// shareOf returns the part of t that the clone works on; its job has count files.
func (c *Clone) shareOf(t *target, count int) (share, error) {
	job := c.Job
	fileBytes := max(t.found, t.end) // an earlier job may make it larger
	switch {
	case job.FileSizeMax > 0:
		fileBytes = job.FileSizeMin + c.rng.Int64N(job.FileSizeMax-job.FileSizeMin+1)
	case job.Size.Bytes > 0:
		fileBytes = job.Size.Bytes / int64(count)
	case fileBytes == 0:
		return share{}, errors.New("the file does not exist or is empty: size= or filesize= says how large it shall be")
	}
	block := c.minBlock()
	start, increment := job.Offset.Of(fileBytes), job.OffsetIncrement.Of(fileBytes)
	if n := int64(c.Number); n > 0 && increment > (math.MaxInt64-start)/n {
		return share{}, fmt.Errorf("offset %d and %d times offset_increment %d exceed the largest offset", start, n, increment)
	}
	start += increment * int64(c.Number)
	if job.Offset.Percent != 0 || job.OffsetIncrement.Percent != 0 {
		start = start / block * block
	}
	var bytes int64
	switch {
	case job.Size.Percent != 0:
		bytes = job.Size.Of(fileBytes)
	case job.Size.Bytes > 0 && job.FileSizeMax == 0:
		bytes = job.Size.Bytes / int64(count)
	default: // with filesize, size bounds what is moved, and not where
		bytes = fileBytes - start
	}
	if start < 0 || start+bytes < start {
		return share{}, fmt.Errorf("offset %d and size %d exceed the largest offset, %d", start, bytes, int64(math.MaxInt64))
	}
	if bytes < block {
		return share{}, fmt.Errorf("%d bytes at offset %d have no room for a block of %d", max(bytes, 0), start, block)
	}
	for dir, align := range job.BlockAlign {
		if job.Pattern.Random && job.Pattern.Uses[dir] && align > bytes {
			return share{}, fmt.Errorf("%d bytes at offset %d are less than one step of blockalign=%d", bytes, start, align)
		}
	}
	if t.device && start+bytes > t.found {
		return share{}, fmt.Errorf("the job ends at byte %d, and the device has %d", start+bytes, t.found)
	}
	return share{target: t, start: start, bytes: bytes}, nil
}

// minBlock returns the smallest block of the directions that the job uses.
func (c *Clone) minBlock() int64 {
	block := int64(fiojob.MaxBlockBytes)
	for dir := range fiojob.Dir(fiojob.Dirs) {
		if c.Job.Pattern.Uses[dir] {
			block = min(block, c.Job.BlockSizes[dir].MinBytes)
		}
	}
	return block
}

// maxBlock returns the largest block of the directions that the job uses.
func (c *Clone) maxBlock() int64 {
	block := int64(0)
	for dir := range fiojob.Dir(fiojob.Dirs) {
		if c.Job.Pattern.Uses[dir] {
			block = max(block, c.Job.BlockSizes[dir].MaxBytes)
		}
	}
	return block
}
