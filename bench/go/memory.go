package main

import (
	"bytes"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"time"
)

// Bytes of this process's memory that are resident.
func resident() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		panic(err)
	}
	pages, err := strconv.ParseInt(string(bytes.Fields(text)[1]), 10, 64)
	if err != nil {
		panic(err)
	}
	return pages * int64(os.Getpagesize())
}

func sit(arrived *sync.WaitGroup, gate chan int, gone *sync.WaitGroup) {
	arrived.Done()
	<-gate
	gone.Done()
}

// Parks n goroutines, reads the memory, then wakes all by closing their channel.
func parked(n, k int) (map[string]int64, int) {
	arrived, gone, gate := new(sync.WaitGroup), new(sync.WaitGroup), make(chan int)
	arrived.Add(n)
	gone.Add(n)
	before, others := resident(), runtime.NumGoroutine()
	start := time.Now()
	for i := 0; i < n; i++ {
		go sit(arrived, gate, gone)
	}
	arrived.Wait()
	create := time.Since(start).Nanoseconds()
	count := runtime.NumGoroutine() - others
	size := resident() - before
	start = time.Now()
	close(gate)
	gone.Wait()
	wake := time.Since(start).Nanoseconds()
	return map[string]int64{"bytes": size, "create": create, "wake": wake}, count
}

// Leaves free memory of which every page was touched, enough for all repetitions, and the collector off: what is
// allocated from then on meets neither a page fault nor a collection.
func prepareWith(alloc func(n, k int) (time.Duration, int)) func(n, k, repetitions int) {
	return func(n, k, repetitions int) {
		debug.SetGCPercent(-1)
		alloc(n*(repetitions+1), k)
		runtime.GC()
	}
}

type node16 struct {
	number int
	next   *node16
}

func alloc16(n, k int) (time.Duration, int) {
	var last *node16
	start := time.Now()
	for i := 0; i < n; i++ {
		last = &node16{number: i, next: last}
	}
	elapsed := time.Since(start)
	total := 0
	for p := last; p != nil; p = p.next {
		total += p.number
	}
	return elapsed, total
}

type node64 struct {
	number int
	next   *node64
	_      [6]int
}

func alloc64(n, k int) (time.Duration, int) {
	var last *node64
	start := time.Now()
	for i := 0; i < n; i++ {
		last = &node64{number: i, next: last}
	}
	elapsed := time.Since(start)
	total := 0
	for p := last; p != nil; p = p.next {
		total += p.number
	}
	return elapsed, total
}

type node1024 struct {
	number int
	next   *node1024
	_      [126]int
}

func alloc1024(n, k int) (time.Duration, int) {
	var last *node1024
	start := time.Now()
	for i := 0; i < n; i++ {
		last = &node1024{number: i, next: last}
	}
	elapsed := time.Since(start)
	total := 0
	for p := last; p != nil; p = p.next {
		total += p.number
	}
	return elapsed, total
}
