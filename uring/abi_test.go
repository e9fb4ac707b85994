// SPDX-License-Identifier: Apache-2.0

package uring

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// A layout is the size of a struct and the offset of each field that the
// package uses, in bytes, under its C name.
type layout struct {
	c      string // C type
	goType reflect.Type
	size   uintptr
	fields []fieldAt
}

type fieldAt struct {
	goName string
	c      string
	offset uintptr
}

// layouts was written from include/uapi/linux/io_uring.h, Linux v6.18, and
// not from this package. TestABIHeader compares it with a C compiler's view.
var layouts = []layout{
	{"struct io_uring_sqe", reflect.TypeFor[SQE](), 64, []fieldAt{
		{"Opcode", "opcode", 0}, {"Flags", "flags", 1}, {"IOPrio", "ioprio", 2}, {"FD", "fd", 4},
		{"Off", "off", 8}, {"Addr", "addr", 16}, {"Len", "len", 24}, {"OpFlags", "rw_flags", 28},
		{"UserData", "user_data", 32}, {"BufIndex", "buf_index", 40}, {"Personality", "personality", 42},
		{"FileIndex", "file_index", 44}, {"Addr3", "addr3", 48},
	}},
	{"struct io_uring_cqe", reflect.TypeFor[CQE](), 16, []fieldAt{
		{"UserData", "user_data", 0}, {"Res", "res", 8}, {"Flags", "flags", 12},
	}},
	{"struct io_uring_params", reflect.TypeFor[setupParams](), 120, []fieldAt{
		{"sqEntries", "sq_entries", 0}, {"cqEntries", "cq_entries", 4}, {"flags", "flags", 8},
		{"sqThreadCPU", "sq_thread_cpu", 12}, {"sqThreadIdle", "sq_thread_idle", 16},
		{"features", "features", 20}, {"wqFD", "wq_fd", 24}, {"sqOff", "sq_off", 40}, {"cqOff", "cq_off", 80},
	}},
	{"struct io_sqring_offsets", reflect.TypeFor[sqOffsets](), 40, []fieldAt{
		{"head", "head", 0}, {"tail", "tail", 4}, {"ringMask", "ring_mask", 8}, {"ringEntries", "ring_entries", 12},
		{"flags", "flags", 16}, {"dropped", "dropped", 20}, {"array", "array", 24},
	}},
	{"struct io_cqring_offsets", reflect.TypeFor[cqOffsets](), 40, []fieldAt{
		{"head", "head", 0}, {"tail", "tail", 4}, {"ringMask", "ring_mask", 8}, {"ringEntries", "ring_entries", 12},
		{"overflow", "overflow", 16}, {"cqes", "cqes", 20}, {"flags", "flags", 24},
	}},
	{"struct io_uring_getevents_arg", reflect.TypeFor[waitArg](), waitArgBytes + 16, []fieldAt{
		{"sigmask", "sigmask", 0}, {"sigmaskSize", "sigmask_sz", 8}, {"minWaitUsec", "pad", 12}, {"ts", "ts", 16},
	}},
	{"struct __kernel_timespec", reflect.TypeFor[Timespec](), 16, []fieldAt{{"Sec", "tv_sec", 0}, {"Nsec", "tv_nsec", 8}}},
	{"struct io_uring_probe_op", reflect.TypeFor[probeOp](), 8, []fieldAt{{"op", "op", 0}, {"flags", "flags", 2}}},
	{"struct io_uring_probe", reflect.TypeFor[probeTable](), 16 + 256*8, []fieldAt{
		{"lastOp", "last_op", 0}, {"opsLen", "ops_len", 1}, {"ops", "ops", 16},
	}},
	{"struct io_uring_rsrc_register", reflect.TypeFor[rsrcRegister](), 32, []fieldAt{
		{"nr", "nr", 0}, {"flags", "flags", 4}, {"data", "data", 16}, {"tags", "tags", 24},
	}},
	{"struct io_uring_rsrc_update", reflect.TypeFor[rsrcUpdate](), 16, []fieldAt{{"offset", "offset", 0}, {"data", "data", 8}}},
	{"struct io_uring_rsrc_update2", reflect.TypeFor[rsrcUpdate2](), 32, []fieldAt{
		{"offset", "offset", 0}, {"data", "data", 8}, {"tags", "tags", 16}, {"nr", "nr", 24},
	}},
	{"struct io_uring_sync_cancel_reg", reflect.TypeFor[syncCancel](), 64, []fieldAt{
		{"addr", "addr", 0}, {"fd", "fd", 8}, {"flags", "flags", 12}, {"timeout", "timeout", 16},
	}},
	{"struct io_uring_clone_buffers", reflect.TypeFor[cloneBuffers](), 32, []fieldAt{
		{"srcFD", "src_fd", 0}, {"flags", "flags", 4}, {"srcOff", "src_off", 8}, {"dstOff", "dst_off", 12}, {"nr", "nr", 16},
	}},
	{"struct iovec", reflect.TypeFor[Iovec](), 2 * wordBytes, []fieldAt{{"base", "iov_base", 0}, {"size", "iov_len", wordBytes}}},
}

