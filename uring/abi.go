// SPDX-License-Identifier: Apache-2.0

package uring

import "fmt"

// The numbers of this file are the kernel's. Unless a line says otherwise,
// each comes from include/uapi/linux/io_uring.h, Linux v6.18, and its C name
// is in its comment; "since" is the first release that has it.
// TestABI compares them, and the layout of every struct that the kernel
// shares, with a second table and with the C header of the machine.

// System call numbers, the same on every architecture that Go runs on.
//
// Source: include/uapi/asm-generic/unistd.h.
const (
	sysSetup    = 425 // __NR_io_uring_setup
	sysEnter    = 426 // __NR_io_uring_enter
	sysRegister = 427 // __NR_io_uring_register
)

// SetupFlags are the options of a ring, fixed when it is opened.
//
// Source: IORING_SETUP_*.
type SetupFlags uint32

// Set-up flags that this package can drive.
const (
	// SetupCQSize: the completion queue has a size of its own. [Open] sets it
	// when [Config.CQEntries] is given.
	SetupCQSize SetupFlags = 1 << 3 // IORING_SETUP_CQSIZE, since 5.5
	// SetupClamp: a size over the kernel's limit is cut down to it instead of
	// refused.
	SetupClamp SetupFlags = 1 << 4 // IORING_SETUP_CLAMP, since 5.6
	// SetupAttachWQ: share the io-wq worker pool of another ring.
	SetupAttachWQ SetupFlags = 1 << 5 // IORING_SETUP_ATTACH_WQ, since 5.6
	// SetupSubmitAll: an SQE that fails at once does not stop those behind it.
	SetupSubmitAll SetupFlags = 1 << 7 // IORING_SETUP_SUBMIT_ALL, since 5.18
	// SetupCoopTaskrun: a completion does not interrupt the thread that
	// submitted it; it is posted when that thread next enters the kernel or at
	// its next tick. Threads asleep in the kernel are woken as ever.
	SetupCoopTaskrun SetupFlags = 1 << 8 // IORING_SETUP_COOP_TASKRUN, since 5.19
	// SetupTaskrunFlag: raise a flag in shared memory while such a completion
	// is pending. Of use only where one thread submits and reaps.
	SetupTaskrunFlag SetupFlags = 1 << 9 // IORING_SETUP_TASKRUN_FLAG, since 5.19
	// SetupSingleIssuer: only the thread that opened the ring may submit; any
	// other gets EEXIST. Needs runtime.LockOSThread.
	SetupSingleIssuer SetupFlags = 1 << 12 // IORING_SETUP_SINGLE_ISSUER, since 6.0
	// SetupDeferTaskrun: completions are posted only when the owning thread
	// asks for them. Needs SetupSingleIssuer.
	SetupDeferTaskrun SetupFlags = 1 << 13 // IORING_SETUP_DEFER_TASKRUN, since 6.1
	// SetupNoSQArray: no indirection between the submission ring and the SQEs.
	SetupNoSQArray SetupFlags = 1 << 16 // IORING_SETUP_NO_SQARRAY, since 6.6
)

// knownSetup is what [Open] accepts. IOPOLL, SQPOLL, SQE128, CQE32 and NO_MMAP
// change the rules of submission, reaping or layout, and are not driven here.
const knownSetup = SetupCQSize | SetupClamp | SetupAttachWQ | SetupSubmitAll |
	SetupCoopTaskrun | SetupTaskrunFlag | SetupSingleIssuer |
	SetupDeferTaskrun | SetupNoSQArray

var setupNames = []bitName{
	{uint32(SetupCQSize), "CQSIZE", "5.5"},
	{uint32(SetupClamp), "CLAMP", "5.6"},
	{uint32(SetupAttachWQ), "ATTACH_WQ", "5.6"},
	{uint32(SetupSubmitAll), "SUBMIT_ALL", "5.18"},
	{uint32(SetupCoopTaskrun), "COOP_TASKRUN", "5.19"},
	{uint32(SetupTaskrunFlag), "TASKRUN_FLAG", "5.19"},
	{uint32(SetupSingleIssuer), "SINGLE_ISSUER", "6.0"},
	{uint32(SetupDeferTaskrun), "DEFER_TASKRUN", "6.1"},
	{uint32(SetupNoSQArray), "NO_SQARRAY", "6.6"},
}

// String returns the flags by their kernel names, joined by "|".
func (f SetupFlags) String() string { return bitString(uint32(f), setupNames) }

