// SPDX-License-Identifier: Apache-2.0

//go:build lockdep

#include "textflag.h"

// R29 points at the frame pointer that the calling function saved; beside it is the
// address to which that function returns.

// func where(offset uintptr) (gp uintptr, word uint64, pc uintptr)
TEXT ·where(SB), NOSPLIT|NOFRAME, $0-32
	MOVD offset+0(FP), R0
	ADD  g, R0, R1
	MOVD (R1), R1
	MOVD 8(R29), R2
	MOVD g, gp+8(FP)
	MOVD R1, word+16(FP)
	MOVD R2, pc+24(FP)
	RET

// func whereUp(offset uintptr) (gp uintptr, word uint64, pc uintptr)
TEXT ·whereUp(SB), NOSPLIT|NOFRAME, $0-32
	MOVD offset+0(FP), R0
	ADD  g, R0, R1
	MOVD (R1), R1
	MOVD (R29), R2
	CBZ  R2, out
	MOVD 8(R2), R2
out:
	MOVD g, gp+8(FP)
	MOVD R1, word+16(FP)
	MOVD R2, pc+24(FP)
	RET
