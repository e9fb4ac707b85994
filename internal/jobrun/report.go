// SPDX-License-Identifier: Apache-2.0

package jobrun

import (
	"errors"
	"fmt"
	"sort"
	"strconv"
	"syscall"
	"time"

	"endio"
	"endio/fiojob"
)

// A Report is a [Result] under fio's names: what fio also reports has the key
// and the unit of fio 3.33's JSON output, and all else is in the objects named
// endio.
type Report struct {
	Version     string            `json:"fio version"` // says endio: tools look here for who wrote it
	Timestamp   int64             `json:"timestamp"`
	TimestampMs int64             `json:"timestamp_ms"`
	Time        string            `json:"time"`
	Global      map[string]string `json:"global options,omitempty"`
	Jobs        []*JobReport      `json:"jobs"`
	Endio       RunReport         `json:"endio"`
}

// A RunReport is what endio reports of the run as a whole.
type RunReport struct {
	Backend     string   `json:"backend"`
	Interrupted bool     `json:"interrupted"`
	ElapsedMs   int64    `json:"elapsed_ms"`
	UserCPUMs   int64    `json:"usr_cpu_ms"` // of the whole process
	SysCPUMs    int64    `json:"sys_cpu_ms"`
	CPUPerMIO   float64  `json:"cpu_s_per_million_ios"`
	Messages    []string `json:"messages,omitempty"`
	Engine      any      `json:"engine,omitempty"` // the engine's own counters
}

// A JobReport is one entry of jobs: a clone, or with group_reporting a group.
type JobReport struct {
	Name        string            `json:"jobname"`
	Group       int               `json:"groupid"`
	Error       int               `json:"error"`
	ETA         int64             `json:"eta"`
	Elapsed     int64             `json:"elapsed"` // s
	Options     map[string]string `json:"job options"`
	Description string            `json:"desc,omitempty"`

	Read  *DirReport  `json:"read"`
	Write *DirReport  `json:"write"`
	Trim  *DirReport  `json:"trim"`
	Sync  *SyncReport `json:"sync"`

	RuntimeMs     int64              `json:"job_runtime"`
	UserCPU       float64            `json:"usr_cpu"` // percent of job_runtime
	SysCPU        float64            `json:"sys_cpu"`
	Switches      int64              `json:"ctx"`
	MajorFaults   int64              `json:"majf"`
	MinorFaults   int64              `json:"minf"`
	DepthLevel    map[string]float64 `json:"iodepth_level"`
	DepthSubmit   map[string]float64 `json:"iodepth_submit"`
	DepthComplete map[string]float64 `json:"iodepth_complete"`
	LatencyNs     map[string]float64 `json:"latency_ns"`
	LatencyUs     map[string]float64 `json:"latency_us"`
	LatencyMs     map[string]float64 `json:"latency_ms"`
	LatencyDepth  int                `json:"latency_depth"`

	Endio JobExtra `json:"endio"`

	uses  [fiojob.Dirs]bool
	stats *cloneStats
	job   *fiojob.Job
	err   error
}

// A DirReport is what fio reports of one direction.
type DirReport struct {
	Bytes     int64     `json:"io_bytes"`
	KBytes    int64     `json:"io_kbytes"`
	BWBytes   int64     `json:"bw_bytes"` // per second
	BW        int64     `json:"bw"`       // KiB per second
	IOPS      float64   `json:"iops"`
	RuntimeMs int64     `json:"runtime"`
	Total     int64     `json:"total_ios"`
	Short     int64     `json:"short_ios"`
	Dropped   int64     `json:"drop_ios"`
	Slat      LatReport `json:"slat_ns"`
	Clat      LatReport `json:"clat_ns"`
	Lat       LatReport `json:"lat_ns"`
	BWMin     int64     `json:"bw_min"` // KiB per second
	BWMax     int64     `json:"bw_max"`
	BWAgg     float64   `json:"bw_agg"`
	BWMean    float64   `json:"bw_mean"`
	BWDev     float64   `json:"bw_dev"`
	BWSamples int64     `json:"bw_samples"`
	IOPSMin   int64     `json:"iops_min"`
	IOPSMax   int64     `json:"iops_max"`
	IOPSMean  float64   `json:"iops_mean"`
	IOPSDev   float64   `json:"iops_stddev"`
	IOPSSamps int64     `json:"iops_samples"`

	// Endio has the time from a completion to its handler.
	Endio struct {
		Handler LatReport `json:"handler_ns"`
	} `json:"endio"`
}