// FeatureFlags are what the kernel reports about a ring that it opened.
//
// Source: IORING_FEAT_*, struct io_uring_params.features.
type FeatureFlags uint32

// Features reported by the kernel.
const (
	FeatSingleMmap   FeatureFlags = 1 << 0  // IORING_FEAT_SINGLE_MMAP, since 5.4
	FeatNoDrop       FeatureFlags = 1 << 1  // IORING_FEAT_NODROP, since 5.5
	FeatSubmitStable FeatureFlags = 1 << 2  // IORING_FEAT_SUBMIT_STABLE, since 5.5
	FeatFastPoll     FeatureFlags = 1 << 5  // IORING_FEAT_FAST_POLL, since 5.7
	FeatExtArg       FeatureFlags = 1 << 8  // IORING_FEAT_EXT_ARG, since 5.11
	FeatNativeWorker FeatureFlags = 1 << 9  // IORING_FEAT_NATIVE_WORKERS, since 5.12
	FeatRsrcTags     FeatureFlags = 1 << 10 // IORING_FEAT_RSRC_TAGS, since 5.13
	FeatCQESkip      FeatureFlags = 1 << 11 // IORING_FEAT_CQE_SKIP, since 5.17
	FeatLinkedFile   FeatureFlags = 1 << 12 // IORING_FEAT_LINKED_FILE, since 5.17
	FeatRegRegRing   FeatureFlags = 1 << 13 // IORING_FEAT_REG_REG_RING, since 6.3
	FeatMinTimeout   FeatureFlags = 1 << 15 // IORING_FEAT_MIN_TIMEOUT, since 6.12
)

var featNames = []bitName{
	{uint32(FeatSingleMmap), "SINGLE_MMAP", "5.4"},
	{uint32(FeatNoDrop), "NODROP", "5.5"},
	{uint32(FeatSubmitStable), "SUBMIT_STABLE", "5.5"},
	{uint32(FeatFastPoll), "FAST_POLL", "5.7"},
	{uint32(FeatExtArg), "EXT_ARG", "5.11"},
	{uint32(FeatNativeWorker), "NATIVE_WORKERS", "5.12"},
	{uint32(FeatRsrcTags), "RSRC_TAGS", "5.13"},
	{uint32(FeatCQESkip), "CQE_SKIP", "5.17"},
	{uint32(FeatLinkedFile), "LINKED_FILE", "5.17"},
	{uint32(FeatRegRegRing), "REG_REG_RING", "6.3"},
	{uint32(FeatMinTimeout), "MIN_TIMEOUT", "6.12"},
}

// String returns the features by their kernel names, joined by "|".
func (f FeatureFlags) String() string { return bitString(uint32(f), featNames) }

// requiredFeatures is what [Open] insists on: one mapping for both rings, no
// lost completions, SQEs free for reuse once consumed, and timed waits.
const requiredFeatures = FeatSingleMmap | FeatNoDrop | FeatSubmitStable | FeatExtArg

// An Op is the operation code of an [SQE].
//
// Source: enum io_uring_op.
type Op uint8

// Operations that this package prepares.
const (
	OpNop           Op = 0  // IORING_OP_NOP, since 5.1
	OpReadv         Op = 1  // IORING_OP_READV, since 5.1
	OpWritev        Op = 2  // IORING_OP_WRITEV, since 5.1
	OpFsync         Op = 3  // IORING_OP_FSYNC, since 5.1
	OpReadFixed     Op = 4  // IORING_OP_READ_FIXED, since 5.1
	OpWriteFixed    Op = 5  // IORING_OP_WRITE_FIXED, since 5.1
	OpPollAdd       Op = 6  // IORING_OP_POLL_ADD, since 5.1
	OpPollRemove    Op = 7  // IORING_OP_POLL_REMOVE, since 5.1
	OpSyncFileRange Op = 8  // IORING_OP_SYNC_FILE_RANGE, since 5.2
	OpTimeout       Op = 11 // IORING_OP_TIMEOUT, since 5.4
	OpTimeoutRemove Op = 12 // IORING_OP_TIMEOUT_REMOVE, since 5.5
	OpAsyncCancel   Op = 14 // IORING_OP_ASYNC_CANCEL, since 5.5
	OpLinkTimeout   Op = 15 // IORING_OP_LINK_TIMEOUT, since 5.5
	OpFallocate     Op = 17 // IORING_OP_FALLOCATE, since 5.6
	OpStatx         Op = 21 // IORING_OP_STATX, since 5.6
	OpRead          Op = 22 // IORING_OP_READ, since 5.6
	OpWrite         Op = 23 // IORING_OP_WRITE, since 5.6
	OpFadvise       Op = 24 // IORING_OP_FADVISE, since 5.6
	OpMsgRing       Op = 40 // IORING_OP_MSG_RING, since 5.18
	OpFtruncate     Op = 55 // IORING_OP_FTRUNCATE, since 6.9
	OpReadvFixed    Op = 60 // IORING_OP_READV_FIXED, since 6.15
	OpWritevFixed   Op = 61 // IORING_OP_WRITEV_FIXED, since 6.15
)