const wordBytes = 4 << (^uintptr(0) >> 63) // 4 or 8

// sharedWithTail lists the structs of this package that are longer than the C
// type of the same name, because more follows it: C size in bytes.
var sharedWithTail = map[string]uintptr{
	"struct io_uring_getevents_arg": 24,
	"struct io_uring_probe":         16,
}

func TestABI(t *testing.T) {
	for _, l := range layouts {
		if got := l.goType.Size(); got != l.size {
			t.Errorf("%s is %d bytes, want %d", l.goType, got, l.size)
		}
		for _, f := range l.fields {
			field, ok := l.goType.FieldByName(f.goName)
			if !ok {
				t.Errorf("%s has no field %s", l.goType, f.goName)
				continue
			}
			if field.Offset != f.offset {
				t.Errorf("%s.%s is at %d, want %d", l.goType, f.goName, field.Offset, f.offset)
			}
		}
	}
}

// constants are the numbers of this package under their C names.
var constants = map[string]uint64{
	"IORING_SETUP_CQSIZE": uint64(SetupCQSize), "IORING_SETUP_CLAMP": uint64(SetupClamp),
	"IORING_SETUP_ATTACH_WQ": uint64(SetupAttachWQ), "IORING_SETUP_SUBMIT_ALL": uint64(SetupSubmitAll),
	"IORING_SETUP_COOP_TASKRUN": uint64(SetupCoopTaskrun), "IORING_SETUP_TASKRUN_FLAG": uint64(SetupTaskrunFlag),
	"IORING_SETUP_SINGLE_ISSUER": uint64(SetupSingleIssuer), "IORING_SETUP_DEFER_TASKRUN": uint64(SetupDeferTaskrun),
	"IORING_SETUP_NO_SQARRAY": uint64(SetupNoSQArray),
	"IOSQE_FIXED_FILE":        uint64(SQEFixedFile), "IOSQE_IO_DRAIN": uint64(SQEDrain), "IOSQE_IO_LINK": uint64(SQELink),
	"IOSQE_IO_HARDLINK": uint64(SQEHardLink), "IOSQE_ASYNC": uint64(SQEAsync), "IOSQE_CQE_SKIP_SUCCESS": uint64(SQECQESkip),
	"RWF_DSYNC": uint64(RWDsync), "RWF_SYNC": uint64(RWSync), "RWF_NOWAIT": uint64(RWNowait), "RWF_APPEND": uint64(RWAppend),
	"RWF_NOAPPEND": uint64(RWNoAppend), "RWF_ATOMIC": uint64(RWAtomic), "RWF_DONTCACHE": uint64(RWDontCache),
	"IORING_FSYNC_DATASYNC":   uint64(FsyncDataSync),
	"IORING_ASYNC_CANCEL_ALL": uint64(CancelAll), "IORING_ASYNC_CANCEL_FD": uint64(CancelFD),
	"IORING_ASYNC_CANCEL_ANY": uint64(CancelAny), "IORING_ASYNC_CANCEL_FD_FIXED": uint64(CancelFDFixed),
	"IORING_ASYNC_CANCEL_USERDATA": uint64(CancelUserData), "IORING_ASYNC_CANCEL_OP": uint64(CancelOp),
	"IORING_TIMEOUT_ABS": uint64(TimeoutAbs), "IORING_TIMEOUT_BOOTTIME": uint64(TimeoutBoottime),
	"IORING_TIMEOUT_REALTIME": uint64(TimeoutRealtime), "IORING_TIMEOUT_ETIME_SUCCESS": uint64(TimeoutETimeIsDone),
	"IORING_TIMEOUT_MULTISHOT": uint64(TimeoutMultishot), "IORING_POLL_ADD_MULTI": uint64(PollMulti),
	"IORING_CQE_F_MORE": uint64(CQEMore), "IORING_OFF_SQ_RING": offSQRing, "IORING_OFF_SQES": offSQEs,
	"IORING_SQ_CQ_OVERFLOW": sqCQOverflow, "IORING_SQ_TASKRUN": sqTaskrun,
	"IORING_ENTER_GETEVENTS": enterGetEvents, "IORING_ENTER_EXT_ARG": enterExtArg, "IORING_ENTER_REGISTERED_RING": enterRegisteredRing,
	"IORING_REGISTER_BUFFERS": registerBuffers, "IORING_UNREGISTER_BUFFERS": unregisterBuffers,
	"IORING_REGISTER_FILES": registerFiles, "IORING_UNREGISTER_FILES": unregisterFiles,
	"IORING_REGISTER_EVENTFD": registerEventFD, "IORING_UNREGISTER_EVENTFD": unregisterEventFD,
	"IORING_REGISTER_FILES_UPDATE": registerFilesUpdate, "IORING_REGISTER_EVENTFD_ASYNC": registerEventFDAsync,
	"IORING_REGISTER_PROBE": registerProbe, "IORING_REGISTER_FILES2": registerFiles2, "IORING_REGISTER_BUFFERS2": registerBuffers2,
	"IORING_REGISTER_BUFFERS_UPDATE": registerBuffersUpdate, "IORING_REGISTER_IOWQ_MAX_WORKERS": registerIOWQMaxWorkers,
	"IORING_REGISTER_RING_FDS": registerRingFDs, "IORING_UNREGISTER_RING_FDS": unregisterRingFDs,
	"IORING_REGISTER_SYNC_CANCEL": registerSyncCancel, "IORING_REGISTER_CLONE_BUFFERS": registerCloneBuffers,
	"IORING_REGISTER_SEND_MSG_RING": registerSendMsgRing, "IORING_RSRC_REGISTER_SPARSE": rsrcRegisterSparse,
	"IO_URING_OP_SUPPORTED": probeOpSupported, "IORING_MSG_DATA": msgRingData,
	"__NR_io_uring_setup": sysSetup, "__NR_io_uring_enter": sysEnter, "__NR_io_uring_register": sysRegister,
}

