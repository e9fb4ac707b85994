// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"fmt"
	"os/exec"
	"strconv"
)

// batchOf returns how many operations fio gives to the kernel together at a depth: a
// quarter, as endio does by itself. Fewer cost more CPU, and with more the device
// runs dry.
func batchOf(depth int) int { return max(1, depth/4) }

// measureFio runs fio on the spec.
func measureFio(s spec) (measurement, error) {
	fio, err := exec.LookPath("fio")
	if err != nil {
		return measurement{}, fmt.Errorf("fio is a peer of this benchmark, and make bench-peers installs it: %w", err)
	}
	rw := "randread"
	if s.Write {
		rw = "randwrite"
	}
	cmd := exec.Command(fio, "--name=peer", "--filename="+s.Path, "--rw="+rw, "--bs="+strconv.Itoa(blockBytes),
		"--size="+strconv.FormatInt(s.Bytes, 10), "--direct=1", "--ioengine=io_uring", "--fixedbufs=1", "--registerfiles=1",
		"--iodepth="+strconv.Itoa(s.Depth), "--iodepth_batch_submit="+strconv.Itoa(batchOf(s.Depth)),
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
		return measurement{}, err
	}
	if len(out.Jobs) != 1 {
		return measurement{}, errors.New("fio reports no job")
	}
	job := out.Jobs[0]
	side := job.Read
	if s.Write {
		side = job.Write
	}
	if side.Total == 0 {
		return measurement{}, errors.New("fio has done no I/O")
	}
	return measurement{
		IOPS: side.IOPS, CPU: (job.User + job.Sys) / 100 * job.Runtime / 1e3 / side.Total * 1e6, Allocs: -1,
		P50: side.Clat.Percentile["50.000000"] / 1e3, P99: side.Clat.Percentile["99.000000"] / 1e3,
	}, nil
}