// A SyncReport is what fio reports of fsync and fdatasync.
type SyncReport struct {
	Total int64     `json:"total_ios"`
	Lat   LatReport `json:"lat_ns"`
}

// A LatReport is a latency distribution in nanoseconds.
type LatReport struct {
	Min        int64            `json:"min"`
	Max        int64            `json:"max"`
	Mean       float64          `json:"mean"`
	Stddev     float64          `json:"stddev"`
	N          int64            `json:"N"`
	Percentile map[string]int64 `json:"percentile,omitempty"`
}

// A JobExtra is what only endio reports of a job.
type JobExtra struct {
	Engine      string           `json:"ioengine"`
	Context     string           `json:"complete"`    // where completions run
	Completions map[string]int64 `json:"completions"` // by context
	CPUPerMIO   float64          `json:"cpu_s_per_million_ios"`
	Fallocate   *BlockedReport   `json:"fallocate,omitempty"`
	Truncate    *BlockedReport   `json:"truncate,omitempty"`
	Drains      *BlockedReport   `json:"drains,omitempty"` // both: calls that drain the file, and their time
	Verify      *verifyStats     `json:"verify,omitempty"`
	Conflicts   int64            `json:"write_conflicts"` // writes that waited for another on the same unit
	Error       string           `json:"error,omitempty"`
}

// A BlockedReport is a kind of call that waits for the I/O in flight, called
// over it.
type BlockedReport struct {
	Calls    int64     `json:"calls"`
	Lat      LatReport `json:"lat_ns"`
	InFlight float64   `json:"in_flight_mean"` // operations that the caller had submitted and not handled when it called
	Most     int64     `json:"in_flight_max"`
}

// NewReport returns the report of a run. version is endio's.
func NewReport(r *Result, version string) *Report {
	report := &Report{
		Version: "endio-" + version, Timestamp: r.Started.Unix(), TimestampMs: r.Started.UnixMilli(),
		Time: r.Started.Format(time.ANSIC), Global: settingsMap(r.Plan.File.Global),
		Endio: RunReport{Backend: r.Backend, Interrupted: r.Interrupted, ElapsedMs: r.Elapsed.Milliseconds(),
			UserCPUMs: r.User.Milliseconds(), SysCPUMs: r.Sys.Milliseconds()},
	}
	ios := int64(0)
	for _, wave := range r.Plan.Waves {
		for _, c := range wave.Clones {
			ios += c.stats.ios()
			report.add(c, r)
		}
	}
	for _, j := range report.Jobs {
		j.finish(r)
	}
	if ios > 0 {
		report.Endio.CPUPerMIO = (r.User + r.Sys).Seconds() / float64(ios) * 1e6
	}
	for _, m := range r.Messages {
		report.Endio.Messages = append(report.Endio.Messages, m.Error())
	}
	if r.MoreMessages > 0 {
		report.Endio.Messages = append(report.Endio.Messages, fmt.Sprintf("and %d more", r.MoreMessages))
	}
	return report
}

func settingsMap(settings []fiojob.Setting) map[string]string {
	m := map[string]string{}
	for _, s := range settings {
		m[s.Name] = s.Value
	}
	return m
}

