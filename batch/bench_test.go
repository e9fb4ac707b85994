// SPDX-License-Identifier: Apache-2.0

package batch_test

import (
	"testing"

	"endio/batch"
	"endio/bio"
	"endio/dio"
	"endio/machine"
	"endio/machine/host"
)

// BenchmarkCompletion measures what the completion code costs one I/O on the host,
// without the kernel: begin on the inode, end in an atomic context, the way to the
// handler, and the handler's call. The design allows 5% of an I/O of 2 µs: 100 ns.
// All of it is counted, not only what the machine interface adds.
//
// In Task the worker is another goroutine, which a batch of 32 wakes once.
func BenchmarkCompletion(b *testing.B) {
	m, err := host.New(host.Config{Shards: 1, MaxShards: 1, UseThreads: true})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	atomic := m.ShardPort(0).ReapContext()
	task := m.Anyone()
	bs := batch.New(m, task, batch.Options{})
	m.Start()
	inode := dio.NewInode(m)
	owner := batch.NewOwner(m)
	const size = 32
	for _, way := range []string{"inline", "task", "caller"} {
		b.Run(way, func(b *testing.B) {
			ran := 0
			all := make(chan struct{})
			ios := make([]bio.Bio, size)
			for i := range ios {
				ios[i].EndIO = func(machine.Context, *bio.Bio) {
					if ran++; way == "task" && ran%size == 0 {
						all <- struct{}{}
					}
				}
				switch way {
				case "task":
					ios[i].Flags = bio.CompleteInTask
				case "caller":
					ios[i].Owner = owner
				}
			}
			b.ReportAllocs()
			for n := 0; n < b.N; n += size {
				for i := range ios {
					if err := ios[i].Start(); err != nil {
						b.Fatal(err)
					}
					inode.Begin(task, nil)
				}
				for i := range ios {
					dio.Complete(atomic, bs, inode, &ios[i], nil)
				}
				switch way {
				case "task":
					<-all
				case "caller":
					for owner.RunOne(task) {
					}
				}
			}
			if ran < b.N {
				b.Fatalf("%d handlers ran, want at least %d", ran, b.N)
			}
		})
	}
}
