module endio/bench/peers

go 1.26.0

require (
	endio v0.0.0
	github.com/HdrHistogram/hdrhistogram-go v1.4.0
	golang.org/x/sys v0.49.0
)

replace endio => ../..
