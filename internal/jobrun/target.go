// SPDX-License-Identifier: Apache-2.0

package jobrun

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"endio/fiojob"
	"endio/internal/verify"
	"endio/lockdep"
)

// A target is one file or device, shared by all clones that use it.
type target struct {
	path    string
	device  bool
	created bool  // did not exist before the run
	found   int64 // its size before the run, in bytes

	// Set while the plan is made, by join.
	end     int64 // where the last share ends
	reads   bool  // somebody reads what must have been written
	writes  bool
	unlink  bool
	ledger  *verify.Ledger // nil unless a job verifies
	journal string         // path; "" for none
	sum     verify.Checksum

	// Set before the clones run.
	base   int64           // its size, in bytes, apart from what fallocate_every adds
	log    *verify.Journal // nil without a journal
	made   bool            // by layOut: it did not exist before
	broken error           // why it could not be laid out

	used atomic.Bool // a clone has begun to work on it

	tailMu lockdep.Mutex
	tail   int64 // bytes that fallocate_every has added behind base; guarded by tailMu
}

// checksums maps what the job file says to what the data carries.
var checksums = map[fiojob.Checksum]verify.Checksum{
	fiojob.CRC32C: verify.CRC32C, fiojob.XXHash: verify.XXHash, fiojob.SHA256: verify.SHA256,
}

// join adds a clone's share; i counts the files of its job.
func (t *target) join(job *fiojob.Job, s share, i int) error {
	t.end = max(t.end, s.start+s.bytes)
	t.reads = t.reads || job.Pattern.Uses[fiojob.Read] || job.Overwrite
	t.writes = t.writes || (job.Pattern.Uses[fiojob.Write] || job.Pattern.Uses[fiojob.Trim]) && !job.VerifyOnly
	t.unlink = t.unlink || job.Unlink
	if job.Verify == fiojob.NoChecksum {
		return nil
	}
	unit := job.VerifyUnit()
	switch {
	case s.start%unit != 0:
		return fmt.Errorf("%s: verify needs offsets that are multiples of %d, and the job starts at %d", t.path, unit, s.start)
	case t.ledger == nil:
		t.ledger, t.sum = verify.NewLedger(unit), checksums[job.Verify]
	case t.ledger.UnitBytes != unit || t.sum != checksums[job.Verify]:
		return fmt.Errorf("%s: two jobs verify it in different ways (%v of %d bytes, %v of %d bytes): give each a file of its own, or the same verify and bs",
			t.path, t.sum, t.ledger.UnitBytes, checksums[job.Verify], unit)
	}
	return t.joinJournal(job, i)
}

func (t *target) joinJournal(job *fiojob.Job, i int) error {
	if job.Journal == "" {
		return nil
	}
	path := job.Journal
	if i > 0 || len(job.Filenames) == 0 && job.NumJobs > 1 {
		path = fmt.Sprintf("%s.%s", job.Journal, sanitized(t.path))
	}
	if t.journal != "" && t.journal != path {
		return fmt.Errorf("%s: two jobs keep a journal of it, %s and %s: keep one", t.path, t.journal, path)
	}
	t.journal = path
	return nil
}

// sanitized makes one path element of path.
func sanitized(path string) string {
	out := []byte(path)
	for i, b := range out {
		if b == os.PathSeparator {
			out[i] = '_'
		}
	}
	return string(out)
}

// openJournal makes the target's journal anew, if it has one and is written.
func (t *target) openJournal(run uint64) error {
	if t.journal == "" || !t.writes || t.log != nil {
		return nil
	}
	units := (t.end + t.ledger.UnitBytes - 1) / t.ledger.UnitBytes
	log, err := verify.CreateJournal(t.journal, verify.JournalHeader{Checksum: t.sum, UnitBytes: t.ledger.UnitBytes, Units: units, Run: run})
	t.log = log
	return err
}

// close closes the journal and removes the file if its job says so. It also
// removes what was made for a job that then did not start: that has nothing that
// anybody asked for, and may be half laid out, which a later run would take for
// whole.
func (t *target) close() error {
	var errs []error
	journal := t.log != nil
	if journal {
		errs = append(errs, t.log.Close())
		t.log = nil
	}
	used := t.used.Load()
	if !used && t.made || used && t.unlink && !t.device {
		errs = append(errs, remove(t.path))
		if journal {
			errs = append(errs, remove(t.journal))
		}
	}
	return errors.Join(errs...)
}

// remove removes a file, if it is there.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Growth of a file by fallocate_every: by a step at each call, and from its end
// again once it has grown by tailMaxBytes, so that a long job fits on the disk.
const (
	tailStepBytes = 256 << 10
	tailMaxBytes  = 256 << 20
)

// grow allocates a piece behind the end of the file.
func (t *target) grow(file File) error {
	t.tailMu.Lock()
	if t.tail >= tailMaxBytes {
		t.tail = 0
	}
	at := t.base + t.tail
	t.tail += tailStepBytes
	t.tailMu.Unlock()
	return file.Fallocate(at, tailStepBytes)
}

// shrink cuts off what grow has added.
func (t *target) shrink(file File) error {
	t.tailMu.Lock()
	t.tail = 0
	t.tailMu.Unlock()
	return file.Truncate(t.base)
}
