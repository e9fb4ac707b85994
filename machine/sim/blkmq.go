// SPDX-License-Identifier: Apache-2.0

package sim

import "endio/explore"

// A HardwareQueue is a blk_mq_hw_ctx whose only CPU that is on line is given: when that goes
// down, hotplug waits until no request of the queue is in flight.
//
// Source: blk_mq_hctx_notify_offline, block/blk-mq.c, Linux 7.3; kernel-semantics.md, B6.3.
type HardwareQueue struct {
	name     string
	cpu      *CPU
	obj      explore.Object
	inflight int

	// Stacking queues (loop, dm-rq) are exempt from the wait: their requests may need
	// others to make progress.
	stacking bool
}

// NewHardwareQueue makes a queue of a CPU. Call it in Init.
func (k *Kernel) NewHardwareQueue(name string, cpu int, stacking bool) *HardwareQueue {
	q := &HardwareQueue{name: name, cpu: k.cpus[cpu], obj: k.x.NewObject("hctx "+name, -1), stacking: stacking}
	k.hctxs = append(k.hctxs, q)
	k.add(q)
	return q
}

func (q *HardwareQueue) hash(h *explore.Hash) { h.Add(uint64(q.inflight)) }
func (q *HardwareQueue) ready(*Context) bool  { return q.inflight == 0 }
func (q *HardwareQueue) describe(_ *Context, w *explore.Wait) {
	w.For = "the requests in flight on " + q.name
}

// Start gets a request: it is in flight until End. With the queue's CPU past BLK_MQ_ONLINE on its
// way down a request goes to another queue, which the caller must choose.
func (q *HardwareQueue) Start(c *Context) {
	c.stepOn("start a request on", q.name, nil, acc{q.obj, explore.AtomicUpdate})
	q.inflight++
}

// End frees the request. Any context may call it.
func (q *HardwareQueue) End(c *Context) {
	c.stepOn("end a request on", q.name, nil, acc{q.obj, explore.AtomicUpdate})
	if q.inflight--; q.inflight < 0 {
		c.Fail(Imbalance, "a request of %s ends that was not started", q.name)
	}
}

// blkMQOffline waits for the queues whose last CPU goes. The kernel looks every 5 ms.
func blkMQOffline(c *Context, p *CPU) {
	for _, q := range c.k.hctxs {
		if q.cpu == p && !q.stacking {
			c.block("wait until no request is in flight", q, Uninterruptible, acc{q.obj, explore.AtomicUpdate})
		}
	}
}
