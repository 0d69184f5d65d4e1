package main

import (
	"runtime"
	"sync"
	"time"
)

const producers, consumers = 4, 4

func produceEvery(c chan int, wg *sync.WaitGroup, id, n int) {
	for i := id; i < n; i += producers {
		c <- i
	}
	wg.Done()
}

func consume(c, totals chan int) {
	total := 0
	for v := range c {
		total += v
	}
	totals <- total
}

func closeAfter(c chan int, wg *sync.WaitGroup) {
	wg.Wait()
	close(c)
}

func mpmc(n, k int) (time.Duration, int) {
	c := make(chan int, k)
	totals := make(chan int, consumers)
	var wg sync.WaitGroup
	start := time.Now()
	for j := 0; j < consumers; j++ {
		go consume(c, totals)
	}
	wg.Add(producers)
	for j := 0; j < producers; j++ {
		go produceEvery(c, &wg, j, n)
	}
	go closeAfter(c, &wg)
	total := 0
	for j := 0; j < consumers; j++ {
		total += <-totals
	}
	return time.Since(start), total
}

type cell struct{ value int }

// Yields between reading and writing, with the mutex held, so that the others queue.
func contend(mu *sync.Mutex, c *cell, wg *sync.WaitGroup, id, n int) {
	for i := 0; i < n; i++ {
		mu.Lock()
		value := c.value
		runtime.Gosched()
		c.value = value + id
		mu.Unlock()
	}
	wg.Done()
}

func mutexContended(n, k int) (time.Duration, int) {
	mu, wg, c := new(sync.Mutex), new(sync.WaitGroup), new(cell)
	start := time.Now()
	wg.Add(k)
	for id := 1; id <= k; id++ {
		go contend(mu, c, wg, id, n)
	}
	wg.Wait()
	return time.Since(start), c.value
}

func answerByMutex(here, there *sync.Mutex, c *cell, n int) {
	for i := 0; i < n; i++ {
		here.Lock()
		c.value++
		there.Unlock()
	}
}

func mutexHandoff(n, k int) (time.Duration, int) {
	here, there, c := new(sync.Mutex), new(sync.Mutex), new(cell)
	here.Lock()
	there.Lock()
	total := 0
	start := time.Now()
	go answerByMutex(here, there, c, n)
	for i := 0; i < n; i++ {
		c.value = 2 * i
		here.Unlock()
		there.Lock()
		total += c.value
	}
	return time.Since(start), total
}

func waitAtGates(even, odd, finish *sync.WaitGroup, id, n int) {
	for turn := 0; turn < n; turn++ {
		if turn%2 == 0 {
			even.Wait()
		} else {
			odd.Wait()
		}
		finish.Add(-id)
	}
}

// Two gates serve by turns. The next one is shut before this one opens: all have left it by then.
func fanOut(n, k int) (time.Duration, int) {
	even, odd, finish := new(sync.WaitGroup), new(sync.WaitGroup), new(sync.WaitGroup)
	even.Add(1)
	for id := 1; id <= k; id++ {
		go waitAtGates(even, odd, finish, id, n)
	}
	total := 0
	start := time.Now()
	for turn := 0; turn < n; turn++ {
		finish.Add(k * (k + 1) / 2)
		if turn%2 == 0 {
			odd.Add(1)
			even.Done()
		} else {
			even.Add(1)
			odd.Done()
		}
		finish.Wait()
		total += k * (k + 1) / 2
	}
	return time.Since(start), total
}

func generate(c chan int, limit int) {
	for i := 2; i <= limit; i++ {
		c <- i
	}
	close(c)
}

func sift(source, target chan int, prime int) {
	for v := range source {
		if v%prime != 0 {
			target <- v
		}
	}
	close(target)
}

func sieve(n, k int) (time.Duration, int) {
	c := make(chan int)
	total := 0
	start := time.Now()
	go generate(c, k)
	for i := 0; i < n; i++ {
		prime := <-c
		total += prime
		sifted := make(chan int)
		go sift(c, sifted, prime)
		c = sifted
	}
	for v := range c {
		total += v
	}
	return time.Since(start), total
}

// Passes the token on, less one. Who gets 0 says its number, and sends a negative one round, which ends all.
func ringNode(source, target, done chan int, id int) {
	token := <-source
	for token > 0 {
		target <- token - 1
		token = <-source
	}
	if token == 0 {
		done <- id
		target <- -1
		<-source
		done <- id
	} else {
		target <- -1
	}
}

func ring(n, k int) (time.Duration, int) {
	first, done := make(chan int), make(chan int)
	source := first
	for id := 0; id < k-1; id++ {
		target := make(chan int)
		go ringNode(source, target, done, id)
		source = target
	}
	go ringNode(source, first, done, k-1)
	start := time.Now()
	first <- n
	id := <-done
	elapsed := time.Since(start)
	<-done
	return elapsed, id
}