// add puts a clone into the report: into the entry of its group if its job has
// group_reporting, or into one of its own.
func (report *Report) add(c *Clone, r *Result) {
	if c.Job.GroupReporting {
		for _, j := range report.Jobs {
			if j.job.GroupReporting && j.Group == c.Job.Group {
				j.stats.merge(c.stats)
				j.addError(c.err)
				j.Endio.Completions[c.contextName()] += c.stats.ios()
				for dir := range j.uses {
					j.uses[dir] = j.uses[dir] || c.uses(fiojob.Dir(dir))
				}
				return
			}
		}
	}
	j := &JobReport{Name: c.Job.Name, Group: c.Job.Group, Options: settingsMap(c.Job.Settings), Description: c.Job.Description,
		Elapsed: int64(r.Elapsed.Seconds()) + 1, LatencyDepth: c.Job.Depth, stats: newCloneStats(), job: c.Job}
	j.Endio = JobExtra{Engine: c.Job.EngineName, Context: c.contextName(), Completions: map[string]int64{c.contextName(): c.stats.ios()}}
	for dir := range j.uses {
		j.uses[dir] = c.uses(fiojob.Dir(dir))
	}
	j.stats.merge(c.stats)
	j.addError(c.err)
	report.Jobs = append(report.Jobs, j)
}

// uses reports whether the clone moves data in direction dir, its verify phase
// not counted.
func (c *Clone) uses(dir fiojob.Dir) bool {
	if c.Job.VerifyOnly {
		return dir == fiojob.Read
	}
	return c.Job.Pattern.Uses[dir]
}

func (j *JobReport) addError(err error) {
	if err == nil || j.err != nil {
		return
	}
	j.err = err
	j.Endio.Error = err.Error()
	var errno syscall.Errno
	switch {
	case errors.As(err, &errno):
		j.Error = int(errno)
	case errors.Is(err, endio.ErrAlignment), errors.Is(err, endio.ErrInvalid):
		j.Error = int(syscall.EINVAL) // what the system says of the same
	default:
		j.Error = int(syscall.EIO)
	}
}

// finish computes what follows from the sums.
func (j *JobReport) finish(r *Result) {
	s, list := j.stats, j.job.Percentiles
	j.Read = dirReport(&s.dirs[fiojob.Read], list)
	j.Write = dirReport(&s.dirs[fiojob.Write], list)
	j.Trim = dirReport(&s.dirs[fiojob.Trim], list)
	j.Sync = &SyncReport{Total: s.sync.n, Lat: latReport(&s.sync, list)}
	j.RuntimeMs = s.runtime.Milliseconds()
	if s.runtime > 0 {
		j.UserCPU = 100 * float64(s.user) / float64(s.runtime)
		j.SysCPU = 100 * float64(s.sys) / float64(s.runtime)
	}
	j.Switches, j.MajorFaults, j.MinorFaults = s.switches, s.majf, s.minf
	j.DepthLevel = levels(s.depth, []string{"1", "2", "4", "8", "16", "32", ">=64"})
	j.DepthSubmit = levels(s.submits, []string{"0", "4", "8", "16", "32", "64", ">=64"})
	j.DepthComplete = levels(s.completes, []string{"0", "4", "8", "16", "32", "64", ">=64"})
	j.latencyBuckets()
	if ios := s.ios(); ios > 0 {
		j.Endio.CPUPerMIO = (s.user + s.sys).Seconds() / float64(ios) * 1e6
	}
	j.Endio.Fallocate = blockedReport(&s.fallocates, list)
	j.Endio.Truncate = blockedReport(&s.truncates, list)
	drains := blocked{latency: newLatency()}
	drains.merge(&s.fallocates)
	drains.merge(&s.truncates)
	j.Endio.Drains = blockedReport(&drains, list)
	j.Endio.Conflicts = s.conflicts
	if j.job.Verify != fiojob.NoChecksum {
		j.Endio.Verify = &s.verified
	}
	if r.Interrupted {
		j.ETA = -1
	}
}

