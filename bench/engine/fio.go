// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"fmt"
	"os/exec"
	"strconv"
)

// fioBatch is how many operations fio submits at once. At depth 64 a smaller
// number costs more CPU, and a larger one drains the device.
const fioBatch = 8

// measureFio runs fio on the spec.
func measureFio(s spec) (measurement, error) {
	fio, err := exec.LookPath("fio")
	if err != nil {
		return nil, fmt.Errorf("fio is a peer of this benchmark, and make bench-peers installs it: %w", err)
	}
	rw := "randread"
	if s.Write {
		rw = "randwrite"
	}
	direct := "--direct=1"
	if s.Cached {
		direct = "--direct=0"
	}
	cmd := exec.Command(fio, "--name=peer", "--filename="+s.Path, "--rw="+rw, "--bs="+strconv.Itoa(s.Block),
		"--size="+strconv.FormatInt(s.Bytes, 10), direct, "--ioengine=io_uring", "--fixedbufs=1", "--registerfiles=1",
		"--iodepth="+strconv.Itoa(s.Depth), "--iodepth_batch_submit="+strconv.Itoa(min(s.Depth, fioBatch)),
		"--iodepth_batch_complete_min=1", "--iodepth_batch_complete_max="+strconv.Itoa(s.Depth),
		"--norandommap", "--randrepeat=0", "--invalidate=0", "--time_based", fmt.Sprintf("--runtime=%dms", s.Duration.Milliseconds()),
		"--output-format=json")
	var out struct {
		Jobs []struct {
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
	if err := runJSON(cmd, &out); err != nil {
		return nil, err
	}
	if len(out.Jobs) != 1 {
		return nil, errors.New("fio reports no job")
	}
	job := out.Jobs[0]
	side := job.Read
	if s.Write {
		side = job.Write
	}
	if side.Total == 0 {
		return nil, errors.New("fio has done no I/O")
	}
	cpu := (job.User + job.Sys) / 100 * job.Runtime / 1e3
	return measurement{kiops: side.IOPS / 1e3, cpuIO: cpu / side.Total * 1e6,
		p50: side.Clat.Percentile["50.000000"] / 1e3, p99: side.Clat.Percentile["99.000000"] / 1e3}, nil
}