type opInfo struct {
	name  string
	since string
}

var opInfos = map[Op]opInfo{
	OpNop: {"NOP", "5.1"}, OpReadv: {"READV", "5.1"}, OpWritev: {"WRITEV", "5.1"},
	OpFsync: {"FSYNC", "5.1"}, OpReadFixed: {"READ_FIXED", "5.1"},
	OpWriteFixed: {"WRITE_FIXED", "5.1"}, OpPollAdd: {"POLL_ADD", "5.1"},
	OpPollRemove: {"POLL_REMOVE", "5.1"}, OpSyncFileRange: {"SYNC_FILE_RANGE", "5.2"},
	OpTimeout: {"TIMEOUT", "5.4"}, OpTimeoutRemove: {"TIMEOUT_REMOVE", "5.5"},
	OpAsyncCancel: {"ASYNC_CANCEL", "5.5"}, OpLinkTimeout: {"LINK_TIMEOUT", "5.5"},
	OpFallocate: {"FALLOCATE", "5.6"}, OpStatx: {"STATX", "5.6"}, OpRead: {"READ", "5.6"},
	OpWrite: {"WRITE", "5.6"}, OpFadvise: {"FADVISE", "5.6"}, OpMsgRing: {"MSG_RING", "5.18"},
	OpFtruncate: {"FTRUNCATE", "6.9"}, OpReadvFixed: {"READV_FIXED", "6.15"},
	OpWritevFixed: {"WRITEV_FIXED", "6.15"},
}

// String returns the kernel's name of the operation, without IORING_OP_.
func (o Op) String() string {
	if info, ok := opInfos[o]; ok {
		return info.name
	}
	return fmt.Sprintf("OP_%d", uint8(o))
}

// SQEFlags change how one SQE is started.
//
// Source: IOSQE_*.
type SQEFlags uint8

// Flags of an [SQE].
const (
	SQEFixedFile SQEFlags = 1 << 0 // IOSQE_FIXED_FILE, since 5.1: fd is an index of the file table
	SQEDrain     SQEFlags = 1 << 1 // IOSQE_IO_DRAIN, since 5.2: starts when all before it are complete
	SQELink      SQEFlags = 1 << 2 // IOSQE_IO_LINK, since 5.3: the next starts when this succeeds in full
	SQEHardLink  SQEFlags = 1 << 3 // IOSQE_IO_HARDLINK, since 5.5: the next starts when this ends
	SQEAsync     SQEFlags = 1 << 4 // IOSQE_ASYNC, since 5.6: straight to an io-wq worker
	SQECQESkip   SQEFlags = 1 << 6 // IOSQE_CQE_SKIP_SUCCESS, since 5.17: no CQE unless it fails
)

// RWFlags change one read or write.
//
// Source: RWF_*, include/uapi/linux/fs.h, Linux v6.18.
type RWFlags uint32

// Flags of reads and writes.
const (
	RWDsync     RWFlags = 0x02 // RWF_DSYNC, since 4.7: as with O_DSYNC
	RWSync      RWFlags = 0x04 // RWF_SYNC, since 4.7: as with O_SYNC
	RWNowait    RWFlags = 0x08 // RWF_NOWAIT, since 4.14: EAGAIN instead of blocking
	RWAppend    RWFlags = 0x10 // RWF_APPEND, since 4.16: at the end of the file
	RWNoAppend  RWFlags = 0x20 // RWF_NOAPPEND, since 6.9: at the offset, O_APPEND or not
	RWAtomic    RWFlags = 0x40 // RWF_ATOMIC, since 6.11: all or nothing on power loss
	RWDontCache RWFlags = 0x80 // RWF_DONTCACHE, since 6.14: buffered, then dropped from the page cache
)

// FsyncFlags select what an fsync covers.
type FsyncFlags uint32

// FsyncDataSync makes an fsync an fdatasync.
const FsyncDataSync FsyncFlags = 1 << 0 // IORING_FSYNC_DATASYNC, since 5.1

