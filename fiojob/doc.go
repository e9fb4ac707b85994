// SPDX-License-Identifier: Apache-2.0

// Package fiojob reads job files of fio, the flexible I/O tester.
//
// # Model
//
// A job file is a text of sections. A section [name] makes one job; options in
// a section named [global] apply to the job sections after it. An option is a
// line name=value, or a name alone where the option is a switch. [Parse] turns
// the text into a [File]: jobs with typed fields, one per section, with
// defaults filled in. A job with numjobs=4 is still one [Job]; whoever runs it
// makes the clones.
//
// # What is accepted
//
// The format is fio's, and the supported options mean what they mean to fio
// 3.33. Three rules say what happens to the rest:
//
//   - An option that fio knows and this package does not is an error that names
//     the nearest supported option.
//   - An option that neither knows is an error too.
//   - A value that fio reads as something else than what is written is an
//     error. fio stops at the first character that it does not understand, so
//     that to fio 1.5k is 1 and runtime=1min is a microsecond.
//
// Every error carries file, line and column. Parsing goes on after an error, so
// that one run reports them all (up to [MaxErrors]).
//
// What is understood but probably not meant (an option given twice in a
// section, iodepth with an engine that blocks) is a warning in [File.Warnings].
//
// # Options
//
// Of the whole: description, name, stonewall, new_group, group_reporting,
// numjobs, thread, kb_base, unit_base, exitall_on_error, percentile_list.
//
// Of files: filename, directory, filename_format, nrfiles, filesize, size,
// io_size, offset, offset_increment, fallocate, overwrite, unlink, invalidate.
//
// Of operations: rw, rw_sequencer, rwmixread, rwmixwrite, bs, bsrange, bssplit,
// ba, bs_unaligned, randseed, randrepeat, allrandrepeat, norandommap,
// random_distribution (random, zipf, pareto), zero_buffers, refill_buffers.
//
// Of their issue: ioengine (io_uring and libaio go to a ring; sync, psync, pvsync
// and pvsync2 are blocking calls), direct, buffered, sync, iodepth, iodepth_batch,
// iodepth_batch_complete_min, iodepth_batch_complete_max; fixedbufs, registerfiles
// and nonvectored, which are always on.
//
// Of time: startdelay, runtime, time_based, ramp_time, loops, number_ios, rate,
// rate_iops, thinktime, thinktime_spin, thinktime_blocks.
//
// Of durability and verification: fsync, fdatasync, end_fsync, fsync_on_close,
// verify (crc32c, xxhash, sha256), do_verify, verify_fatal, verify_only,
// verify_state_save (only 0).
//
// fio's aliases of these names work too.
//
// # Comments and directives
//
// A line is cut at the first ; or #, as in fio. A line that starts with
// "#endio:" is a directive: settings that only endio has, in a place where fio
// sees a comment, so that the same file runs under both. Directives belong to
// the section in which they stand, [global] included. There are complete (caller,
// task or inline), fallocate_every and truncate_every (a number of operations),
// uncached, and journal (a file).
//
// # Environment
//
// ${NAME} is replaced by the value of that environment variable. A variable
// that is not set is an error (fio reads an empty text). Values and included files
// have at most [MaxTextBytes] in all.
//
// # Includes
//
// "include FILE" inside a section reads more options for that section. FILE is
// looked up in the current directory, then beside the including file. An
// included file can not open sections, and includes nest at most
// [MaxIncludeDepth] deep.
//
// # Sizes
//
// With kb_base=1024 (the default) k, ki and kb mean 1024 and kib means 1000:
// fio keeps the two swapped for compatibility. With kb_base=1000, k, ki and kb
// mean 1000 and kib means 1024. The same holds for m, g, t and p. Upper and
// lower case are the same.
//
// Nothing in this package touches a data file or starts a goroutine.
package fiojob
