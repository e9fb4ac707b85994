// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"strings"
)

// tokenVersion is the first part of every token. It changes when old tokens
// stop to mean the same; docs/explore.md tells when.
const tokenVersion = "ex1"

// A schedule is an execution as tasks in the order of their creation, so that
// it means the same in every process.
type schedule struct {
	tasks   []uint8 // index in the order of creation, by step
	choices []int32 // outcomes, in order
}

// token packs the schedule: version, a check of the program's name, then pairs
// of task and run length, then the choices, as varints in base64.
func (s *schedule) token(program string) string {
	b := binary.AppendUvarint(nil, uint64(len(s.tasks)))
	for i := 0; i < len(s.tasks); {
		j := i
		for j < len(s.tasks) && s.tasks[j] == s.tasks[i] {
			j++
		}
		b = append(b, s.tasks[i])
		b = binary.AppendUvarint(b, uint64(j-i))
		i = j
	}
	for _, c := range s.choices {
		b = binary.AppendUvarint(b, uint64(c))
	}
	return fmt.Sprintf("%s.%04x.%s", tokenVersion, nameCheck(program), base64.RawURLEncoding.EncodeToString(b))
}

func nameCheck(program string) uint16 {
	h := fnv.New32a()
	h.Write([]byte(program))
	return uint16(h.Sum32())
}

func parseToken(token, program string) (*schedule, error) {
	parts := strings.Split(strings.TrimSpace(token), ".")
	if len(parts) != 3 {
		return nil, fmt.Errorf("replay token %q: want version.check.data, with two dots", token)
	}
	if parts[0] != tokenVersion {
		return nil, fmt.Errorf("replay token %q: version %q, but this build reads %q only: find the failure again", token, parts[0], tokenVersion)
	}
	if want := fmt.Sprintf("%04x", nameCheck(program)); parts[1] != want {
		return nil, fmt.Errorf("replay token %q: made for another program than %q", token, program)
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return nil, fmt.Errorf("replay token %q: %w", token, err)
	}
	s, err := parseSchedule(b)
	if err != nil {
		return nil, fmt.Errorf("replay token %q: %w", token, err)
	}
	return s, nil
}

// maxTokenSteps bounds what a damaged token can make the parser allocate.
const maxTokenSteps = 1 << 24

func parseSchedule(b []byte) (*schedule, error) {
	total, n := binary.Uvarint(b)
	if n <= 0 || total > maxTokenSteps {
		return nil, fmt.Errorf("cut short or damaged")
	}
	b = b[n:]
	s := &schedule{}
	for uint64(len(s.tasks)) < total {
		if len(b) < 2 {
			return nil, fmt.Errorf("cut short")
		}
		task := b[0]
		run, n := binary.Uvarint(b[1:])
		if n <= 0 || run == 0 || run > total-uint64(len(s.tasks)) || task >= MaxTasks {
			return nil, fmt.Errorf("damaged")
		}
		for range run {
			s.tasks = append(s.tasks, task)
		}
		b = b[1+n:]
	}
	for len(b) > 0 {
		c, n := binary.Uvarint(b)
		if n <= 0 || c > 1<<30 {
			return nil, fmt.Errorf("damaged choices")
		}
		s.choices = append(s.choices, int32(c))
		b = b[n:]
	}
	return s, nil
}

// schedule returns the execution just made.
func (x *Exec) scheduled() *schedule {
	var index [MaxTasks]uint8
	for i, id := range x.order {
		index[id] = uint8(i)
	}
	s := &schedule{}
	for i := range x.hist.events[:min(x.depth, len(x.hist.events))] {
		s.tasks = append(s.tasks, index[x.hist.events[i].task])
	}
	for _, c := range x.choices {
		s.choices = append(s.choices, c.value)
	}
	return s
}

// replay runs one schedule.
type replay struct {
	*schedule
	used  bool
	chose int
	// strict makes a schedule that does not fit a failure; otherwise the
	// execution just ends there.
	strict bool
	unfit  bool     // there was no choice of that number
	keys   []uint64 // the states on the way, if the program declares them
	owing  bool     // ask in each of them what is owed
	owed   []bool   // and whether something was
}

func (s *replay) begin(x *Exec) bool {
	if s.used {
		return false
	}
	s.used = true
	s.chose = 0
	x.hist.rewind(0)
	return true
}

func (s *replay) pick(x *Exec) int {
	if x.depth >= len(s.tasks) {
		s.cycle(x)
		return -1
	}
	if x.stateFn != nil {
		s.keys = append(s.keys, x.stateKey())
		if s.owing {
			s.owed = append(s.owed, x.owes() != nil)
		}
	}
	if i := int(s.tasks[x.depth]); i < len(x.order) {
		if id := int(x.order[i]); x.enabled>>id&1 == 1 {
			return id
		}
	}
	x.ended = infeasible
	if s.strict {
		x.fail(&Failure{Kind: Nondeterminism, Text: fmt.Sprintf(
			"replay: step %d can't be taken: the program is not the one that the token was made with, or is not deterministic", x.depth+1)}, nil)
	}
	return -1
}

// cycle looks whether the state at the end of the schedule was there before, if
// the program declares it.
func (s *replay) cycle(x *Exec) {
	if x.stateFn == nil {
		return
	}
	key := x.stateKey()
	var owes *Failure
	if s.owing {
		owes = x.owes()
	}
	checkCycle(x, s.keys, x.depth, key, s.owed, owes)
}

func (s *replay) choose(x *Exec, n int) int {
	s.chose++
	if s.chose > len(s.choices) {
		return 0
	}
	if int(s.choices[s.chose-1]) < n {
		return int(s.choices[s.chose-1])
	}
	s.unfit = true
	return 0
}

func (s *replay) end(*Exec) {}
