// SPDX-License-Identifier: Apache-2.0

package fiojob

import "strings"

// known holds the name of every job option of fio 3.33, aliases and the options
// of its engines included. It serves one purpose: to tell an option that endio
// lacks from one that nobody has.
var known = func() map[string]bool {
	m := map[string]bool{}
	for _, name := range strings.Fields(knownNames) {
		m[name] = true
	}
	return m
}()

const knownNames = `
allow_file_create allow_mounted_write allrandrepeat atomic ba bindname block_error_percentiles
blockalign blocksize blocksize_range blocksize_unaligned brick bs bs_unaligned bsrange bssplit
buffer_compress_chunk buffer_compress_percentage buffer_pattern buffered busy_poll bwavgtime cgroup
cgroup_nodelete cgroup_weight clat_percentiles clientname clocksource clustername cmd_type cmdprio
cmdprio_bssplit cmdprio_class cmdprio_percentage conf continue_on_error cpuchunks cpuload cpumask
cpumode cpus_allowed cpus_allowed_policy create_fsync create_on_open create_only create_serialize
dedupe_global dedupe_mode dedupe_percentage dedupe_working_set_percentage description direct
directory disable_bw disable_bw_measurement disable_clat disable_lat disable_slat disk_util
do_verify donorname end_fsync error_dump exec_postrun exec_prerun exit_on_io_done exit_what exitall
exitall_on_error experimental_verify fadvise_hint fallocate fdatasync file_append file_service_type
filename filename_format fileoffset filesize fill_device fill_fs fixedbufs flow flow_id flow_sleep
force_async fsync fsync_on_close gid grace_time group_reporting gtod_cpu gtod_reduce hipri
hipri_percentage hostname hugepage-size ignore_error ignore_zone_limits include inplace interface
invalidate io_limit io_size io_submit_mode iodepth iodepth_batch iodepth_batch_complete
iodepth_batch_complete_max iodepth_batch_complete_min iodepth_batch_submit iodepth_low ioengine
iomem iopsavgtime ioscheduler job_max_open_zones kb_base lat_percentiles latency_percentile
latency_run latency_target latency_window listen lockfile lockmem log_alternate_epoch
log_alternate_epoch_clock_id log_avg_msec log_compression log_compression_cpus log_entries
log_hist_coarseness log_hist_msec log_max_value log_offset log_prio log_store_compressed
log_unix_epoch loops max_latency max_open_zones mem merge_blktrace_file merge_blktrace_iters
merge_blktrace_scalars mss name new_group nice nodelay nonvectored norandommap nowait nr_files
nrfiles numa_cpu_nodes numa_mem_policy number_ios numjobs offset offset_align offset_increment
opendir openfiles overwrite per_job_logs percentage_random percentile_list pingpong pool port
pre_read prio prioclass profile program protocol ramp_time random_distribution random_generator
randrepeat randseed rate rate_cycle rate_ignore_thinktime rate_iops rate_iops_min rate_min
rate_process ratecycle ratemin rbdname read_beyond_wp read_iolog read_iolog_chunked readfua
readwrite refill_buffers registerfiles replay_align replay_no_stall replay_redirect replay_scale
replay_skip replay_time_scale runtime rw rw_sequencer rwmixread rwmixwrite scramble_buffers
serialize_overlap sg_write_mode significant_figures single-instance size skip_bad slat_percentiles
sqthread_poll sqthread_poll_cpu ss ss_dur ss_ramp startdelay stat_type stats std_redirect
steadystate steadystate_duration steadystate_ramp_time stonewall stream_id sync sync_file_range
thinktime thinktime_blocks thinktime_blocks_type thinktime_iotime thinktime_spin thp thread
time_based timeout touch_objects trim_backlog trim_backlog_batch trim_percentage trim_verify_zero
ttl uid uncached unified_rw_reporting unique_filename unit_base unlink unlink_each_loop uri
userspace_reap verb verify verify_async verify_backlog verify_backlog_batch verify_dump verify_fatal
verify_interval verify_offset verify_only verify_pattern verify_state_load verify_state_save volume
wait_for wait_for_previous window_size write_barrier write_bw_log write_hint write_hist_log
write_iolog write_iops_log write_lat_log writefua zero_buffers zone_reset_frequency
zone_reset_threshold zonecapacity zonemode zonerange zonesize zoneskip
`

// instead names, for options whose nearest spelling is far from their meaning,
// the supported option that comes closest to what they do.
var instead = map[string]string{
	"buffer_compress_percentage": "refill_buffers",
	"buffer_pattern":             "refill_buffers",
	"create_only":                "overwrite",
	"dedupe_percentage":          "refill_buffers",
	"exitall":                    "exitall_on_error",
	"file_append":                "offset",
	"hipri":                      "ioengine",
	"iodepth_low":                "iodepth_batch_complete_min",
	"latency_target":             "rate_iops",
	"offset_align":               "blockalign",
	"opendir":                    "filename",
	"percentage_random":          "rw",
	"pre_read":                   "invalidate",
	"rate_min":                   "rate",
	"rate_process":               "rate",
	"scramble_buffers":           "refill_buffers",
	"serialize_overlap":          "verify",
	"size_limit":                 "io_size",
	"sync_file_range":            "fdatasync",
	"verify_backlog":             "verify",
	"wait_for":                   "stonewall",
	"write_barrier":              "fsync",
	"zonemode":                   "offset",
}