// CancelFlags select what a cancel matches.
//
// Source: IORING_ASYNC_CANCEL_*.
type CancelFlags uint32

// Flags of a cancel.
const (
	CancelAll      CancelFlags = 1 << 0 // IORING_ASYNC_CANCEL_ALL, since 5.19: every match, not the first
	CancelFD       CancelFlags = 1 << 1 // IORING_ASYNC_CANCEL_FD, since 5.19: match the descriptor
	CancelAny      CancelFlags = 1 << 2 // IORING_ASYNC_CANCEL_ANY, since 5.19: match everything
	CancelFDFixed  CancelFlags = 1 << 3 // IORING_ASYNC_CANCEL_FD_FIXED, since 6.0: fd is a table index
	CancelUserData CancelFlags = 1 << 4 // IORING_ASYNC_CANCEL_USERDATA, since 6.6: match user_data too
	CancelOp       CancelFlags = 1 << 5 // IORING_ASYNC_CANCEL_OP, since 6.6: match the opcode
)

// TimeoutFlags select the clock and meaning of a timeout.
//
// Source: IORING_TIMEOUT_*.
type TimeoutFlags uint32

// Flags of a timeout.
const (
	TimeoutAbs         TimeoutFlags = 1 << 0 // IORING_TIMEOUT_ABS, since 5.5: a time, not a duration
	TimeoutBoottime    TimeoutFlags = 1 << 2 // IORING_TIMEOUT_BOOTTIME, since 5.15
	TimeoutRealtime    TimeoutFlags = 1 << 3 // IORING_TIMEOUT_REALTIME, since 5.15
	TimeoutETimeIsDone TimeoutFlags = 1 << 5 // IORING_TIMEOUT_ETIME_SUCCESS, since 5.16
	TimeoutMultishot   TimeoutFlags = 1 << 6 // IORING_TIMEOUT_MULTISHOT, since 6.4
)

// PollFlags are the flags of a poll.
//
// Source: IORING_POLL_*.
type PollFlags uint32

// PollMulti keeps a poll armed after it fired; its CQEs carry [CQEMore].
const PollMulti PollFlags = 1 << 0 // IORING_POLL_ADD_MULTI, since 5.13

// CQEFlags say more about a completion.
//
// Source: IORING_CQE_F_*.
type CQEFlags uint32

// CQEMore: the same SQE will post further CQEs.
const CQEMore CQEFlags = 1 << 1 // IORING_CQE_F_MORE, since 5.13

// Offsets of the two mappings. Source: IORING_OFF_*.
const (
	offSQRing = 0          // IORING_OFF_SQ_RING
	offSQEs   = 0x10000000 // IORING_OFF_SQES
)

// Flags that the kernel raises in the submission ring. Source: IORING_SQ_*.
const (
	sqCQOverflow = 1 << 1 // IORING_SQ_CQ_OVERFLOW, since 5.8
	sqTaskrun    = 1 << 2 // IORING_SQ_TASKRUN, since 5.19
)

// Flags of io_uring_enter. Source: IORING_ENTER_*.
const (
	enterGetEvents      = 1 << 0 // IORING_ENTER_GETEVENTS
	enterExtArg         = 1 << 3 // IORING_ENTER_EXT_ARG, since 5.11
	enterRegisteredRing = 1 << 4 // IORING_ENTER_REGISTERED_RING, since 5.18
)

// Operations of io_uring_register. Source: enum io_uring_register_op.
const (
	registerBuffers              = 0  // IORING_REGISTER_BUFFERS, since 5.1
	unregisterBuffers            = 1  // IORING_UNREGISTER_BUFFERS, since 5.1
	registerFiles                = 2  // IORING_REGISTER_FILES, since 5.1
	unregisterFiles              = 3  // IORING_UNREGISTER_FILES, since 5.1
	registerEventFD              = 4  // IORING_REGISTER_EVENTFD, since 5.2
	unregisterEventFD            = 5  // IORING_UNREGISTER_EVENTFD, since 5.2
	registerFilesUpdate          = 6  // IORING_REGISTER_FILES_UPDATE, since 5.5
	registerEventFDAsync         = 7  // IORING_REGISTER_EVENTFD_ASYNC, since 5.6
	registerProbe                = 8  // IORING_REGISTER_PROBE, since 5.6
	registerFiles2               = 13 // IORING_REGISTER_FILES2, since 5.13
	registerBuffers2             = 15 // IORING_REGISTER_BUFFERS2, since 5.13
	registerBuffersUpdate        = 16 // IORING_REGISTER_BUFFERS_UPDATE, since 5.13
	registerIOWQMaxWorkers       = 19 // IORING_REGISTER_IOWQ_MAX_WORKERS, since 5.15
	registerRingFDs              = 20 // IORING_REGISTER_RING_FDS, since 5.18
	unregisterRingFDs            = 21 // IORING_UNREGISTER_RING_FDS, since 5.18
	registerSyncCancel           = 24 // IORING_REGISTER_SYNC_CANCEL, since 6.0
	registerCloneBuffers         = 30 // IORING_REGISTER_CLONE_BUFFERS, since 6.12
	registerSendMsgRing          = 31 // IORING_REGISTER_SEND_MSG_RING, since 6.13
	rsrcRegisterSparse           = 1  // IORING_RSRC_REGISTER_SPARSE, since 5.19
	probeOpSupported             = 1  // IO_URING_OP_SUPPORTED
	msgRingData                  = 0  // IORING_MSG_DATA
	maxProbeOps                  = 256
	filesTableEmpty        int32 = -1 // an unused slot of the file table
)