// allConstants adds the operations and features, whose names are derived.
func allConstants() map[string]uint64 {
	all := map[string]uint64{}
	for name, v := range constants {
		all[name] = v
	}
	for op := range opInfos {
		all["IORING_OP_"+op.String()] = uint64(op)
	}
	for _, n := range featNames {
		all["IORING_FEAT_"+n.name] = uint64(n.bit)
	}
	for _, n := range setupNames {
		all["IORING_SETUP_"+n.name] = uint64(n.bit)
	}
	return all
}

// TestABIOps pins the operations to their numbers in enum io_uring_op.
func TestABIOps(t *testing.T) {
	want := "NOP=0 READV=1 WRITEV=2 FSYNC=3 READ_FIXED=4 WRITE_FIXED=5 POLL_ADD=6 POLL_REMOVE=7 SYNC_FILE_RANGE=8 " +
		"TIMEOUT=11 TIMEOUT_REMOVE=12 ASYNC_CANCEL=14 LINK_TIMEOUT=15 FALLOCATE=17 STATX=21 READ=22 WRITE=23 " +
		"FADVISE=24 MSG_RING=40 FTRUNCATE=55 READV_FIXED=60 WRITEV_FIXED=61"
	var got []string
	for op := range 256 {
		if _, ok := opInfos[Op(op)]; ok {
			got = append(got, fmt.Sprintf("%s=%d", Op(op), op))
		}
	}
	if s := strings.Join(got, " "); s != want {
		t.Errorf("operations are\n%s, want\n%s", s, want)
	}
}

func TestFlagNames(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{SetupFlags(0).String(), "0"},
		{(SetupCoopTaskrun | SetupCQSize).String(), "CQSIZE|COOP_TASKRUN"},
		{(SetupCQSize | 1<<31).String(), "CQSIZE|0x80000000"},
		{FeatNoDrop.String(), "NODROP"},
		{Op(200).String(), "OP_200"},
	} {
		if tt.got != tt.want {
			t.Errorf("String() = %q, want %q", tt.got, tt.want)
		}
	}
}
