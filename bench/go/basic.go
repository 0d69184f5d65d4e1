package main

import (
	"runtime"
	"sync"
	"time"
)

// Each goroutine takes its own number off the count, so that Wait returns only when all of them ran, once each.
func leave(wg *sync.WaitGroup, id int) {
	wg.Add(-id)
}

func spawnBatch(n, k int) (time.Duration, int) {
	var wg sync.WaitGroup
	total := 0
	start := time.Now()
	for j := 0; j < n; j++ {
		wg.Add(k * (k + 1) / 2)
		for id := 1; id <= k; id++ {
			go leave(&wg, id)
		}
		wg.Wait()
		total += k * (k + 1) / 2
	}
	return time.Since(start), total
}

func answer(c chan int, i int) {
	c <- i
}

func spawnWait(n, k int) (time.Duration, int) {
	c := make(chan int)
	total := 0
	start := time.Now()
	for i := 0; i < n; i++ {
		go answer(c, i)
		total += <-c
	}
	return time.Since(start), total
}

func treeNode(wg *sync.WaitGroup, id, size int) {
	if 2*id < size {
		go treeNode(wg, 2*id, size)
		go treeNode(wg, 2*id+1, size)
	}
	wg.Add(-id)
}

func spawnTree(n, k int) (time.Duration, int) {
	var wg sync.WaitGroup
	start := time.Now()
	wg.Add(n * (n + 1) / 2)
	go treeNode(&wg, 1, n+1)
	wg.Wait()
	return time.Since(start), n * (n + 1) / 2
}

func pong(a, b chan int, n int) {
	for i := 0; i < n; i++ {
		b <- <-a
	}
}

func pingPong(n, k int) (time.Duration, int) {
	a, b := make(chan int), make(chan int)
	total := 0
	start := time.Now()
	go pong(a, b, n)
	for i := 0; i < n; i++ {
		a <- i
		total += <-b
	}
	return time.Since(start), total
}

func produce(c chan int, n int) {
	for i := 0; i < n; i++ {
		c <- i
	}
	close(c)
}

func buffered(n, k int) (time.Duration, int) {
	c := make(chan int, k)
	total := 0
	start := time.Now()
	go produce(c, n)
	for v := range c {
		total += v
	}
	return time.Since(start), total
}

func yielder(wg *sync.WaitGroup, id, n int) {
	for i := 0; i < n; i++ {
		runtime.Gosched()
	}
	wg.Add(-id)
}

func yields(n, k int) (time.Duration, int) {
	var wg sync.WaitGroup
	start := time.Now()
	wg.Add(k * (k + 1) / 2)
	for id := 1; id <= k; id++ {
		go yielder(&wg, id, n)
	}
	wg.Wait()
	return time.Since(start), k * (k + 1) / 2
}
