// SPDX-License-Identifier: Apache-2.0

//go:build lockdep

#include "textflag.h"

// BP points at the frame pointer that the calling function saved; beside it is the
// address to which that function returns.

// func where(offset uintptr) (gp uintptr, word uint64, pc uintptr)
TEXT ·where(SB), NOSPLIT|NOFRAME, $0-32
	MOVQ (TLS), AX
	MOVQ offset+0(FP), BX
	MOVQ (AX)(BX*1), CX
	MOVQ 8(BP), DX
	MOVQ AX, gp+8(FP)
	MOVQ CX, word+16(FP)
	MOVQ DX, pc+24(FP)
	RET

// func whereUp(offset uintptr) (gp uintptr, word uint64, pc uintptr)
TEXT ·whereUp(SB), NOSPLIT|NOFRAME, $0-32
	MOVQ (TLS), AX
	MOVQ offset+0(FP), BX
	MOVQ (AX)(BX*1), CX
	MOVQ (BP), DX
	TESTQ DX, DX
	JZ   out
	MOVQ 8(DX), DX
out:
	MOVQ AX, gp+8(FP)
	MOVQ CX, word+16(FP)
	MOVQ DX, pc+24(FP)
	RET
