// The scheduler's rows of the benchmark, in Go; scheduler_programs.py holds the same programs for gopark.
//
// Arguments come in fours: program, n, k, repetitions. For each program one line of JSON is printed: the samples, the
// checksums of the work, and the page faults that the repetitions met.
package main

import (
	"encoding/json"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

type program struct {
	run func(n, k int) (time.Duration, int)
	// Instead of run: several figures, in bytes or nanoseconds.
	figures func(n, k int) (map[string]int64, int)
	// n for the warm-up where it is not that of the measurement; 0: it is.
	warmUp int
	// Called between the warm-up and the first repetition.
	prepare func(n, k, repetitions int)
}

func (p program) measure(n, k int) (map[string]int64, int) {
	if p.figures != nil {
		return p.figures(n, k)
	}
	elapsed, checksum := p.run(n, k)
	return map[string]int64{"": elapsed.Nanoseconds()}, checksum
}

var programs = map[string]program{
	"spawn_batch":      {run: spawnBatch},
	"spawn_wait":       {run: spawnWait},
	"spawn_tree":       {run: spawnTree},
	"ping_pong":        {run: pingPong},
	"buffered":         {run: buffered},
	"mpmc":             {run: mpmc},
	"gosched":          {run: yields},
	"select_2_ready":   {run: select2Ready},
	"select_8_ready":   {run: select8Ready},
	"select_2_blocked": {run: select2Blocked},
	"select_8_blocked": {run: select8Blocked},
	"mutex_contended":  {run: mutexContended},
	"mutex_handoff":    {run: mutexHandoff},
	"fan_out":          {run: fanOut},
	"sieve":            {run: sieve},
	"ring":             {run: ring},
	"parked":           {figures: parked, warmUp: 10},
	"alloc_16":         {run: alloc16, prepare: prepareWith(alloc16)},
	"alloc_64":         {run: alloc64, prepare: prepareWith(alloc64)},
	"alloc_1024":       {run: alloc1024, prepare: prepareWith(alloc1024)},
}

func number(text string) int {
	value, err := strconv.Atoi(text)
	if err != nil {
		panic(err)
	}
	return value
}

// Page faults of this process so far that needed no disk.
func pageFaults() int64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return usage.Minflt
}

func main() {
	for args := os.Args[1:]; len(args) >= 4; args = args[4:] {
		name, n, k, repetitions := args[0], number(args[1]), number(args[2]), number(args[3])
		p, known := programs[name]
		if !known {
			panic("no program " + name)
		}
		warmUp := n
		if p.warmUp > 0 {
			warmUp = p.warmUp
		}
		p.measure(warmUp, k) // is not recorded
		if p.prepare != nil {
			p.prepare(n, k, repetitions)
		}
		samples := map[string][]int64{}
		checksums := []int{}
		faults := pageFaults()
		for i := 0; i < repetitions; i++ {
			figures, checksum := p.measure(n, k)
			for figure, value := range figures {
				samples[figure] = append(samples[figure], value)
			}
			if len(checksums) == 0 || checksums[len(checksums)-1] != checksum {
				checksums = append(checksums, checksum)
			}
		}
		faults = pageFaults() - faults
		line := map[string]any{
			"program": name, "n": n, "k": k, "version": runtime.Version(),
			"checksums": checksums, "faults": faults, "samples": samples,
		}
		if err := json.NewEncoder(os.Stdout).Encode(line); err != nil {
			panic(err)
		}
	}
}
