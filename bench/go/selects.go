package main

import "time"

// Channels that hold n numbers each.
func filled(n, count int) []chan int {
	channels := make([]chan int, count)
	for j := range channels {
		channels[j] = make(chan int, n)
		for i := 0; i < n; i++ {
			channels[j] <- j*n + i
		}
	}
	return channels
}

func unbuffered(count int) []chan int {
	channels := make([]chan int, count)
	for j := range channels {
		channels[j] = make(chan int)
	}
	return channels
}

// The sum of what is left.
func drain(channels []chan int) int {
	total := 0
	for _, c := range channels {
		close(c)
		for v := range c {
			total += v
		}
	}
	return total
}

// Sends a number on one channel after the other, each when the one before was answered; ends with the sum.
func askInTurn(channels []chan int, answers chan int, n int) {
	total := 0
	for i := 0; i < n; i++ {
		channels[i%len(channels)] <- i
		total += <-answers
	}
	answers <- total
}

func select2Ready(n, k int) (time.Duration, int) {
	c := filled(n, 2)
	c0, c1 := c[0], c[1]
	total := 0
	start := time.Now()
	for i := 0; i < n; i++ {
		select {
		case v := <-c0:
			total += v
		case v := <-c1:
			total += v
		}
	}
	elapsed := time.Since(start)
	return elapsed, total + drain(c)
}

func select8Ready(n, k int) (time.Duration, int) {
	c := filled(n, 8)
	c0, c1, c2, c3, c4, c5, c6, c7 := c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]
	total := 0
	start := time.Now()
	for i := 0; i < n; i++ {
		select {
		case v := <-c0:
			total += v
		case v := <-c1:
			total += v
		case v := <-c2:
			total += v
		case v := <-c3:
			total += v
		case v := <-c4:
			total += v
		case v := <-c5:
			total += v
		case v := <-c6:
			total += v
		case v := <-c7:
			total += v
		}
	}
	elapsed := time.Since(start)
	return elapsed, total + drain(c)
}

func select2Blocked(n, k int) (time.Duration, int) {
	c := unbuffered(2)
	c0, c1 := c[0], c[1]
	answers := make(chan int)
	start := time.Now()
	go askInTurn(c, answers, n)
	for i := 0; i < n; i++ {
		select {
		case v := <-c0:
			answers <- v
		case v := <-c1:
			answers <- v
		}
	}
	total := <-answers
	return time.Since(start), total
}

func select8Blocked(n, k int) (time.Duration, int) {
	c := unbuffered(8)
	c0, c1, c2, c3, c4, c5, c6, c7 := c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]
	answers := make(chan int)
	start := time.Now()
	go askInTurn(c, answers, n)
	for i := 0; i < n; i++ {
		select {
		case v := <-c0:
			answers <- v
		case v := <-c1:
			answers <- v
		case v := <-c2:
			answers <- v
		case v := <-c3:
			answers <- v
		case v := <-c4:
			answers <- v
		case v := <-c5:
			answers <- v
		case v := <-c6:
			answers <- v
		case v := <-c7:
			answers <- v
		}
	}
	total := <-answers
	return time.Since(start), total
}