func dirReport(d *dirStats, list []float64) *DirReport {
	r := &DirReport{
		Bytes: d.bytes, KBytes: d.bytes / 1024, RuntimeMs: d.runtime.Milliseconds(), Total: d.ios, Short: d.short,
		Slat: tallyReport(&d.slat), Clat: latReport(&d.clat, list), Lat: tallyReport(&d.lat),
		BWMin: d.rates.kib.min, BWMax: d.rates.kib.max, BWMean: d.rates.kib.mean, BWDev: d.rates.kib.stddev(), BWSamples: d.rates.kib.n,
		IOPSMin: d.rates.iops.min, IOPSMax: d.rates.iops.max, IOPSMean: d.rates.iops.mean, IOPSDev: d.rates.iops.stddev(), IOPSSamps: d.rates.iops.n,
	}
	r.Endio.Handler = latReport(&d.handler, list)
	if seconds := d.runtime.Seconds(); seconds > 0 {
		r.BWBytes = int64(float64(d.bytes) / seconds)
		r.BW = r.BWBytes / 1024
		r.IOPS = float64(d.ios) / seconds
	}
	if d.rates.kib.n > 0 {
		r.BWAgg = 100
	}
	return r
}

func tallyReport(t *tally) LatReport {
	return LatReport{Min: t.min, Max: t.max, Mean: t.mean, Stddev: t.stddev(), N: t.n}
}

func latReport(l *latency, list []float64) LatReport {
	r := tallyReport(&l.tally)
	if l.n > 0 {
		r.Percentile = map[string]int64{}
		for _, p := range list {
			r.Percentile[percentileKey(p)] = l.percentile(p)
		}
	}
	return r
}

// percentileKey returns fio's key of a percentile.
func percentileKey(p float64) string { return strconv.FormatFloat(p, 'f', 6, 64) }

func blockedReport(b *blocked, list []float64) *BlockedReport {
	if b.n == 0 {
		return nil
	}
	return &BlockedReport{Calls: b.n, Lat: latReport(&b.latency, list), InFlight: b.inFlight.mean, Most: b.inFlight.max}
}

// levels returns what percentage of counts is at each level.
func levels(counts [depthLevels]int64, names []string) map[string]float64 {
	total := int64(0)
	for _, n := range counts {
		total += n
	}
	m := map[string]float64{}
	for i, name := range names {
		m[name] = percent(counts[i], total)
	}
	return m
}

func percent(n, total int64) float64 {
	if total == 0 {
		return 0
	}
	return 100 * float64(n) / float64(total)
}

// Upper bounds of fio's latency buckets in each unit.
var (
	latencyBounds   = []int64{2, 4, 10, 20, 50, 100, 250, 500, 750, 1000}
	latencyBoundsMs = append(latencyBounds[:len(latencyBounds):len(latencyBounds)], 2000)
)

// latencyBuckets fills latency_ns, _us and _ms from the histogram of all
// directions. A bucket of the histogram that crosses a bound counts below it if
// its middle is.
func (j *JobReport) latencyBuckets() {
	type bucket struct {
		upTo int64 // ns
		into map[string]float64
		name string
	}
	var buckets []bucket
	unit := func(ns int64, bounds []int64) map[string]float64 {
		m := map[string]float64{}
		for _, b := range bounds {
			m[strconv.FormatInt(b, 10)] = 0
			buckets = append(buckets, bucket{b * ns, m, strconv.FormatInt(b, 10)})
		}
		return m
	}
	j.LatencyNs = unit(1, latencyBounds)
	j.LatencyUs = unit(int64(time.Microsecond), latencyBounds)
	j.LatencyMs = unit(int64(time.Millisecond), latencyBoundsMs)
	j.LatencyMs[">=2000"] = 0
	for _, bar := range j.stats.total.hist.Distribution() {
		if bar.Count == 0 {
			continue
		}
		middle := (bar.From + bar.To) / 2
		share := percent(bar.Count, j.stats.total.n)
		i := sort.Search(len(buckets), func(i int) bool { return middle <= buckets[i].upTo })
		if i == len(buckets) {
			j.LatencyMs[">=2000"] += share
		} else {
			buckets[i].into[buckets[i].name] += share
		}
	}
}
