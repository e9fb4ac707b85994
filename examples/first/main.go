// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"

	"endio"
)

func main() {
	e, err := endio.Open(endio.Options{})
	must(err)
	f, err := e.OpenFile("first.tmp", os.O_RDWR|os.O_CREATE, 0o600)
	must(err)
	defer os.Remove("first.tmp")
	q, err := e.NewQueue(endio.QueueOptions{}) // this goroutine's
	must(err)
	written := 0
	for i := range 8 {
		must(q.Submit(&endio.Op{
			File: f, Kind: endio.Write, Buf: fmt.Appendf(nil, "block %d\n", i), Off: int64(i * 8),
			Done: func(c *endio.Context, op *endio.Op) { must(op.Err); written += op.N },
		}))
	}
	must(f.Truncate(64))                   // waits for the eight writes: it can not hang
	must(errors.Join(q.Drain(), f.Sync())) // the handlers run here, in this goroutine
	fmt.Println(written, "bytes written")
	must(errors.Join(q.Close(), f.Close(), e.Close()))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