// setupParams is struct io_uring_params: 120 bytes, in and out of setup.
type setupParams struct {
	sqEntries    uint32
	cqEntries    uint32
	flags        uint32
	sqThreadCPU  uint32
	sqThreadIdle uint32
	features     uint32
	wqFD         uint32
	resv         [3]uint32
	sqOff        sqOffsets
	cqOff        cqOffsets
}

// sqOffsets is struct io_sqring_offsets, 40 bytes: where in the mapping each
// field of the submission ring lies.
type sqOffsets struct {
	head, tail, ringMask, ringEntries, flags, dropped, array, resv1 uint32
	userAddr                                                        uint64
}

// cqOffsets is struct io_cqring_offsets, 40 bytes.
type cqOffsets struct {
	head, tail, ringMask, ringEntries, overflow, cqes, flags, resv1 uint32
	userAddr                                                        uint64
}

// waitArg is struct io_uring_getevents_arg (24 bytes) followed by the struct
// __kernel_timespec (include/uapi/linux/time_types.h, 16 bytes) that it points at.
type waitArg struct {
	sigmask     uint64
	sigmaskSize uint32
	minWaitUsec uint32
	ts          uint64
	timespec    Timespec
}

const waitArgBytes = 24 // sizeof(struct io_uring_getevents_arg)

// A Timespec is a duration or a time for the kernel.
//
// Source: struct __kernel_timespec, include/uapi/linux/time_types.h.
type Timespec struct {
	Sec  int64
	Nsec int64
}

// probeOp is struct io_uring_probe_op.
type probeOp struct {
	op    uint8
	resv  uint8
	flags uint16
	resv2 uint32
}

// probeTable is struct io_uring_probe with room for every opcode.
type probeTable struct {
	lastOp uint8
	opsLen uint8
	resv   uint16
	resv2  [3]uint32
	ops    [maxProbeOps]probeOp
}

// rsrcRegister is struct io_uring_rsrc_register, 32 bytes.
type rsrcRegister struct {
	nr    uint32
	flags uint32
	resv2 uint64
	data  uint64
	tags  uint64
}

// rsrcUpdate is struct io_uring_rsrc_update, 16 bytes.
type rsrcUpdate struct {
	offset uint32
	resv   uint32
	data   uint64
}

// rsrcUpdate2 is struct io_uring_rsrc_update2, 32 bytes.
type rsrcUpdate2 struct {
	offset uint32
	resv   uint32
	data   uint64
	tags   uint64
	nr     uint32
	resv2  uint32
}

// syncCancel is struct io_uring_sync_cancel_reg, 64 bytes.
type syncCancel struct {
	addr    uint64
	fd      int32
	flags   uint32
	timeout Timespec
	opcode  uint8
	pad     [7]uint8
	pad2    [3]uint64
}

// cloneBuffers is struct io_uring_clone_buffers, 32 bytes.
type cloneBuffers struct {
	srcFD  uint32
	flags  uint32
	srcOff uint32
	dstOff uint32
	nr     uint32
	pad    [3]uint32
}

// bitName names one bit of a flag word and the first kernel that has it.
type bitName struct {
	bit   uint32
	name  string
	since string
}

func bitString(v uint32, names []bitName) string {
	if v == 0 {
		return "0"
	}
	s := ""
	for _, n := range names {
		if v&n.bit != 0 {
			s += "|" + n.name
			v &^= n.bit
		}
	}
	if v != 0 {
		s += fmt.Sprintf("|%#x", v)
	}
	return s[1:]
}
