package main

import "fmt"

func task(k, s int) int {
	for ; k > 0; k-- {
		s = (s + k) % 1000003
	}
	return s
}

// one goroutine starts n short CPU tasks
func main() {
	n, k, s := arg(1, 10000), arg(2, 40000), 0
	ch := make(chan int, n)
	start()
	for i := 0; i < n; i++ {
		go func(i int) { ch <- task(k, i) }(i)
	}
	for i := 0; i < n; i++ {
		s += <-ch
	}
	stop()
	fmt.Println(s)
}
