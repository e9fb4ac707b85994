// SPDX-License-Identifier: Apache-2.0

//go:build linux

package rig

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// batchesOf returns how many operations fio gives to the kernel together, and how many it waits for. If the spec does
// not say, that is a quarter of the depth, since fewer cost more CPU, and with more the device runs dry; and one.
func batchesOf(s Spec) (submit, complete int) {
	if s.Count > 0 {
		return s.Count, s.Count
	}
	return max(1, s.Depth/4), 1
}

// fioArgs returns the arguments with which fio measures s. With turns it runs until it is interrupted, in one process.
func fioArgs(s Spec) []string {
	rw, direct := "randread", "1"
	if s.Write {
		rw = "randwrite"
	}
	if s.Cached {
		direct = "0"
	}
	submit, complete := batchesOf(s)
	args := []string{"--name=peer", "--filename=" + s.Path, "--rw=" + rw, "--bs=" + strconv.Itoa(s.Block),
		"--size=" + strconv.FormatInt(s.Bytes, 10), "--direct=" + direct, "--ioengine=io_uring", "--fixedbufs=1", "--registerfiles=1",
		"--iodepth=" + strconv.Itoa(s.Depth), "--iodepth_batch_submit=" + strconv.Itoa(submit),
		"--iodepth_batch_complete_min=" + strconv.Itoa(complete), "--iodepth_batch_complete_max=" + strconv.Itoa(s.Depth),
		"--norandommap", "--randrepeat=0", "--invalidate=0", "--output-format=json", "--time_based"}
	if s.Turns {
		return append(args, "--thread", "--runtime=1d")
	}
	return append(args, fmt.Sprintf("--runtime=%dms", s.Duration.Milliseconds()))
}

// parseFio takes the figures of the one job from fio's output.
func parseFio(text []byte, write bool) (Measurement, error) {
	var out struct {
		Jobs []struct {
			Error       int
			Read, Write struct {
				IOPS  float64
				Total float64                                 `json:"total_ios"`
				Clat  struct{ Percentile map[string]float64 } `json:"clat_ns"`
			}
			Runtime float64 `json:"job_runtime"` // ms
			User    float64 `json:"usr_cpu"`     // percent
			Sys     float64 `json:"sys_cpu"`
		}
	}
	// fio prints notes before its JSON.
	start := bytes.IndexByte(text, '{')
	if start < 0 {
		return nil, errors.New("fio printed no JSON")
	}
	if err := json.Unmarshal(text[start:], &out); err != nil {
		return nil, fmt.Errorf("read fio's JSON: %w", err)
	}
	if len(out.Jobs) != 1 {
		return nil, fmt.Errorf("fio reports %d jobs, want 1", len(out.Jobs))
	}
	job := out.Jobs[0]
	side := job.Read
	if write {
		side = job.Write
	}
	if job.Error != 0 {
		return nil, fmt.Errorf("fio reports error %d", job.Error)
	}
	if side.Total == 0 {
		return nil, errors.New("fio has done no I/O")
	}
	p50, ok50 := side.Clat.Percentile["50.000000"]
	p99, ok99 := side.Clat.Percentile["99.000000"]
	if !ok50 || !ok99 {
		return nil, errors.New("fio reports no median or no 99th percentile")
	}
	cpu := (job.User + job.Sys) / 100 * job.Runtime / 1e3
	return Measurement{KIOPS: side.IOPS / 1e3, CPU: cpu / side.Total * 1e6, P50: p50 / 1e3, P99: p99 / 1e3}, nil
}
